"""Recovery removes what dead attempts and removals left, and nothing that anybody may still need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from dumpty.errors import StoreError
from dumpty.repository.protocol.attempt import Attempt
from dumpty.repository.protocol.layout import TOMBSTONE
from dumpty.repository.protocol.process_identity import process_identity
from dumpty.repository.protocol.recovery import recover
from dumpty.testing.memory_store import ALL, MemoryStore
from dumpty.types import Cap

STEM = "shop-abcdef/20261126T170000Z-0123456789ab-01234567"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ME = "0123456789abcdef"
DOOM, GO = f".prune/doom-{ME}", f".prune/go-{ME}"


def doom(*stems):
    return json.dumps({"version": 1, "doom": ME, "stems": stems}).encode()


def decision(word):
    return json.dumps({"version": 1, "decision": word, "nonce": "x"}).encode()


def store_with(capabilities=ALL, **objects):
    store = MemoryStore(capabilities)
    for ending, data in objects.items():
        store.put(f"{STEM}.{ending.replace('__', '-').replace('_', '.')}", data)
    return store


def endings(store):
    return {name.removeprefix(STEM) for name in store.objects()}


def test_a_dead_attempt_leaves_a_tombstone_for_seven_days():
    store = store_with(intent=b"{}", beat__1=b"", sql_gz=b"x", p2_sql=b"x")
    store.advance(HOUR)
    recover(store)
    assert store.objects() == {STEM + ".manifest.json": TOMBSTONE}
    store.advance(7 * DAY - HOUR)
    recover(store)
    assert endings(store) == {".manifest.json"}
    store.advance(HOUR)
    recover(store)
    assert endings(store) == set()


def test_whoever_gave_a_sign_of_life_within_the_hour_is_left_alone():
    store = store_with(intent=b"{}", sql=b"x")
    store.advance(10 * HOUR)
    store.put(STEM + ".beat-60", b"")
    store.advance(0.99 * HOUR)
    recover(store)
    assert endings(store) == {".intent", ".sql", ".beat-60"}


def test_where_conditions_are_ignored_recovery_waits_for_seven_days():
    store = store_with(ALL & ~Cap.CREATE_NEW, intent=b"{}", sql=b"x")
    store.put(DOOM, doom(STEM))
    store.advance(6.9 * DAY)
    recover(store)
    assert endings(store) == {".intent", ".sql", DOOM}
    store.advance(0.1 * DAY)
    recover(store)
    assert endings(store) == {".manifest.json"}


def test_of_a_committed_backup_only_the_intent_and_the_beats_go():
    store = store_with(intent=b"{}", beat__1=b"", sql=b"x", manifest_json=b"the manifest")
    store.advance(HOUR)
    recover(store)
    assert endings(store) == {".sql", ".manifest.json"}


def test_a_commit_that_comes_first_is_left_alone():
    store = store_with(intent=b"{}", sql=b"x")
    store.advance(HOUR)
    store.race = lambda name: store.put(name, b"the manifest", new=False)
    recover(store)
    assert store.objects() == {STEM + ".sql": b"x", STEM + ".manifest.json": b"the manifest"}


def test_data_with_neither_intent_nor_manifest_is_never_touched():
    store = store_with(sql=b"x", p1_sql=b"x", pin__0=b"")
    store.put("somebody/else.sql", b"x")
    store.advance(1000 * DAY)
    recover(store)
    assert endings(store) == {".sql", ".p1.sql", ".pin-0", "somebody/else.sql"}


@pytest.mark.parametrize("content", [b"", b"0123456789"])
def test_a_manifest_that_lost_its_content_costs_no_data(content):
    """A disk that zeroed or emptied it: whether that was a backup is not known, and its data may be all there is."""
    store = store_with(manifest_json=content, sql=b"x")
    recover(store)
    assert store.objects() == {STEM + ".manifest.json": content, STEM + ".sql": b"x"}


def test_data_that_comes_late_goes_with_its_tombstone():
    store = store_with(manifest_json=TOMBSTONE, sql=b"x")
    store.advance(100 * DAY)
    recover(store)
    assert endings(store) == {".manifest.json"}
    recover(store)
    assert endings(store) == set()


def test_beats_that_came_late_go():
    store = store_with(manifest_json=b"the manifest", sql=b"x", beat__7=b"")
    recover(store)
    assert ".beat-7" in endings(store)
    store.advance(HOUR)
    recover(store)
    assert endings(store) == {".manifest.json", ".sql"}


@pytest.mark.parametrize("manifest", [{}, {"manifest_json": TOMBSTONE}])
def test_annotations_of_which_nothing_else_is_left_go(manifest):
    store = store_with(pin__0=b"", proof__20261126T170000Z__0=b"", accepted__0=b"", **manifest)
    recover(store)
    assert endings(store) == ({".manifest.json"} if manifest else set())


def test_annotations_of_a_backup_stay_but_for_pins_that_expired():
    store = store_with(
        sql=b"x",
        manifest_json=b"the manifest",
        pin__0=b"",
        proof__1=b"",
        pin__01234567__20261126T180000Z=b"",
        pin__01234567__20261127T180000Z=b"",
    )
    store.advance(2 * HOUR)
    recover(store)
    assert endings(store) == {".sql", ".manifest.json", ".pin-0", ".proof-1", ".pin-01234567-20261127T180000Z"}


def test_where_listings_lag_beats_are_seen_late_and_waited_for():
    store = store_with(ALL & ~Cap.STRONG_LIST, intent=b"{}", sql=b"x")
    store.advance(0.99 * DAY)
    recover(store)
    assert endings(store) == {".intent", ".sql"}
    store.advance(0.01 * DAY)
    recover(store)
    assert endings(store) == {".manifest.json"}


def test_recovery_of_one_database_leaves_the_others_and_removals_to_a_later_one():
    store = store_with(intent=b"{}")
    other = "blog-abcdef/20261126T170000Z-0123456789ab-01234567.intent"
    store.put(other, b"{}")
    store.put(DOOM, doom(STEM))
    store.advance(HOUR)
    recover(store, "shop-abcdef")
    assert set(store.objects()) == {STEM + ".manifest.json", other, DOOM}
    recover(store)
    assert DOOM not in store.objects()


@pytest.mark.parametrize(("capabilities", "older"), [(ALL, DAY), (ALL | Cap.LOCAL, timedelta(0))])
def test_what_uploads_left_is_swept(capabilities, older):
    swept = []
    store = MemoryStore(capabilities)
    store.sweep = swept.append
    recover(store)
    assert swept == [older]


# -- dooms -------------------------------------------------------------------------------------------------------


@pytest.fixture
def doomed():
    store = store_with(sql=b"x", manifest_json=b"the manifest", pin__0=b"")
    store.put(DOOM, doom(STEM))
    return store


def test_a_removal_that_sleeps_is_withdrawn_after_an_hour(doomed):
    recover(doomed)
    assert DOOM in doomed.objects()
    doomed.advance(HOUR)
    recover(doomed)
    assert endings(doomed) == {".sql", ".manifest.json", ".pin-0"}


def test_where_listings_lag_it_is_withdrawn_after_five_weeks():
    store = store_with(ALL & ~Cap.STRONG_LIST, sql=b"x", manifest_json=b"the manifest")
    store.put(DOOM, doom(STEM))
    store.advance(34 * DAY)
    recover(store)
    assert DOOM in store.objects()
    store.advance(DAY)
    recover(store)
    assert endings(store) == {".sql", ".manifest.json"}


def test_a_removal_that_had_begun_is_finished(doomed):
    doomed.put(GO, decision("go"))
    doomed.advance(HOUR)
    recover(doomed)
    assert doomed.objects() == {}


def test_a_removal_that_was_withdrawn_is_cleared_away(doomed):
    doomed.put(GO, decision("withdrawn"))
    doomed.advance(HOUR)
    recover(doomed)
    assert endings(doomed) == {".sql", ".manifest.json", ".pin-0"}


@pytest.mark.parametrize("word", ["go", "withdrawn"])
def test_a_decision_without_a_doom_is_cleared_away(word):
    store = store_with(sql=b"x", manifest_json=b"the manifest")
    store.put(GO, decision(word))
    recover(store)
    assert endings(store) == {".sql", ".manifest.json"}


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"version": 2}', doom("../../x")])
def test_a_doom_that_cannot_be_understood_is_withdrawn_but_never_finished(content, caplog):
    store = store_with(sql=b"x", manifest_json=b"the manifest")
    store.put(DOOM, content)
    store.put(GO, decision("go"))
    store.advance(HOUR)
    recover(store)
    assert {".sql", ".manifest.json"} <= endings(store)
    assert "doom" in caplog.text
    store.delete([GO])
    recover(store)
    assert endings(store) == {".sql", ".manifest.json"}


# -- what cannot be done now -------------------------------------------------------------------------------------


def test_what_is_retained_is_no_failure_and_goes_when_it_can(caplog):
    store = store_with(intent=b"{}", sql=b"x")
    other = STEM.replace("01234567", "76543210") + ".intent"
    store.put(other, b"{}")
    store.retained = {STEM + ".sql": store.now() + DAY}
    store.advance(HOUR)
    recover(store)
    assert {".sql", ".manifest.json"} <= endings(store)
    assert other not in store.objects()
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    store.advance(DAY)
    recover(store)
    assert ".sql" not in endings(store)


def test_what_cannot_be_deleted_keeps_nobody_from_the_rest(caplog):
    store = store_with(intent=b"{}", sql=b"x")
    other = STEM.replace("01234567", "76543210") + ".intent"
    store.put(other, b"{}")
    store.denied = {STEM + ".sql"}
    store.advance(HOUR)
    recover(store)
    assert other not in store.objects()
    assert ".intent" in endings(store), "the intent says that the data is nobody's"
    assert "next recovery" in caplog.text


def test_a_listing_that_was_cut_is_an_error_and_nothing_is_done():
    store = store_with(intent=b"{}", sql=b"x")
    store.advance(HOUR)
    store.cut_listing = 1
    before = store.objects()
    with pytest.raises(StoreError, match="cut"):
        recover(store)
    assert store.objects() == before


def test_on_a_thousand_backups_recovery_is_a_handful_of_calls(monkeypatch):
    store = MemoryStore()
    asked = []
    monkeypatch.setattr(store, "capabilities", lambda: asked.append("what it guarantees") or ALL)
    for number in range(1000):
        stem = f"shop-abcdef/20261126T170000Z-0123456789ab-{number:08x}"
        store.put(stem + ".sql", b"x")
        store.put(stem + ".manifest.json", b"the manifest")
    store.advance(DAY)
    store.calls.clear()
    recover(store)
    assert store.calls.total() < 10
    assert len(asked) < 10


@pytest.mark.parametrize(("capabilities", "days"), [(Cap.LOCAL, 0), (Cap(0), 1), (Cap.LOCAL, 1)])
def test_what_uploads_left_goes_at_once_only_where_it_is_known_who_lives(capabilities, days):
    """A directory that other machines mount, too, is a place where their locks are not seen."""
    strong = Cap.STRONG_LIST if days == 0 else Cap(0)
    store = MemoryStore((ALL & ~Cap.STRONG_LIST) | strong | capabilities)
    asked = []
    store.sweep = asked.append
    recover(store)
    assert asked == [days * DAY]


def test_an_attempt_whose_process_runs_is_not_dead_for_a_machine_that_slept():
    """After a laptop's sleep the first to run is anybody, and the living one's next beat is on its way."""
    store = MemoryStore(ALL | Cap.LOCAL)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        identity = {**process_identity(), "pid": process.pid, "started": started, "nonce": "01234567"}
        store.put(STEM + ".intent", json.dumps(identity).encode())
        store.put(STEM + ".sql", b"x")
        store.advance(12 * HOUR)
        recover(store)
        assert endings(store) == {".intent", ".sql"}
        process.communicate(b"\n")
    recover(store)
    assert endings(store) == {".manifest.json"}


def test_a_forked_child_that_leaves_its_parents_attempt_ends_nothing_of_it():
    store = MemoryStore(ALL | Cap.LOCAL)
    with Attempt(store, STEM) as attempt:
        upload = attempt.upload(".sql")
        upload.write(b"x")
        upload.commit()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)
            attempt.__exit__(None, None, None)
        attempt.publish(b"the manifest", {".sql": 1})
    assert endings(store) == {".sql", ".manifest.json"}
