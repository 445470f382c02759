"""The shrink guard: a backup that holds much less than those before it is kept, marked, and counts for nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.keys import key_file, x25519
from support.toys import ToyDriver

from dumpty import (
    BackupManager,
    Evidence,
    IntegrityError,
    ManifestError,
    ObjectEvidence,
    OptionError,
    Rules,
    ShrinkRules,
    UnknownBackup,
    backup_database,
    hookimpl,
)
from dumpty.repository.sealed import seal

GUARD = ShrinkRules()
RECIPIENT = x25519()[0].text
ROWS = 1000


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DUMPTY_MACHINE_KEY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "here"))
    return tmp_path


def fill(rows, *, table="orders"):
    """Let the database shop.db hold so many rows, and no more."""
    with contextlib.closing(sqlite3.connect("shop.db")) as database, database:
        database.execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, what TEXT)")
        database.execute(f"DELETE FROM {table}")
        database.executemany(f"INSERT INTO {table} (what) VALUES (?)", [("x" * 100,)] * rows)


@pytest.fixture
def manager():
    return BackupManager("backups")


def back_up(manager, **options):
    options.setdefault("shrink_guard", GUARD)
    return manager.create_backup("sqlite:///shop.db", **options).raise_for_error()


def shrunk(manager, rows=10, **options):
    """Return a good backup and, after most rows were lost, the next."""
    fill(ROWS)
    good = back_up(manager, **options)
    fill(rows)
    return good, back_up(manager, **options)


def test_a_size_that_is_compared_with_none_is_said_to_be(manager):
    fill(ROWS)
    back_up(manager, format="native")
    [note] = back_up(manager, format="sql").evidence.notes
    assert note == "its size was not compared with earlier backups, which are in another format: native"
    assert back_up(manager, format="sql").evidence.notes == ()
    assert back_up(manager, format="native", shrink_guard=ShrinkRules(size=None)).evidence.notes == ()


def states(manager):
    return [backup.state for backup in manager.list_backups()]


def manifest_of(backup):
    path = Path(backup.file_path)
    return path.parent / f"{path.name.partition('.')[0]}.manifest.json"


def test_what_has_lost_most_of_its_rows_is_kept_and_says_what_it_lost(manager):
    good, bad = shrunk(manager)
    assert (good.state, good.suspicions) == ("ok", ())
    assert (bad.state, bad.suspicious) == ("suspicious", True)
    which = f"had 1,000 in backup {good.id[:8]} of {good.timestamp:%Y-%m-%d %H:%M}Z"
    assert bad.suspicions[0] == f"all tables together: 10 rows, {which}"
    assert bad.suspicions[-1] == f"table orders: 10 rows, {which}"
    assert bad.state_reason == "; ".join(bad.suspicions)
    again = BackupManager("backups")
    assert again.get_backup(bad.id) == bad
    assert states(again) == ["ok", "suspicious"]
    assert again.restore(bad.id, "sqlite:///restored.db").success
    assert again.verify(bad.id).state == "suspicious"


def test_without_it_nothing_is_compared(manager):
    assert [b.state for b in shrunk(manager, shrink_guard=None)] == ["ok", "ok"]
    assert backup_database("sqlite:///shop.db", shrink_guard=None).success


def test_a_success_of_nothing_is_suspicious_whatever_its_driver_counts():
    driver = ToyDriver(shop=b"x" * 100_000)
    manager = BackupManager("backups", plugins=[driver])
    first = manager.create_backup("toy://h/shop", shrink_guard=GUARD).backup
    driver.databases["shop"] = b"-"
    bad = manager.create_backup("toy://h/shop", shrink_guard=GUARD).backup
    assert (first.state, bad.state) == ("ok", "suspicious")
    assert "the dump: 1 bytes, had 100,000 in" in bad.state_reason


def test_it_evicts_nothing_until_somebody_accepts_it(manager):
    good, bad = shrunk(manager)
    older = manager.prune(Rules(keep=1))
    assert (older.removed, [d.keep for d in older.decisions]) == ((), [True, True])
    assert states(manager) == ["ok", "suspicious"]
    accepted = manager.accept(bad.id, "the old orders\nwere archived")
    assert accepted.state == "ok"
    assert accepted.accepted.endswith(": the old orders were archived")
    assert accepted.suspicions == bad.suspicions
    assert manager.prune(Rules(keep=1)).removed == (good.id,)
    assert [(b.id, b.state) for b in manager.list_backups()] == [(bad.id, "ok")]


def test_what_was_accepted_is_what_the_next_is_compared_with(manager):
    _, bad = shrunk(manager)
    assert back_up(manager).state == "suspicious"  # still: nobody has said that it is right
    manager.accept(bad.id)
    assert back_up(manager).state == "ok"
    fill(0)
    assert back_up(manager).state == "suspicious"


def test_accepting_what_is_not_suspicious_or_twice_writes_nothing(manager):
    good, bad = shrunk(manager)
    manager.accept(bad.id)
    before = sorted(os.listdir(Path(bad.file_path).parent))
    assert manager.accept(good.id).accepted == ""
    assert manager.accept(bad.id, "again").accepted.count("again") == 0
    assert sorted(os.listdir(Path(bad.file_path).parent)) == before
    with pytest.raises(UnknownBackup):
        manager.accept("nobody")


def test_it_can_be_removed_with_all_that_lies_beside_it(manager):
    good, bad = shrunk(manager)
    manager.accept(bad.id)
    assert manager.remove(bad.id)
    left = [path.name for path in Path(good.file_path).parent.iterdir()]
    assert all(good.id.replace("-", "")[:12] in name for name in left)


def test_what_failed_its_proof_is_lost_or_of_tomorrow_is_no_measure(manager, monkeypatch):
    fill(10)
    low = back_up(manager)
    for spoil in ("failed", "lost", "tomorrow"):
        fill(ROWS)
        backup = back_up(manager)
        if spoil == "failed":
            with pytest.raises(IntegrityError):
                manager.drill(backup.id, assertions=["SELECT 0"])
        elif spoil == "lost":
            os.truncate(backup.file_path, 3)
        else:
            postpone(backup)
        fill(10)
        assert back_up(manager).state == "ok", spoil
    assert manager.get_backup(low.id).state == "ok"


def postpone(backup):
    """Let a backup have been taken tomorrow, as on a machine whose clock was ahead."""
    later = backup.timestamp + timedelta(days=1)
    stems = [f"{moment:%Y%m%dT%H%M%SZ}" for moment in (backup.timestamp, later)]
    content = manifest_of(backup).read_text().replace(stems[0], stems[1])
    values = json.loads(content.replace(backup.timestamp.isoformat(), later.isoformat()))
    del values["digest"], values["dumpty_manifest"]
    for path in list(Path(backup.file_path).parent.glob(f"{stems[0]}-{backup.id.replace('-', '')[:12]}*")):
        path.rename(path.with_name(path.name.replace(stems[0], stems[1])))
    Path(str(manifest_of(backup)).replace(stems[0], stems[1])).write_bytes(seal(values))


def test_other_databases_are_no_measure(manager):
    fill(ROWS)
    back_up(manager)
    os.makedirs("other")
    shutil.copy("shop.db", "other/shop.db")
    fill(10)
    os.replace("shop.db", "other/shop.db")
    assert manager.create_backup("sqlite:///other/shop.db", shrink_guard=GUARD).backup.state == "ok"


def test_one_that_cannot_be_read_is_told_and_others_are_the_measure(manager):
    fill(ROWS)
    back_up(manager)
    damaged = back_up(manager)
    manifest_of(damaged).write_text("{")
    fill(10)
    bad = back_up(manager)
    assert bad.state == "suspicious"
    [note] = [note for note in bad.evidence.notes if "cannot be read" in note]
    assert str(manifest_of(damaged)) in note


DIES_WITH_THE_COMMIT = """
import os
from dumpty import BackupManager, ShrinkRules
from dumpty.repository.protocol.attempt import Attempt

publish = Attempt.publish

def publish_and_die(self, data, sizes):
    publish(self, data, sizes)
    os._exit(9)

Attempt.publish = publish_and_die
BackupManager("backups").create_backup("sqlite:///shop.db", shrink_guard=ShrinkRules())
"""


def test_who_is_killed_with_the_commit_leaves_it_marked(manager):
    fill(ROWS)
    good = back_up(manager)
    fill(10)
    assert subprocess.run([sys.executable, "-c", DIES_WITH_THE_COMMIT], check=False).returncode == 9
    later = BackupManager("backups")
    assert states(later) == ["ok", "suspicious"]
    assert later.prune(Rules(keep=1)).removed == ()
    assert later.get_backup(good.id).state == "ok"


@pytest.mark.parametrize("value", [True, 0.5, {"rows": 0.5}])
def test_rules_are_rules(manager, value):
    with pytest.raises(TypeError, match="ShrinkRules"):
        manager.create_backup("sqlite:///shop.db", shrink_guard=value)


class Counting(ToyDriver):
    """Says what a test tells it to have counted."""

    rows = 0

    @hookimpl
    def backup(self, source, sink):
        sink.write(self.databases[source.database])
        return Evidence(objects=tuple(ObjectEvidence(path=f"t{n}", rows=self.rows) for n in range(30)))


def test_of_many_findings_the_first_are_told():
    driver = Counting(shop=b"x")
    driver.rows = 200
    manager = BackupManager("backups", plugins=[driver])
    manager.create_backup("toy://h/shop", shrink_guard=GUARD)
    driver.rows = 1
    bad = manager.create_backup("toy://h/shop", shrink_guard=GUARD).backup
    assert len(bad.suspicions) == 21
    assert bad.suspicions[-1] == "and 11 more"


def test_observers_are_told(place):
    told = []

    class Observer:
        name = "watcher"

        @hookimpl
        def finished(self, event):
            told.append((event.verb, event.success, event.backup.suspicious))

    driver = Counting(shop=b"x")
    driver.rows = 200
    manager = BackupManager("backups", plugins=[driver, Observer()])
    manager.create_backup("toy://h/shop", shrink_guard=GUARD)
    driver.rows = 1
    manager.create_backup("toy://h/shop", shrink_guard=GUARD)
    assert told == [("backup", True, False), ("backup", True, True)]


# -- encrypted -------------------------------------------------------------------------------------------------------


def test_under_encryption_this_machines_key_reads_what_the_earlier_ones_held(manager):
    good, bad = shrunk(manager, encrypt_to=[RECIPIENT])
    assert bad.state == "suspicious"
    assert bad.suspicions[-1].startswith("table orders: 10 rows, had 1,000 in backup ")
    assert not [note for note in bad.evidence.notes if "compared" in note]
    text = manifest_of(bad).read_text()
    assert '"suspicious": true' in text
    assert "orders" not in text
    listed = manager.get_backup(bad.id)
    assert (listed.state, listed.suspicions, listed.sealed) == ("suspicious", (), True)
    assert "sealed" in listed.state_reason
    assert manager.unsealed(bad.id).suspicions == bad.suspicions
    assert manager.accept(bad.id).state == "ok"
    assert manager.get_backup(good.id).state == "ok"


def test_what_this_machine_cannot_open_is_compared_by_its_totals_and_that_is_told(manager, place):
    fill(ROWS)
    good = back_up(manager, encrypt_to=[RECIPIENT])
    shutil.rmtree("here")
    fill(ROWS, table="invoices")
    same = back_up(manager, encrypt_to=[RECIPIENT])
    assert same.state == "ok"
    [note] = [note for note in same.evidence.notes if "compared" in note]
    assert note == (
        f"compared with an earlier backup ({good.id}) in numbers and sizes alone, not table by table: "
        "this machine's own key does not open what is sealed of it"
    )
    shutil.rmtree("here")
    fill(0)
    fill(0, table="invoices")
    bad = back_up(manager, encrypt_to=[RECIPIENT])
    assert bad.state == "suspicious"
    assert bad.suspicions[0].startswith("all tables together: 0 rows, had 1,000 in backup ")


def test_a_mark_that_somebody_takes_out_is_found_by_whoever_can_read_the_rest(manager, place):
    key_file(place / "key.txt")
    _, bad = shrunk(manager, encrypt_to=[RECIPIENT])
    values = json.loads(manifest_of(bad).read_text())
    del values["digest"], values["dumpty_manifest"]
    values["clear"]["suspicious"] = False
    manifest_of(bad).write_bytes(seal(values))
    again = BackupManager("backups")
    with pytest.raises(ManifestError, match="than stand beside it"):
        again.unsealed(bad.id, ["key.txt"])
    assert not again.restore(bad.id, "sqlite:///new.db", identities=["key.txt"]).success


def test_an_unencrypted_mark_and_its_reasons_say_the_same(manager):
    _, bad = shrunk(manager)
    values = json.loads(manifest_of(bad).read_text())
    del values["digest"], values["dumpty_manifest"]
    values["clear"]["suspicious"] = False
    manifest_of(bad).write_bytes(seal(values))
    [problem] = BackupManager("backups").listing().problems
    assert "suspicious it says in two ways" in str(problem)


# -- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reencrypted", [False, True])
def test_a_copy_is_as_suspicious_and_as_accepted_as_its_backup(manager, reencrypted):
    _, bad = shrunk(manager)
    vault = BackupManager("vault")
    keys = {"encrypt_to": [RECIPIENT]} if reencrypted else {}
    [copied] = manager.copy([bad.id], to=vault, **keys)
    assert copied.backup.state == "suspicious"
    manager.accept(bad.id, "archived")
    [again] = manager.copy([bad.id], to=vault, **keys)
    assert not again.copied
    assert again.backup.state == "ok"
    assert "copied with its acceptance" in again.backup.accepted
    assert "archived" in again.backup.accepted
    [fresh] = manager.copy([bad.id], to=BackupManager("third"), **keys)
    assert fresh.backup.state == "ok"


def test_where_it_lies_twice_it_is_accepted_where_either_is(manager):
    _, bad = shrunk(manager)
    copies = BackupManager("vault")
    manager.copy([bad.id], to=copies)
    twin = next(Path("vault").rglob("*.manifest.json")).parent
    for path in list(twin.iterdir()):
        shutil.copy(path, Path(bad.file_path).parent / path.name)
    both = BackupManager("backups")
    assert states(both) == ["ok", "suspicious"]
    both.accept(bad.id)
    assert both.find(bad.id).state == "ok"
    assert states(BackupManager("backups")) == ["ok", "ok"]
    assert back_up(BackupManager("backups")).state == "ok"


# -- restored --------------------------------------------------------------------------------------------------------


def test_restoring_it_warns_and_names_the_newest_good_one(manager, caplog):
    good, bad = shrunk(manager)
    worse = back_up(manager)
    assert manager.find("latest").id == worse.id
    assert manager.restore(worse.id, "sqlite:///new.db").success
    [warning] = [r.getMessage() for r in caplog.records if getattr(r, "event", "") == "backup-suspicious"]
    assert f"the newest good one is {good.id}" in warning
    assert "table orders: 10 rows, had 1,000" in warning
    caplog.clear()
    manager.accept(bad.id)
    assert manager.restore(bad.id, "sqlite:///again.db").success
    assert manager.restore(good.id, "sqlite:///third.db").success
    assert not [r for r in caplog.records if getattr(r, "event", "") == "backup-suspicious"]


def test_no_more_is_loaded_than_is_looked_at(manager, monkeypatch):
    fill(ROWS)
    for _ in range(5):
        back_up(manager, shrink_guard=None)
    repository = manager._place.repository
    loaded, asked = [], []
    candidates = repository.candidates

    def counted(candidate):
        return replace(candidate, load=lambda: loaded.append(candidate.started) or candidate.load())

    def watched(**arguments):
        asked.append(arguments)
        # As if a day lay between them: what is of one second is loaded together.
        days = (timedelta(days=day) for day in itertools.count(-5))
        return [
            replace(counted(c), started=c.started + day) for c, day in zip(candidates(**arguments), days, strict=False)
        ]

    monkeypatch.setattr(repository, "candidates", watched)
    assert back_up(manager).state == "ok"
    assert len(loaded) == GUARD.backups
    [backup, *_] = manager.list_backups()
    assert asked == [{"database": "shop", "identity": backup.source}]


def test_a_listing_that_fails_fails_the_backup_before_anything_is_dumped(manager, monkeypatch):
    fill(ROWS)

    def refused(**_):
        raise OptionError("not now")

    monkeypatch.setattr(manager._place.repository, "candidates", refused)
    result = manager.create_backup("sqlite:///shop.db", shrink_guard=GUARD)
    assert (result.success, result.error) == (False, "not now")
