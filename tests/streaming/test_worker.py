"""Work in another thread: it is over when the caller goes on, whenever an interrupt comes."""

from __future__ import annotations

import contextlib
import gc
import io
import threading
import time
import weakref

import pytest
from support.toys import ToyDriver

from dumpty import BackupManager, TransformingReader, TransformingWriter, Worker, run_in_worker
from dumpty.streaming.streams import BLOCK, ThreadedWriter


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


@contextlib.contextmanager
def threads_that_die(monkeypatch, name):
    """Within the block threads of this name end before anything of theirs runs, as a tracing tool may end them."""

    def die(*_):
        if threading.current_thread().name == name:
            raise MemoryError

    before = threading.gettrace()
    with monkeypatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda _: None)
        threading.settrace(die)
        try:
            yield
        finally:
            threading.settrace(before)


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
    worker = Worker(lambda: 42, "short-lived")
    with threads_that_die(monkeypatch, "short-lived"), pytest.raises(RuntimeError, match="ended before its work began"):
        worker.start()
    worker.end()


WRITERS = {
    "dumpty-stages": ThreadedWriter,
    "dumpty-transform": lambda sink: TransformingWriter(sink, lambda source, target: target.write(source.read())),
}


@pytest.mark.parametrize("name", list(WRITERS))
def test_what_is_written_for_a_thread_that_died_is_an_error_and_no_success(monkeypatch, name):
    writer = WRITERS[name](io.BytesIO())
    with threads_that_die(monkeypatch, name), pytest.raises(RuntimeError, match="ended before its work began"):
        writer.write(b"x" * BLOCK)
    with pytest.raises(RuntimeError, match="ended before its work began"):
        writer.close()


def test_what_is_read_of_a_thread_that_died_is_an_error_each_time(monkeypatch):
    reader = TransformingReader(io.BytesIO(b"x"), lambda source, target: target.write(source.read()))
    with threads_that_die(monkeypatch, "dumpty-transform"):
        for _ in range(2):
            with pytest.raises(RuntimeError, match="ended before its work began"):
                reader.read()
    reader.close()


@pytest.mark.parametrize("name", ["dumpty-stages", "dumpty-read-ahead"])
def test_a_backup_whose_thread_died_fails_and_so_does_a_restore(monkeypatch, tmp_path, name):
    driver = ToyDriver(db=b"all there is")
    manager = BackupManager(str(tmp_path), plugins=[driver])
    backup = manager.create_backup("toy://h/db").raise_for_error()
    with threads_that_die(monkeypatch, name):
        results = [manager.create_backup("toy://h/db"), manager.restore(backup.id, "toy://h/new")]
    assert [result.success for result in results] == [name != "dumpty-stages", name != "dumpty-read-ahead"]
    assert ("new" in driver.databases) == (name != "dumpty-read-ahead")
    assert all(verified.ok for verified in manager.verify_many())
    assert len(manager.list_backups()) == 1 + results[0].success


def test_what_was_never_started_is_over():
    worker = Worker(lambda: 42, "never")
    worker.wait()
    worker.end()


def test_work_that_is_done_is_never_stopped():
    stopped = []
    for _ in range(3000):
        assert run_in_worker(lambda: 42, stop=lambda: stopped.append(1)) == 42
    assert stopped == []
