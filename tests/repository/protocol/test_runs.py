"""A slot of a job is executed at least once and counted exactly once, whoever tries, dies or is slow."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from datetime import timedelta

import pytest

from dumpty import BackupManager, Locked, PluginInfo, Rules, StoreError, hookimpl
from dumpty.registry.host import default_host
from dumpty.repository.opening import open_repository
from dumpty.repository.protocol import runs
from dumpty.repository.protocol.recovery import recover
from dumpty.repository.protocol.runs import claim, list_runs, read_key, read_result
from dumpty.testing.memory_store import ALL, MemoryStore
from dumpty.types import Cap

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DUE = "20261126T030000Z"


def try_claim(store, slot=DUE):
    return claim(store, "nightly", slot, beat_seconds=None)


def result(store):
    return read_result(store, "nightly", DUE)


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


def test_a_forked_child_that_ends_takes_no_claim_of_its_parent_away(store, monkeypatch):
    with try_claim(store) as run:
        with monkeypatch.context() as patch:
            patch.setattr(runs.os, "getpid", lambda: 1)
            run.__exit__(None, None, None)
        assert try_claim(store) is None
        assert run.finish(b"done")
    assert result(store) == b"done"


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


def test_another_slot_of_a_job_waits_until_nobody_is_at_one(store):
    with try_claim(store):
        with pytest.raises(
            Locked, match=r"another run of the job nightly is going on on .*, begun for 20261126T030000Z"
        ):
            claim(store, "nightly", "20261127T030000Z", beat_seconds=None, alone=True)
        assert claim(store, "weekly", "20261127T030000Z", beat_seconds=None, alone=True)
    assert claim(store, "nightly", "20261127T030000Z", beat_seconds=None, alone=True)


def test_a_run_that_gave_no_sign_of_life_keeps_no_other_slot_waiting(store):
    assert try_claim(store)
    store.advance(HOUR)
    assert claim(store, "nightly", "20261127T030000Z", beat_seconds=None, alone=True)


def test_a_killed_run_on_this_machines_own_disk_gives_way_at_once(tmp_path):
    code = (
        "import os, sys; from dumpty import BackupManager; from dumpty.repository.opening import open_repository;"
        "from dumpty.registry.host import default_host;"
        "open_repository(default_host(), sys.argv[1]).claim_run('nightly', '20261126T030000Z').__enter__(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60).returncode == 9
    repository = open_repository(default_host(), str(tmp_path))
    assert not any(run.running for run in repository.runs("nightly"))
    with repository.claim_run("nightly", "20261127T030000Z") as other:
        assert other.finish(b"other")
    with repository.claim_run("nightly", "20261126T030000Z") as again:
        assert [(r.slot, r.running, r.host) for r in repository.runs() if r.running] == [
            ("20261126T030000Z", True, socket.gethostname())
        ]
        assert again.finish(b"again")
    assert repository.run_result("nightly", "20261126T030000Z") == b"again"
    assert repository.claim_run("nightly", "20261126T030000Z") is None
    assert [(r.slot, r.done, r.running) for r in repository.runs()] == [
        ("20261127T030000Z", True, False),
        ("20261126T030000Z", True, False),
    ]


def test_a_failed_run_gives_its_slot_back_at_once(store):
    with pytest.raises(ZeroDivisionError), try_claim(store):
        raise ZeroDivisionError
    assert list(store.objects()) == [f".runs/nightly/{DUE}.begun"]
    assert try_claim(store) is not None


def test_a_run_has_one_key_until_it_has_a_result(store):
    with try_claim(store) as first:
        assert read_key(store, "nightly", DUE) == first.key
    assert list(list_runs(store)) == []
    with try_claim(store) as second:
        assert (second.key, len(second.key)) == (first.key, 36)
        second.finish(b"done")
    assert read_key(store, "nightly", DUE) is None
    with try_claim(store, "20261127T030000Z") as other:
        assert other.key != first.key


def test_whoever_is_taken_for_dead_has_the_key_of_who_comes_after(store):
    first = try_claim(store)
    store.advance(2 * HOUR)
    assert try_claim(store).key == first.key


def test_a_key_lasts_for_a_day(store):
    """What was made longer ago is no part of a run that goes on now."""
    with try_claim(store) as first:
        pass
    store.advance(DAY - HOUR)
    with try_claim(store) as second:
        pass
    store.advance(HOUR)
    with try_claim(store) as third:
        assert read_key(store, "nightly", DUE) == third.key
    assert first.key == second.key != third.key


def test_a_run_that_is_done_has_no_key_whatever_is_left_of_it(store):
    run = try_claim(store)
    run.finish(b"done")  # and is killed
    assert f".runs/nightly/{DUE}.begun" in store.objects()
    assert read_key(store, "nightly", DUE) is None


def test_whoever_claims_a_run_in_the_moment_in_which_it_is_done_does_not_do_it_again(store, monkeypatch):
    first, look = try_claim(store), runs.read_result
    store.advance(2 * HOUR)
    looks = []

    def finished_after_the_first_look(*arguments):
        found = look(*arguments)
        if not looks.append(found) and len(looks) == 1:
            with first:
                first.finish(b"done")
        return found

    monkeypatch.setattr(runs, "read_result", finished_after_the_first_look)
    assert try_claim(store) is None
    assert len(looks) == 2


def test_a_key_that_is_damaged_ends_the_claim(store):
    with try_claim(store):
        pass
    store.put(f".runs/nightly/{DUE}.begun", b'{"key": 5}', new=False)
    with pytest.raises(StoreError, match=r"is damaged.*delete it to begin that run anew"):
        try_claim(store)
    assert list(store.objects()) == [f".runs/nightly/{DUE}.begun"]


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
    with claim(store, "nightly", DUE, beat_seconds=0.01):
        assert beaten.wait(60)


@pytest.mark.parametrize(
    ("job", "slot"),
    [
        *(
            ("../x", DUE),
            ("a/b", DUE),
            ("", DUE),
            ("nightly", ""),
            ("nightly", "a b"),
            ("nightly", "a"),
            ("nightly", "1"),
        ),
        *(("nightly", DUE + " x"), ("nightly", DUE + "/x"), ("nightly", DUE + "x"), ("nightly", "20261399T030000Z")),
    ],
)
def test_a_name_that_cannot_be_part_of_an_objects_is_refused(store, job, slot):
    with pytest.raises(ValueError, match="cannot name a run"):
        claim(store, job, slot)


def test_a_slot_is_not_asked_for_longer_than_what_became_of_it_is_kept(store):
    with pytest.raises(ValueError, match="is kept for 400 days"):
        claim(store, "nightly", DUE, asked_for=401 * DAY)
    assert store.objects() == {}


# -- what is too old -------------------------------------------------------------------------------------------------


def finished(store, slot=DUE):
    with try_claim(store, slot) as run:
        assert run.finish(b"done")


def test_a_slot_of_which_nobody_asks_any_more_is_cleared_and_can_never_be_claimed_again(store):
    finished(store)
    store.put(f".runs/nightly/{DUE}.claim-7", b"{}")
    store.put(f".runs/nightly/{DUE}.claim-7.beat-1", b"")
    store.advance(406 * DAY)
    recover(store)
    assert len(store.objects()) == 3
    assert try_claim(store) is None
    store.advance(DAY)
    recover(store)
    assert store.objects() == {}
    assert result(store) is None
    with pytest.raises(StoreError, match=r"was due more than 400 days ago.*ask for a later one"):
        try_claim(store)
    assert store.objects() == {}


def test_the_latest_slot_of_a_yearly_job_is_still_known_and_one_that_was_missed_can_be_made_up_for(store):
    finished(store)
    store.advance(399 * DAY)
    recover(store)
    assert try_claim(store) is None
    assert try_claim(store, "20261126T030000Z.by-hand") is not None


def test_what_is_at_an_old_slot_now_and_whatever_is_no_runs_stays(store):
    store.put(".runs/notes", b"")
    store.put(f".runs/nightly/{DUE}.note", b"")
    store.put(f".runs/nightly/{DUE}.claim-1", b"{}")
    store.advance(1000 * DAY)
    store.put(f".runs/nightly/{DUE}.claim-1.beat-9", b"")
    before = store.objects()
    store.advance(6 * DAY)
    recover(store)
    assert store.objects() == before
    store.advance(DAY)
    recover(store)
    assert sorted(store.objects()) == [f".runs/nightly/{DUE}.note", ".runs/notes"]


def test_claims_that_cannot_be_cleared_keep_their_results(store):
    finished(store)
    store.put(f".runs/nightly/{DUE}.claim-7", b"{}")
    store.denied.add(f".runs/nightly/{DUE}.claim-7")
    store.advance(1000 * DAY)
    recover(store)
    assert result(store) == b"done"


def test_whoever_wakes_up_when_its_slot_was_cleared_does_not_count_and_leaves_nothing(store):
    first = try_claim(store)
    store.advance(2 * HOUR)
    finished(store)
    store.advance(407 * DAY)
    recover(store)
    with pytest.raises(StoreError, match="not known whether another run of it counted"):
        first.finish(b"late")
    assert store.objects() == {}


def test_prune_clears_old_runs_also_where_it_removes_nothing():
    store = MemoryStore()
    finished(store)
    store.advance(407 * DAY)
    BackupManager("memory://here", plugins=[InMemory(store)]).prune(Rules(keep=1))
    assert store.objects() == {}


class InMemory:
    name = "memory"

    def __init__(self, store):
        self.store = store

    @hookimpl
    def describe(self):
        return PluginInfo(kind="store", schemes=("memory",))

    @hookimpl
    def open_store(self):
        return self.store
