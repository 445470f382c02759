"""Backups whose data is gone or short: shown as lost, taken for nothing, and never for the newest good one."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dumpty import BackupManager, DatabaseBackup, MissingFile
from dumpty.cli.output import size


def delete(path):
    os.unlink(path)


def short(path):
    os.truncate(path, os.path.getsize(path) - 1)


def empty(path):
    os.truncate(path, 0)


DAMAGES = pytest.mark.parametrize("damage", [delete, short, empty])


@pytest.fixture
def database(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("INSERT INTO t VALUES (1)")
    connection.close()
    return tmp_path / "shop.db"


@pytest.fixture
def three(tmp_path, database):
    """A manager with three backups, and their files, oldest first."""
    manager = BackupManager(str(tmp_path / "backups"))
    results = [manager.create_backup(f"sqlite:///{database}") for _ in range(3)]
    assert all(r.success for r in results), results
    return manager, [r.backup for r in results]


@pytest.fixture
def run(dumpty):
    def run(manager, *argv, status=0):
        result = dumpty(*argv, "--dir", manager._place.repository.locate(""))
        assert result.status == status, result
        return result

    return run


@DAMAGES
def test_prune_never_takes_a_lost_backup_for_the_newest_good_one(run, three, tmp_path, damage):
    manager, (first, second, third) = three
    damage(third.file_path)
    for rules in (
        ("--keep", "1"),
        ("--keep-daily", "1"),
        ("--keep-yearly", "1"),
        ("--older-than", "0h"),
        ("--max-size", "1B"),
    ):
        result = run(manager, "prune", *rules, "--yes")
        assert f"backup {third.id} of shop" in result.err
        assert "is lost: its data" in result.err
        states = {b.id: b.state for b in manager.list_backups()}
        assert states[second.id] == "ok", rules
    assert first.id not in states
    assert manager.restore(second.id, f"sqlite:///{tmp_path}/new.db").success


@DAMAGES
def test_a_lost_backup_that_was_proven_protects_nothing(run, three, damage):
    manager, (first, second, third) = three
    manager.verify(second.id)
    manager.verify(third.id)
    damage(third.file_path)
    run(manager, "prune", "--keep", "1", "--yes")
    assert [b.id for b in manager.list_backups() if b.state == "ok"] == [second.id]
    assert manager.find("latest-verified").id == second.id
    assert not [b for b in manager.list_backups() if b.id == first.id]


@DAMAGES
def test_what_is_lost_is_shown_as_lost(run, three, damage):
    manager, (first, second, third) = three
    damage(second.file_path)
    assert [b.state for b in manager.list_backups()] == ["ok", "lost", "ok"]
    reason = manager.get_backup(second.id).state_reason
    assert second.file_path in reason
    assert ("is gone" in reason) == (damage is delete)
    reply = json.loads(run(manager, "list", "--json").out)
    assert [b["state"] for b in reply["backups"]] == ["ok", "lost", "ok"]
    assert [w for w in reply["warnings"] if second.id in w and "is lost" in w]
    shown = run(manager, "list")
    assert "LOST" in next(line for line in shown.out.splitlines() if line.startswith(second.id[:8]))
    assert shown.out.count("LOST") == 1
    assert "LOST: its data" in run(manager, "show", second.id).out
    decisions = json.loads(run(manager, "prune", "--keep", "9", "--dry-run", "--json").out)["decisions"]
    assert {d["id"]: d["state"] for d in decisions} == {first.id: "ok", second.id: "lost", third.id: "ok"}
    run(manager, "verify", "--all", status=4)


@DAMAGES
def test_the_latest_is_the_newest_that_is_there(run, three, tmp_path, caplog, damage):
    manager, (first, second, third) = three
    damage(third.file_path)
    with caplog.at_level(logging.WARNING, "dumpty"):
        assert manager.find("latest").id == second.id
    assert [r.event for r in caplog.records] == ["backup-lost"]
    result = run(manager, "restore", "latest", "--to", f"sqlite:///{tmp_path}/new.db")
    assert f"backup {second.id} of shop" in result.out
    assert f"passed over, for it is lost: the newer backup {third.id}" in result.err
    assert manager.find(third.id).state == "lost"
    for backup in (first, second):
        damage(backup.file_path)
    assert manager.find("latest").id == third.id
    run(manager, "verify", "latest", status=4)


def test_a_backup_that_grew_is_damaged_and_no_good_one(run, three):
    manager, (first, second, third) = three
    with open(third.file_path, "ab") as stream:
        stream.write(b"more")
    assert manager.get_backup(third.id).state == "damaged"
    run(manager, "prune", "--keep", "1", "--yes")
    assert [b.id for b in manager.list_backups()] == [second.id, third.id]
    assert "DAMAGED" in run(manager, "list").out
    assert not [b for b in manager.list_backups() if b.id == first.id]


def test_a_backup_whose_last_proof_failed_is_damaged(three):
    manager, (first, _, _) = three
    path = Path(first.file_path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert manager.get_backup(first.id).state == "ok"
    assert not manager.prove(first.id, level="digest").ok
    assert manager.get_backup(first.id).state == "damaged"


def test_what_a_lost_backup_took_frees_nothing(run, three):
    manager, (first, second, third) = three
    delete(first.file_path)
    result = run(manager, "prune", "--keep", "1", "--yes", "--json")
    assert json.loads(result.out)["removed"] == [first.id, second.id]
    assert [b.id for b in manager.list_backups()] == [third.id]
    for _ in range(2):
        assert manager.create_backup(third.database_url).success
    delete(manager.list_backups()[0].file_path)
    freed = size(manager.list_backups()[1].size_bytes)
    assert run(manager, "prune", "--keep", "1", "--yes").out.splitlines()[-1] == f"2 backups of 3 removed, {freed}"


def test_a_link_in_the_place_of_data_is_lost(three, tmp_path):
    manager, (_, second, third) = three
    moved = tmp_path / "elsewhere.gz"
    os.rename(third.file_path, moved)
    os.symlink(moved, third.file_path)
    backup = manager.get_backup(third.id)
    assert backup.state == "lost"
    assert "it is a symbolic link" in backup.state_reason
    assert manager.find("latest").id == second.id


# -- DatabaseBackup ----------------------------------------------------------------------------------------------


@pytest.fixture
def named(tmp_path, database):
    manager = DatabaseBackup(str(tmp_path / "named"))
    return manager, [manager.backup_sqlite(str(database), name) for name in ("one", "two", "three")]


@DAMAGES
def test_a_named_backup_that_is_lost_says_so_and_takes_no_other_ones_place(named, tmp_path, damage):
    manager, (_, _, third) = named
    damage(third.file_path)
    assert [(b.name, b.state) for b in manager.list_backups()] == [("one", "ok"), ("two", "ok"), ("three", "lost")]
    assert manager.prune(3650, 1) == 1
    remaining = manager.list_backups()
    assert [(b.name, b.state) for b in remaining] == [("two", "ok"), ("three", "lost")]
    assert manager.restore_sqlite("two", str(tmp_path / "new.db"))
    if damage is delete:
        with pytest.raises(MissingFile):
            manager.restore_sqlite("three", str(tmp_path / "new.db"))
    assert manager.prune(3650, 0) == 2
    assert manager.list_backups() == []


def test_a_named_backup_that_grew_takes_no_other_ones_place(named, tmp_path):
    manager, (_, _, third) = named
    with open(third.file_path, "ab") as stream:
        stream.write(b"more")
    assert manager.prune(3650, 1) == 1
    assert [(b.name, b.state) for b in manager.list_backups()] == [("two", "ok"), ("three", "damaged")]
    assert manager.restore_sqlite("two", str(tmp_path / "new.db"))


def test_named_backups_that_are_lost_still_expire(named):
    manager, backups = named
    for backup in backups:
        delete(backup.file_path)
    assert manager.prune(3650, 1) == 0
    assert manager.prune(0, 9) == 3


@pytest.mark.parametrize("change", ["prune", "replace"])
def test_a_named_backup_that_another_process_takes_away_between_two_looks_is_not_lost(
    named, database, tmp_path, monkeypatch, change
):
    manager, (first, _, _) = named
    store = type(manager._store)

    def meanwhile(method):
        """Let another process work when ``method`` of the store is called for the first time with the data."""
        real = getattr(store, method)

        def late(self, name, *arguments):
            if name == os.path.basename(first.file_path):
                monkeypatch.setattr(store, method, real)
                other_process = DatabaseBackup(os.path.dirname(first.file_path))
                other_process.backup_sqlite(str(database), "one") if change == "replace" else other_process.prune(
                    3650, 2
                )
                assert not os.path.exists(first.file_path)
            return real(self, name, *arguments)

        monkeypatch.setattr(store, method, late)

    if change == "replace":
        meanwhile("open")
        assert manager.restore_sqlite("one", str(tmp_path / "new.db"))
        first = next(b for b in manager.list_backups() if b.name == "one")
        meanwhile("stat")
        assert [(b.name, b.state) for b in manager.list_backups()] == [("two", "ok"), ("three", "ok"), ("one", "ok")]
    else:
        meanwhile("open")
        assert manager.restore_sqlite("one", str(tmp_path / "new.db")) is False
        manager.backup_sqlite(str(database), "one")
        first = manager.list_backups()[0]
        meanwhile("stat")
        assert [(b.name, b.state) for b in manager.list_backups()] == [("three", "ok"), ("one", "ok")]


def test_a_listing_looks_again_before_it_calls_a_backup_lost(three, monkeypatch):
    """Removed by another process between the listing and the look at its data: it is not lost, it is gone."""
    manager, (first, second, third) = three
    store = manager._place.repository._store
    real = type(store).list

    def late(self, folder=""):
        objects = list(real(self, folder))
        other_process = BackupManager(store.locate(""))
        monkeypatch.setattr(type(store), "list", real)
        other_process.remove(second.id)
        return iter([f for f in objects if not second.file_path.endswith(f.name)])

    monkeypatch.setattr(type(store), "list", late)
    assert {b.id: b.state for b in manager.list_backups()} == {first.id: "ok", third.id: "ok"}


def test_a_store_that_shows_new_objects_late_loses_none(three, monkeypatch):
    manager, backups = three
    store = manager._place.repository._store
    real = type(store).list
    hidden = {os.path.relpath(b.file_path, store.locate("")) for b in backups}
    monkeypatch.setattr(
        type(store), "list", lambda self, folder="": (f for f in real(self, folder) if f.name not in hidden)
    )
    assert [b.state for b in manager.list_backups()] == ["ok"] * 3
    assert manager.list_backups()[0].timestamp <= datetime.now(UTC)
