"""Work in another thread: it is over when the caller goes on, whenever an interrupt comes."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

from dumpty import Worker, run_in_worker


class Work:
    """Goes on until it is stopped, and knows whether it runs."""

    def __init__(self, endless=True):
        self.stopped = threading.Event()
        self.begun = threading.Event()
        self.running = False
        self.closed = False
        self.used_when_closed = False
        self.endless = endless

    def __call__(self):
        self.running = True
        self.begun.set()
        self.used_when_closed = self.closed
        while self.endless and not self.stopped.is_set():
            time.sleep(0.001)
            self.used_when_closed |= self.closed
        self.running = False
        return 42


def test_it_returns_what_the_work_returns_and_does_the_rest_meanwhile():
    done = []
    assert run_in_worker(Work(endless=False), stop=bool, meanwhile=lambda: done.append(1)) == 42
    assert done == [1]


def test_an_error_of_the_work_is_raised():
    def fail():
        raise OSError("no such thing")

    with pytest.raises(OSError, match="no such thing"):
        run_in_worker(fail, stop=bool)


def test_an_error_meanwhile_stops_the_work():
    work = Work()

    def fail():
        assert work.begun.wait(60)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_worker(work, stop=work.stopped.set, meanwhile=fail)
    assert not work.running


def test_work_that_does_not_hear_the_first_time_is_told_again():
    work = Work()
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 3:
            work.stopped.set()

    def fail():
        assert work.begun.wait(60)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        run_in_worker(work, stop=stop, meanwhile=fail)
    assert not work.running


def test_a_second_interrupt_does_not_leave_the_work_behind():
    work = Work()
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        work.stopped.set()

    def fail():
        assert work.begun.wait(60)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_worker(work, stop=stop, meanwhile=fail)
    assert not work.running


@pytest.mark.parametrize("moment", ["before it has begun", "after it has begun"])
def test_an_interrupt_while_the_thread_is_started_leaves_no_work_behind(monkeypatch, moment):
    work = Work()
    start = threading.Thread.start
    held = threading.Event()
    began = []

    def interrupted(thread):
        run = thread.run

        def late():
            if moment.startswith("before"):
                held.wait(60)
            run()

        thread.run = late
        start(thread)
        began.append(thread)
        if moment.startswith("after"):
            assert work.begun.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_in_worker(work, stop=work.stopped.set)
    assert not work.running
    work.closed = True
    held.set()
    for thread in began:
        thread.join(5)
        assert not thread.is_alive()
    assert not work.used_when_closed


def test_an_interrupt_that_comes_while_another_error_ends_the_work_is_not_lost():
    work = Work()

    def stop():
        if not work.stopped.is_set():
            work.stopped.set()
            raise KeyboardInterrupt

    def fail():
        assert work.begun.wait(60)
        raise OSError("the disk is full")

    with pytest.raises(KeyboardInterrupt):
        run_in_worker(work, stop=stop, meanwhile=fail)
    assert not work.running


def test_an_error_of_the_work_keeps_nothing_alive():
    class Page:
        pass

    page = Page()
    kept = weakref.ref(page)

    def fail(page=page):
        raise OSError(str(page))

    gc.disable()
    try:
        with pytest.raises(OSError, match="Page"):
            run_in_worker(fail, stop=bool)
        del fail, page
        assert kept() is None
    finally:
        gc.enable()


def test_a_result_can_be_had_once():
    worker = Worker(lambda: 42, "once")
    worker.start()
    assert worker.result() == 42
    worker.wait()
    with pytest.raises(RuntimeError, match="taken"):
        worker.result()


def test_a_thread_that_dies_before_its_work_begins_is_waited_for_by_nobody(monkeypatch):
    def die(*_):
        raise MemoryError

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    before = threading.gettrace()
    threading.settrace(die)
    try:
        worker = Worker(lambda: 42, "short-lived")
        worker.start()
    finally:
        threading.settrace(before)
    with pytest.raises(RuntimeError, match="short-lived died"):
        worker.result()
    worker.end()


def test_what_was_never_started_is_over():
    worker = Worker(lambda: 42, "never")
    worker.wait()
    worker.end()


def test_work_that_is_done_is_never_stopped():
    stopped = []
    for _ in range(3000):
        assert run_in_worker(lambda: 42, stop=lambda: stopped.append(1)) == 42
    assert stopped == []
