"""Backups whose data is gone or short: shown as lost, taken for nothing, and never for the newest good one."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dumpty import BackupManager, DatabaseBackup, MissingFile, StoreError
from dumpty.cli.output import size


def gone(path):
    os.unlink(path)


def short(path):
    os.truncate(path, os.path.getsize(path) - 1)


def empty(path):
    os.truncate(path, 0)


DAMAGES = pytest.mark.parametrize("damage", [gone, short, empty])


@pytest.fixture
def database(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as made:
        made.execute("CREATE TABLE t (a)")
        made.execute("INSERT INTO t VALUES (1)")
    made.close()
    return tmp_path / "shop.db"


@pytest.fixture
def three(tmp_path, database):
    """A manager with three backups, and their files, oldest first."""
    own = BackupManager(str(tmp_path / "backups"))
    results = [own.create_backup(f"sqlite:///{database}") for _ in range(3)]
    assert all(r.success for r in results), results
    return own, [r.backup for r in results]


def run(own, *argv, status=0):
    where = os.path.dirname(own.list_backups()[0].file_path)
    done = subprocess.run(
        [sys.executable, "-m", "dumpty", *argv, "--dir", where],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == status, done
    return done


@DAMAGES
def test_prune_never_takes_a_lost_backup_for_the_newest_good_one(three, tmp_path, damage):
    own, (first, second, third) = three
    damage(third.file_path)
    for rules in (
        ("--keep", "1"),
        ("--keep-daily", "1"),
        ("--keep-yearly", "1"),
        ("--older-than", "0h"),
        ("--max-size", "1B"),
    ):
        done = run(own, "prune", *rules, "--yes")
        assert f"backup {third.id} of shop" in done.stderr
        assert "is lost: its data" in done.stderr
        left = {b.id: b.state for b in own.list_backups()}
        assert left[second.id] == "ok", rules
    assert first.id not in left
    assert own.restore(second.id, f"sqlite:///{tmp_path}/new.db").success


@DAMAGES
def test_a_lost_backup_that_was_proven_protects_nothing(three, damage):
    own, (first, second, third) = three
    own.verify(second.id)
    own.verify(third.id)
    damage(third.file_path)
    run(own, "prune", "--keep", "1", "--yes")
    assert [b.id for b in own.list_backups() if b.state == "ok"] == [second.id]
    assert own.find("latest-verified").id == second.id
    assert not [b for b in own.list_backups() if b.id == first.id]


@DAMAGES
def test_what_is_lost_is_shown_as_lost(three, damage):
    own, (first, second, third) = three
    damage(second.file_path)
    assert [b.state for b in own.list_backups()] == ["ok", "lost", "ok"]
    reason = own.get_backup(second.id).state_reason
    assert second.file_path in reason
    assert ("is gone" in reason) == (damage is gone)
    told = json.loads(run(own, "list", "--json").stdout)
    assert [b["state"] for b in told["backups"]] == ["ok", "lost", "ok"]
    assert [w for w in told["warnings"] if second.id in w and "is lost" in w]
    shown = run(own, "list")
    assert "LOST" in next(line for line in shown.stdout.splitlines() if line.startswith(second.id[:8]))
    assert shown.stdout.count("LOST") == 1
    assert "LOST: its data" in run(own, "show", second.id).stdout
    decisions = json.loads(run(own, "prune", "--keep", "9", "--dry-run", "--json").stdout)["decisions"]
    assert {d["id"]: d["state"] for d in decisions} == {first.id: "ok", second.id: "lost", third.id: "ok"}
    run(own, "verify", "--all", status=4)


@DAMAGES
def test_the_latest_is_the_newest_that_is_there(three, tmp_path, caplog, damage):
    own, (first, second, third) = three
    damage(third.file_path)
    with caplog.at_level(logging.WARNING, "dumpty"):
        assert own.find("latest").id == second.id
    assert [r.event for r in caplog.records] == ["backup-lost"]
    done = run(own, "restore", "latest", "--to", f"sqlite:///{tmp_path}/new.db")
    assert f"backup {second.id} of shop" in done.stdout
    assert f"passed over, for it is lost: the newer backup {third.id}" in done.stderr
    assert own.find(third.id).state == "lost"
    for one in (first, second):
        damage(one.file_path)
    assert own.find("latest").id == third.id
    run(own, "verify", "latest", status=4)


def test_a_backup_that_grew_is_damaged_and_no_good_one(three):
    own, (first, second, third) = three
    with open(third.file_path, "ab") as stream:
        stream.write(b"more")
    assert own.get_backup(third.id).state == "damaged"
    run(own, "prune", "--keep", "1", "--yes")
    assert [b.id for b in own.list_backups()] == [second.id, third.id]
    assert "DAMAGED" in run(own, "list").stdout
    assert not [b for b in own.list_backups() if b.id == first.id]


def test_a_backup_whose_last_proof_failed_is_damaged(three):
    own, (first, _, _) = three
    path = Path(first.file_path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert own.get_backup(first.id).state == "ok"
    assert not own.prove(first.id, level="digest").ok
    assert own.get_backup(first.id).state == "damaged"


def test_what_a_lost_backup_took_frees_nothing(three):
    own, (first, second, third) = three
    gone(first.file_path)
    done = run(own, "prune", "--keep", "1", "--yes", "--json")
    assert json.loads(done.stdout)["removed"] == [first.id, second.id]
    assert [b.id for b in own.list_backups()] == [third.id]
    for _ in range(2):
        assert own.create_backup(third.database_url).success
    gone(own.list_backups()[0].file_path)
    freed = size(own.list_backups()[1].size_bytes)
    assert run(own, "prune", "--keep", "1", "--yes").stdout.splitlines()[-1] == f"2 backups of 3 removed, {freed}"


def test_a_link_in_the_place_of_data_is_lost(three, tmp_path):
    own, (_, second, third) = three
    aside = tmp_path / "elsewhere.gz"
    os.rename(third.file_path, aside)
    os.symlink(aside, third.file_path)
    found = own.get_backup(third.id)
    assert found.state == "lost"
    assert "it is a symbolic link" in found.state_reason
    assert own.find("latest").id == second.id


# -- DatabaseBackup ----------------------------------------------------------------------------------------------


@pytest.fixture
def named(tmp_path, database):
    own = DatabaseBackup(str(tmp_path / "named"))
    return own, [own.backup_sqlite(str(database), name) for name in ("one", "two", "three")]


@DAMAGES
def test_a_named_backup_that_is_lost_says_so_and_takes_no_other_ones_place(named, tmp_path, damage):
    own, (_, _, third) = named
    damage(third.file_path)
    assert [(b.name, b.state) for b in own.list_backups()] == [("one", "ok"), ("two", "ok"), ("three", "lost")]
    assert own.prune(3650, 1) == 1
    left = own.list_backups()
    assert [(b.name, b.state) for b in left] == [("two", "ok"), ("three", "lost")]
    assert own.restore_sqlite("two", str(tmp_path / "new.db"))
    if damage is gone:
        with pytest.raises(MissingFile):
            own.restore_sqlite("three", str(tmp_path / "new.db"))
    assert own.prune(3650, 0) == 2
    assert own.list_backups() == []


def test_a_named_backup_that_grew_takes_no_other_ones_place(named, tmp_path):
    own, (_, _, third) = named
    with open(third.file_path, "ab") as stream:
        stream.write(b"more")
    assert own.prune(3650, 1) == 1
    assert [(b.name, b.state) for b in own.list_backups()] == [("two", "ok"), ("three", "damaged")]
    assert own.restore_sqlite("two", str(tmp_path / "new.db"))


def test_named_backups_that_are_lost_still_expire(named):
    own, made = named
    for one in made:
        gone(one.file_path)
    assert own.prune(3650, 1) == 0
    assert own.prune(0, 9) == 3


def test_a_listing_looks_again_before_it_calls_a_backup_lost(three, monkeypatch):
    """Removed by another process between the listing and the look at its data: it is not lost, it is gone."""
    own, (first, second, third) = three
    store = own._store
    real = type(store).list

    def late(self):
        found = list(real(self))
        other = BackupManager(os.path.dirname(first.file_path))
        monkeypatch.setattr(type(store), "list", real)
        other.remove(second.id)
        return iter([f for f in found if f.name != os.path.basename(second.file_path)])

    monkeypatch.setattr(type(store), "list", late)
    assert {b.id: b.state for b in own.list_backups()} == {first.id: "ok", third.id: "ok"}


def test_a_store_that_shows_new_objects_late_loses_none(three, monkeypatch):
    own, made = three
    store = own._store
    real = type(store).list
    hidden = {os.path.basename(b.file_path) for b in made}
    monkeypatch.setattr(type(store), "list", lambda self: (f for f in real(self) if f.name not in hidden))
    assert [b.state for b in own.list_backups()] == ["ok"] * 3
    assert own.list_backups()[0].timestamp <= datetime.now(UTC)


def test_a_removal_that_did_not_end_loses_nothing(three, named, tmp_path):
    own, made = three
    for one in made:
        os.rename(one.file_path, one.file_path + ".removed")
        assert own.get_backup(one.id).state == "ok"
        assert os.path.exists(one.file_path)
        os.rename(one.file_path, one.file_path + ".removed")
        assert own.prove(one.id, level="structure").ok
        os.rename(one.file_path, one.file_path + ".removed")
        assert own.restore(one.id, f"sqlite:///{tmp_path}/{one.id}.db").success
    other, copies = named
    for one in copies:
        os.rename(one.file_path, one.file_path + ".removed")
        assert {b.state for b in other.list_backups()} == {"ok"}
        os.rename(one.file_path, one.file_path + ".removed")
        assert other.restore_sqlite(one.name, str(tmp_path / "new.db"))
    os.rename(copies[2].file_path, copies[2].file_path + ".removed")
    assert other.prune(3650, 1) == 2
    assert [(b.name, b.state) for b in other.list_backups()] == [("three", "ok")]


def test_a_removal_that_did_not_end_where_nothing_can_be_put_back_is_lost(three, monkeypatch):
    own, (_, second, third) = three
    os.rename(third.file_path, third.file_path + ".removed")

    def full(*_):
        raise StoreError("cannot rename it: Read-only file system")

    monkeypatch.setattr(type(own._store), "rename", full)
    assert own.get_backup(third.id).state == "lost"
    assert own.find("latest").id == second.id
