"""A slot of a job is executed at least once and counted exactly once, whoever tries, dies or is slow."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from dumpty.repository.protocol.runs import claim, read_result
from dumpty.testing.memory_store import ALL, MemoryStore
from dumpty.types import Cap

HOUR = timedelta(hours=1)


def try_claim(store, slot="20261126T030000Z"):
    return claim(store, "nightly", slot, beat_seconds=None)


def result(store):
    return read_result(store, "nightly", "20261126T030000Z")


@pytest.fixture
def store():
    return MemoryStore()


def test_whoever_claims_first_executes_and_the_others_do_not(store):
    run = try_claim(store)
    assert try_claim(store) is None
    with run:
        assert run.finish(b"a backup\nof two lines")
    assert result(store) == b"a backup\nof two lines"
    assert try_claim(store) is None
    assert list(store.objects()) == [".runs/nightly/20261126T030000Z.result"]


def test_every_slot_and_every_job_is_its_own(store):
    assert try_claim(store)
    assert try_claim(store, "20261126T030000Z.5")
    assert try_claim(store, "20261127T030000Z")
    assert claim(store, "nightly2", "20261126T030000Z", beat_seconds=None)


def test_a_claim_without_a_sign_of_life_gives_way_after_an_hour(store):
    first = try_claim(store)
    store.advance(HOUR / 2)
    first.beats.beat()
    store.advance(HOUR * 0.9)
    assert try_claim(store) is None
    store.advance(HOUR)
    second = try_claim(store)
    assert second is not None
    assert second.finish(b"second")
    assert not first.finish(b"first")
    assert result(store) == b"second"


def test_a_failed_run_gives_its_slot_back_at_once(store):
    with pytest.raises(ZeroDivisionError), try_claim(store):
        raise ZeroDivisionError
    assert store.objects() == {}
    assert try_claim(store) is not None


def test_equal_results_of_two_are_counted_once(store):
    first = try_claim(store)
    store.advance(2 * HOUR)
    second = try_claim(store)
    assert [first.finish(b"same"), second.finish(b"same")] == [True, False]


def test_whoever_claims_when_it_was_just_finished_does_not_execute_it_again(store):
    first = try_claim(store)
    store.advance(2 * HOUR)
    store.race = lambda name: first.finish(b"done") if name.endswith(".claim-2") else None
    assert try_claim(store) is None
    assert not [name for name in store.objects() if ".claim-2" in name]


def test_a_claim_that_no_listing_shows_yet_keeps_the_next_one_out():
    store = MemoryStore(ALL & ~Cap.STRONG_LIST)
    assert try_claim(store) is not None
    assert try_claim(store) is None


def test_a_run_beats_while_it_lives():
    beaten = threading.Event()

    class Listening(MemoryStore):
        def put(self, name, data, *, new=True):
            super().put(name, data, new=new)
            if name.endswith(".claim-1.beat-2"):
                beaten.set()

    store = Listening()
    with claim(store, "nightly", "1", beat_seconds=0.01):
        assert beaten.wait(60)


@pytest.mark.parametrize(("job", "slot"), [("../x", "1"), ("a/b", "1"), ("", "1"), ("nightly", ""), ("nightly", "a b")])
def test_a_name_that_cannot_be_part_of_an_objects_is_refused(store, job, slot):
    with pytest.raises(ValueError, match="cannot name a run"):
        claim(store, job, slot)
