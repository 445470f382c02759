"""Connections that go silent: dropped after their limit, unless there is life; and soon, once the program is to end."""

from __future__ import annotations

import threading
import time

import pytest

from dumpty import Peer, given_up, run_abandonable
from dumpty.process import peer as peers

TIMEOUT_SECONDS = 60


class Silence:
    """Something that never answers, and how waiting for it ends."""

    def __init__(self):
        self.dropped = threading.Event()

    def wait(self, peer):
        """Wait until the connection is dropped, and return why."""
        with peer.waiting():
            assert self.dropped.wait(TIMEOUT_SECONDS)
        return peer.reason


@pytest.fixture
def silence():
    return Silence()


@pytest.fixture(autouse=True)
def _goes_on():
    yield
    peers.settle()


def test_silence_is_given_up_after_its_limit(silence):
    peer = Peer("the server", silence.dropped.set, seconds=0.2)
    assert silence.wait(peer) == "the server has stalled: not a byte came for 0.2 s"


def test_only_waiting_is_silence(silence):
    idle = Peer("an idle one", silence.dropped.set, seconds=0.1)
    other = Silence()
    assert "stalled" in other.wait(Peer("a silent one", other.dropped.set, seconds=0.5))
    assert idle.reason == ""
    with idle.waiting():
        pass


def test_a_connection_that_cannot_be_dropped_keeps_no_other_one_waiting(silence, caplog):
    def fail():
        failed.set()
        raise ZeroDivisionError("what a driver did not expect")

    failed = threading.Event()
    stubborn = Peer("a stubborn one", fail, seconds=0.1)
    peer = Peer("the server", silence.dropped.set, seconds=0.5)
    with stubborn.waiting():
        assert failed.wait(TIMEOUT_SECONDS)
        assert "stalled" in silence.wait(peer)
    assert "a stubborn one could not be dropped (ZeroDivisionError)" in caplog.text


def test_a_pulse_that_cannot_be_felt_is_no_sign_of_life(silence):
    peer = Peer("the server", silence.dropped.set, seconds=0.2, pulse=lambda: 1 // 0)
    assert "stalled" in silence.wait(peer)


def test_what_moves_is_not_silent(silence):
    moving = Peer("one that moves", silence.dropped.set, seconds=2)
    until = time.monotonic() + 3
    with moving.waiting():
        while time.monotonic() < until:
            time.sleep(0.01)
            moving.moved()
    assert moving.reason == ""


def test_a_pulse_is_life(silence):
    beats = iter(range(10**9))
    alive = Peer("one with a pulse", silence.dropped.set, seconds=0.2, pulse=lambda: next(beats))
    dead = Silence()
    with alive.waiting():
        dead.wait(Peer("one without", dead.dropped.set, seconds=1.0, pulse=lambda: 1))
    assert alive.reason == ""


def test_a_server_at_work_is_asked_again_and_again(silence):
    answers = [True, True, False]
    peer = Peer("the server", silence.dropped.set, seconds=0.2, working=lambda: answers.pop(0))
    assert "a new connection finds that it does not work on what was asked" in silence.wait(peer)
    assert answers == []


def test_a_server_that_cannot_be_asked_is_given_up(silence):
    def fail():
        raise OSError("no route\nto host")

    peer = Peer("the server", silence.dropped.set, seconds=0.2, working=fail)
    assert silence.wait(peer).endswith("and asking it anew failed (no route to host)")


def test_an_answer_that_comes_while_the_server_is_asked_counts(silence):
    asked, answered = threading.Event(), threading.Event()

    def working():
        asked.set()
        assert answered.wait(TIMEOUT_SECONDS)
        return False

    peer = Peer("the server", silence.dropped.set, seconds=0.2, working=working)
    with peer.waiting():
        assert asked.wait(TIMEOUT_SECONDS)
    answered.set()
    other = Silence()
    other.wait(Peer("another", other.dropped.set, seconds=0.5))
    assert peer.reason == ""


def test_without_a_limit_nothing_is_given_up_until_the_program_is_to_end(silence):
    peer = Peer("the server", silence.dropped.set)
    other = Silence()
    with peer.waiting():
        other.wait(Peer("another", other.dropped.set, seconds=0.5))
        assert peer.reason == ""
        peers.interrupted()
        assert peers.asked_to_end()
        assert silence.dropped.wait(TIMEOUT_SECONDS)
    assert "asked to end" in peer.reason
    assert given_up()
    peers.settle()
    assert not given_up()


def test_one_that_is_waited_for_after_all_is_given_up_is_dropped_too(silence):
    peers.interrupted()
    first = Silence()
    first.wait(Peer("the first", first.dropped.set))
    assert "asked to end" in silence.wait(Peer("the second", silence.dropped.set))


def test_what_is_closed_is_watched_no_more(silence):
    peer = Peer("the server", silence.dropped.set, seconds=0.1)
    peer.close()
    peer.close()
    other = Silence()
    with peer.waiting():
        other.wait(Peer("another", other.dropped.set, seconds=0.5))
    assert peer.reason == ""


def test_an_end_at_once_drops_everything(silence):
    peer = Peer("the server", silence.dropped.set)
    peers.drop_all()
    assert silence.dropped.is_set()
    assert peer.reason == "dumpty was ended at once"


def test_what_cannot_be_ended_is_left_behind_and_its_result_discarded():
    go_on, discarded = threading.Event(), threading.Event()

    def work():
        assert go_on.wait(TIMEOUT_SECONDS)
        return 42

    with pytest.raises(TimeoutError):
        run_abandonable(work, discard=lambda _: discarded.set(), over=lambda: True, error=TimeoutError)
    assert not discarded.is_set()
    go_on.set()
    assert discarded.wait(TIMEOUT_SECONDS)


def test_work_that_ends_gives_its_result_or_its_error():
    def fail():
        raise OSError("no route")

    assert run_abandonable(lambda: 42, discard=bool, over=lambda: False, error=TimeoutError) == 42
    with pytest.raises(OSError, match="no route"):
        run_abandonable(fail, discard=bool, over=lambda: False, error=TimeoutError)
