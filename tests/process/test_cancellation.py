"""How a call that was cancelled hears of it, wherever its thread waits; and that what cleans up is left alone."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dumpty import (
    Cancellation,
    Cancelled,
    Peer,
    commit_point,
    given_up,
    pause,
    raise_if_cancelled,
    run_abandonable,
    run_in_worker,
)
from dumpty.process import Child, run
from dumpty.process.cancellation import cancellable
from dumpty.streaming.streams import ReadAheadReader, ThreadedWriter

PATIENCE = 60


@pytest.fixture
def token():
    return Cancellation()


class Call(threading.Thread):
    """A call of ``work`` in a thread of its own, which no signal reaches."""

    def __init__(self, work, token):
        super().__init__(daemon=True)
        self.work, self.token, self.error = work, token, None
        self.start()

    def run(self):
        try:
            with cancellable(self.token, "the work"):
                self.work()
        except BaseException as error:
            self.error = error

    def ended(self):
        """Wait for its end, and return the error."""
        self.join(PATIENCE)
        assert not self.is_alive()
        return self.error


class Gate:
    """What nobody opens but a connection that is dropped, or a library that is told to stop."""

    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()

    def wait(self):
        self.reached.set()
        assert self.opened.wait(PATIENCE)


@pytest.fixture
def gate():
    return Gate()


def cancelled(work, token, gate):
    """Cancel ``work`` once it waits at ``gate``, and return the error."""
    call = Call(work, token)
    assert gate.reached.wait(PATIENCE)
    token.cancel("enough")
    return call.ended()


def test_a_connection_that_the_call_waits_for_is_dropped(token, gate):
    def work():
        with Peer("the server", gate.opened.set).waiting():
            gate.wait()
            raise OSError("what a library makes of it")

    error = cancelled(work, token, gate)
    assert isinstance(error, Cancelled)
    assert str(error) == "the work was cancelled (enough) before it was complete"


def test_a_connection_in_a_thread_that_the_call_waits_for_is_dropped_too(token, gate):
    def ask(peer):
        with peer.waiting():
            gate.wait()
        raise OSError(peer.reason)

    def work():
        peer = Peer("the server", gate.opened.set)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(ask, peer).result()

    assert isinstance(cancelled(work, token, gate), Cancelled)


def test_what_went_wrong_besides_is_told(token, gate):
    def work():
        try:
            with Peer("the server", gate.opened.set).waiting():
                gate.wait()
                raise OSError("the connection was lost")
        finally:
            raise OSError("what was made could not be removed")

    assert str(cancelled(work, token, gate)).endswith("; it ended with: what was made could not be removed")


def test_what_is_left_is_told_also_where_it_began_with_a_connection_that_was_dropped(token, gate):
    def ask(peer):
        with peer.waiting():
            gate.wait()
        raise OSError(f"the server: {peer.reason}")

    def work():
        peer = Peer("the server", gate.opened.set)
        try:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(ask, peer).result()
        except OSError as error:
            raise OSError(f"the restore failed ({error}), and shop is incomplete: drop it") from error

    error = cancelled(work, token, gate)
    assert isinstance(error, Cancelled)
    assert str(error).endswith("and shop is incomplete: drop it")


def test_what_a_worker_does_is_stopped(token, gate):
    def work():
        run_in_worker(gate.wait, stop=gate.opened.set)

    assert isinstance(cancelled(work, token, gate), Cancelled)


def test_what_nothing_can_stop_is_left_behind(token, gate):
    def work():
        run_abandonable(gate.wait, discard=bool, over=lambda: False, error=AssertionError)

    assert isinstance(cancelled(work, token, gate), Cancelled)
    gate.opened.set()


PRINTING = "import sys, time, signal; {}; sys.stdout.write('u'); sys.stdout.flush(); time.sleep(600)"


@pytest.mark.parametrize(
    ("waiting", "deafness"),
    [(Child.read, "signal.signal(signal.SIGTERM, signal.SIG_IGN)"), (Child.wait, "0")],
    ids=["that hears nothing", "that is only waited for"],
)
def test_a_child_is_ended(token, gate, waiting, deafness):
    children = []

    def work():
        with Child([sys.executable, "-c", PRINTING.format(deafness)]) as child:
            children.append(child)
            assert child.read()
            gate.reached.set()
            waiting(child)

    assert isinstance(cancelled(work, token, gate), Cancelled)
    assert children[0].returncode in {-signal.SIGTERM, -signal.SIGKILL}


def test_a_short_command_is_ended(token, gate):
    def work():
        gate.reached.set()
        run([sys.executable, "-c", "import time; time.sleep(600)"])

    assert isinstance(cancelled(work, token, gate), Cancelled)


def test_who_pauses_wakes_up(token, gate):
    def work():
        gate.reached.set()
        pause(600)

    assert isinstance(cancelled(work, token, gate), Cancelled)


def test_every_call_hears_of_it_though_one_of_them_has_a_library_that_fails_at_being_told(token, gate):
    other = Gate()

    def fail():
        other.opened.set()
        raise ZeroDivisionError

    def work_with_a_failing_library():
        with Peer("a server", fail).waiting():
            other.wait()
            raise OSError

    def work():
        with Peer("the server", gate.opened.set).waiting():
            gate.wait()
            raise OSError

    calls = [Call(work_with_a_failing_library, token), Call(work, token)]
    assert other.reached.wait(PATIENCE)
    assert gate.reached.wait(PATIENCE)
    token.cancel("enough")
    assert [type(call.ended()) for call in calls] == [Cancelled, Cancelled]


def test_who_pauses_in_a_worker_wakes_up_and_may_pause_again_while_it_cleans_up(token, gate):
    paused = []

    def write():
        gate.reached.set()
        try:
            pause(600)
        finally:
            pause(0)
            paused.append("in peace")

    def work():
        run_in_worker(write, stop=bool)

    assert isinstance(cancelled(work, token, gate), Cancelled)
    assert paused == ["in peace"]


def test_who_writes_faster_than_a_stage_takes_wakes_up(token, gate):
    class Stage:
        def write(self, data):
            gate.wait()
            return len(data)

    def work():
        writer = ThreadedWriter(Stage())
        try:
            while True:
                writer.write(b"x")
        finally:
            gate.opened.set()
            writer.abandon()

    assert isinstance(cancelled(work, token, gate), Cancelled)


def test_who_waits_for_a_block_wakes_up_in_a_worker_too(token, gate):
    class Stream:
        def read(self, size):
            gate.wait()
            return b""

        def close(self):
            pass

    def work():
        reader = ReadAheadReader(Stream(), "the dump")
        try:
            run_in_worker(lambda: reader.read(10), stop=bool)
        finally:
            gate.opened.set()
            reader.close()

    assert isinstance(cancelled(work, token, gate), Cancelled)


def test_what_cleans_up_may_wait_for_servers_that_answer(token, gate):
    steps = []

    def work():
        peer = Peer("the server", gate.opened.set)
        try:
            with peer.waiting():
                gate.wait()
                raise OSError("the connection was lost")
        finally:
            other = Peer("the server, anew", lambda: steps.append("dropped"))
            for step in ("rolled back", "gone"):
                with other.waiting():
                    pause(0.01)
                    steps.append(step)
            run_in_worker(lambda: steps.append("worked"), stop=bool)
            with Child([sys.executable, "-c", "print('told')"]) as child:
                steps.append(child.read().decode().strip())
                child.wait()

    assert isinstance(cancelled(work, token, gate), Cancelled)
    assert steps == ["rolled back", "gone", "worked", "told"]


def cleaned_up_after(gate):
    """Work that waits at ``gate`` for a server, and then for another answer of it that never comes, to clean up."""
    silence = Gate()
    try:
        with Peer("the server", gate.opened.set).waiting():
            gate.wait()
            raise OSError("the connection was lost")
    finally:
        with Peer("the server, anew", silence.opened.set).waiting():
            silence.wait()


def test_what_cleans_up_does_not_wait_for_one_that_does_not(token, gate):
    found = []

    def work():
        try:
            cleaned_up_after(gate)
        finally:
            found.append(given_up())

    assert isinstance(cancelled(work, token, gate), Cancelled)
    assert found == [True]
    assert not given_up()


def test_a_server_that_is_silent_after_the_commit_point_is_waited_for(token, gate, monkeypatch):
    monkeypatch.setattr("dumpty.process.peer._END_SECONDS", 0)
    committing = Gate()

    def commit():
        with Peer("the server", committing.opened.set).waiting():
            commit_point()
            token.cancel("too late")
            committing.wait()

    call = Call(commit, token)
    assert committing.reached.wait(PATIENCE)
    cancelled(lambda: cleaned_up_after(gate), Cancellation(), gate)
    # Whoever drops the silent ones has looked at both by now.
    assert not committing.opened.is_set()
    committing.opened.set()
    assert call.ended() is None


def test_whoever_asks_is_told_every_time_in_a_worker_too(token):
    def ask():
        for _ in range(2):
            with contextlib.suppress(KeyboardInterrupt):
                raise_if_cancelled()
                raise AssertionError("not told")
        raise_if_cancelled()

    def work():
        token.cancel()
        run_in_worker(ask, stop=bool)

    assert isinstance(Call(work, token).ended(), Cancelled)
    raise_if_cancelled()


def test_a_handler_of_a_signal_may_cancel(token):
    before = signal.signal(signal.SIGUSR1, lambda *_: token.cancel("SIGUSR1"))
    try:
        with pytest.raises(Cancelled, match="SIGUSR1"), cancellable(token, "the work"):
            signal.raise_signal(signal.SIGUSR1) or pause(600)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupt_stays_one(token):
    with pytest.raises(KeyboardInterrupt), cancellable(token, "the work"):
        raise KeyboardInterrupt


def test_a_call_that_is_over_concerns_nobody(token):
    peer = Peer("the server", bool)
    with cancellable(token, "the work"), peer.waiting():
        pass
    token.cancel()
    with peer.waiting():
        pause(0.2)
    assert peer.reason == ""
