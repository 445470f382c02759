"""Where a signal interrupts at once, and where it waits until a lock or a thread has its owner."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import thread as pools

import pytest

from dumpty.cli import main
from dumpty.cli.signals import Signals


class Moment:
    """Python code of a certain file and function, to be interrupted in."""

    def __init__(self, file, name, locked=False, within_start=False):
        self.within_start = within_start
        self._waitpid_lock = threading.Lock()
        if locked:
            self._waitpid_lock.acquire()
        self.file = file
        self.name = name
        self.left_alone = False

    def strike(self):
        # os.kill alone, without a Python function of ours around it: the frame is that of the moment.
        names: dict = {"kill": os.kill, "pid": os.getpid(), "number": signal.SIGTERM}
        text = (
            f"def {self.name}(self):\n    kill(pid, number)\n    for _ in range(9): pass\n    self.left_alone = True\n"
            f"def start(self):\n    {self.name}(self)\n"
        )
        exec(compile(text, self.file, "exec"), names)
        names["start" if self.within_start else self.name](self)


def struck(run):
    """Run with the signals taken, and expect to be ended."""

    def inner():
        run()
        time.sleep(5)

    with Signals() as signals, pytest.raises(KeyboardInterrupt) as interruption:
        inner()
    assert signals.caught == [interruption.value]
    assert str(interruption.value) == "SIGTERM"


FRAGILE = {
    "a lock is taken": (threading.__file__, "__enter__"),
    "a queue is locked": (queue.__file__, "get"),
    "a context is opened": (contextlib.__file__, "__enter__"),
    "a pool starts a thread": (pools.__file__, "submit"),
    "a module is locked": ("<frozen importlib._bootstrap>", "acquire"),
}
ELSEWHERE = {
    "threading waits": (threading.__file__, "wait"),
    "a thread is waited for": (threading.__file__, "join"),
    "a module of a like name works": ("/srv/jobqueue.py", "get"),
    "another library's queue works": ("/srv/util/queue.py", "get"),
    "a child is waited for": (subprocess.__file__, "_wait"),
}


@pytest.mark.parametrize("when", FRAGILE)
def test_the_signal_waits_while(when):
    moment = Moment(*FRAGILE[when])
    struck(moment.strike)
    assert moment.left_alone


@pytest.mark.parametrize("when", ELSEWHERE)
def test_the_signal_interrupts_while(when):
    moment = Moment(*ELSEWHERE[when])
    struck(moment.strike)
    assert not moment.left_alone


@pytest.mark.parametrize("name", ["_wait", "_internal_poll"])
def test_the_signal_waits_while_subprocess_holds_its_lock(name):
    moment = Moment(subprocess.__file__, name, locked=True)
    struck(moment.strike)
    assert moment.left_alone


def test_the_signal_waits_while_a_thread_is_started():
    moment = Moment(threading.__file__, "wait", within_start=True)
    struck(moment.strike)
    assert moment.left_alone


def test_the_signal_is_raised_again_where_a_finalizer_dropped_it():
    class Dying:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(9):
                pass

    struck(Dying)


class Struck(io.StringIO):
    """A standard output; when it is flushed, which says what was written, a signal comes."""

    def __init__(self, number, pause=0.0):
        super().__init__()
        self.number = number
        self.pause = pause

    def flush(self):
        signal.raise_signal(self.number)
        time.sleep(self.pause)


@pytest.fixture
def shop(tmp_path):
    """A SQLite database."""
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_what_was_done_and_said_is_not_told_as_an_interrupt(shop, monkeypatch, capsys, number, options):
    monkeypatch.setattr("sys.stdout", Struck(number))
    assert main(["backup", f"sqlite:///{shop}", "--dir", str(shop.parent / "backups"), *options]) == 0
    assert "shop" in sys.stdout.getvalue()
    assert capsys.readouterr().err == ""


def test_an_error_that_is_being_said_is_said_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdout", Struck(signal.SIGINT))
    assert main(["list", "--dir", str(tmp_path / "nowhere"), "--json"]) == 10
    assert json.loads(sys.stdout.getvalue())["status"] == 10


def test_what_nobody_reads_is_interrupted_all_the_same(shop, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout", Struck(signal.SIGTERM, pause=60))
    began = time.monotonic()
    assert main(["backup", f"sqlite:///{shop}", "--dir", str(shop.parent / "backups")]) == 143
    assert time.monotonic() - began < 50
    assert "SIGTERM" in capsys.readouterr().err


def test_a_program_that_has_said_everything_ends_without_a_traceback_and_with_its_status():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    handlers_before = {number: signal.getsignal(number) for number in numbers}
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with Signals(process_ends=True):
            pass
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with Signals():
            pass
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        for number in numbers:
            signal.signal(number, handlers_before[number])


def test_a_caller_that_ignores_every_signal_gets_its_hook_back():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    handlers_before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    hook = sys.unraisablehook
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals.caught == []
        assert sys.unraisablehook is hook
        assert all(signal.getsignal(number) == signal.SIG_IGN for number in numbers)
    finally:
        for number, handler in handlers_before.items():
            signal.signal(number, handler)
