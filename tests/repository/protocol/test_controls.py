"""Each step of the protocol is there for a reason: without it, the explorer finds what is lost."""

from __future__ import annotations

import pytest
from repository.protocol.explorer import Broken
from repository.protocol.scenarios import (
    A,
    B,
    C,
    alive,
    backup,
    clean,
    done_is_there,
    explorer,
    pin,
    pinned_is_there,
    prune,
    some_are_there,
)

from dumpty.errors import MissingFile
from dumpty.repository.protocol import annotations, dooms, recovery, removal, taking
from dumpty.repository.protocol.attempt import Attempt, _State
from dumpty.repository.protocol.layout import MANIFEST, TOMBSTONE, parse_listing
from dumpty.testing.memory_store import ALL
from dumpty.types import Cap


def require_broken(*processes, what, **options):
    """Explore with nothing promised but what the test is about."""
    options = {"lawful": False, "orphans": False, "pending": False, "alive": None, **options}
    with pytest.raises(Broken, match=what):
        explorer(*processes, **options).run()


def test_names_listed_before_dooms_are_read_lose_every_backup(monkeypatch):
    names = {}

    def read_early(store, *, without):
        names["early"] = store.list()
        return dooms.read_dooms(store, without=without)

    def parse_early(objects):
        return parse_listing(names.pop("early", objects))

    monkeypatch.setattr(removal, "read_dooms", read_early)
    monkeypatch.setattr(removal, "parse_listing", parse_early)
    require_broken(prune(A), prune(B), invariant=some_are_there(A, B), what="every backup is gone")


@pytest.fixture
def no_doom(monkeypatch):
    monkeypatch.setattr(removal, "put_doom", lambda store, me, stems: None)
    monkeypatch.setattr(removal, "decide_to_go", lambda store, me: True)


@pytest.mark.usefixtures("no_doom")
def test_without_a_doom_what_is_pinned_is_removed():
    require_broken(pin(A), prune(A), invariant=pinned_is_there(0, A), what="the pinned .* is lost")


@pytest.mark.usefixtures("no_doom")
def test_without_a_doom_two_removals_take_every_backup():
    require_broken(prune(A), prune(B), invariant=some_are_there(A, B), what="every backup is gone")


def test_a_doom_that_cannot_be_withdrawn_keeps_a_backup_from_being_pinned_for_ever(monkeypatch):
    monkeypatch.setattr(recovery, "_recover_doom", lambda *_: None)
    monkeypatch.setattr(annotations, "withdraw", lambda store, me: False)
    require_broken(prune(A), clean, alive=alive, what="can never be pinned again")


def test_a_removal_that_does_not_look_for_its_own_doom_removes_what_is_pinned(monkeypatch):
    monkeypatch.setattr(removal, "decide_to_go", lambda store, me: dooms._decide(store, me, "go"))
    require_broken(pin(A), prune(A), invariant=pinned_is_there(0, A), what="the pinned .* is lost")


def test_a_decision_that_is_deleted_before_its_doom_removes_what_is_pinned(monkeypatch):
    def decision_first(store, me):
        store.delete([dooms.GO + me])
        store.delete([dooms.DOOM + me])

    monkeypatch.setattr(dooms, "clear_doom", decision_first)
    require_broken(pin(A), prune(A), invariant=pinned_is_there(0, A), what="the pinned .* is lost")


def test_manifests_that_are_deleted_before_data_hide_what_the_place_retains(monkeypatch):
    def manifests_first(store, me, entries):
        store.delete([entry.stem + MANIFEST for entry in entries])
        return taking.take(store, me, entries)

    monkeypatch.setattr(removal, "take", manifests_first)
    retained = {"retained": frozenset({A + ".db"}), "capabilities": ALL | Cap.RETAINS}
    require_broken(prune(A), invariant=some_are_there(A), **retained, what="every backup is gone")


def test_data_deleted_without_a_tombstone_loses_what_was_committed(monkeypatch):
    monkeypatch.setattr(recovery, "forbid", lambda store, stem: True)
    require_broken(backup(C), clean, invariant=done_is_there(0, C), what="is lost")


def test_a_commit_whose_lost_answer_is_not_read_back_claims_what_is_not_there(monkeypatch):
    monkeypatch.setattr(Attempt, "_resolve", lambda self: setattr(self, "_state", _State.COMMITTED))
    require_broken(backup(C), faults=1, invariant=done_is_there(0, C), what="is lost")


def test_a_lost_commit_without_a_tombstone_of_its_own_comes_back_without_data(monkeypatch):
    def resolve(self):
        try:
            found = self._store.get(self.stem + MANIFEST)
        except MissingFile:
            found = TOMBSTONE
        self._state = _State.FORBIDDEN if found == TOMBSTONE else _State.COMMITTED

    monkeypatch.setattr(Attempt, "_resolve", resolve)
    require_broken(backup(C), faults=1, lawful=True, what="no .db|nobody decided")


def test_a_failed_upload_without_a_tombstone_comes_back_as_data_that_nobody_knows(monkeypatch):
    def settle(self):
        if self._state is _State.IN_DOUBT:
            self._resolve()
        if self._state is not _State.COMMITTED:
            self._store.delete(self._uploads.values())

    monkeypatch.setattr(Attempt, "_settle", settle)
    require_broken(backup(C), faults=1, orphans=True, what="nothing of its backup is")


IGNORED = ALL & ~Cap.CREATE_NEW


def test_a_condition_that_is_ignored_without_a_waiting_period_loses_what_was_committed():
    require_broken(backup(C), clean, invariant=done_is_there(0, C), capabilities=IGNORED, what="is lost")


def test_a_condition_that_is_ignored_without_a_waiting_period_loses_what_is_pinned():
    processes = pin(A), prune(A), clean
    require_broken(*processes, invariant=pinned_is_there(0, A), capabilities=IGNORED, what="the pinned .* is lost")
