"""The driver behind both facades."""

from __future__ import annotations

import gzip
import os
import subprocess

import pytest
from plugins.sqlite.contents import contents, make, open_database, rows_of

from dumpty import BackupManager, DatabaseBackup, IntegrityError, Locked

SHOP = (
    "CREATE TABLE t(a, b REAL); INSERT INTO t VALUES('x\r\ny', 0.1), (x'00', 1e999); CREATE INDEX i ON t(a);"
    "CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES('words'); PRAGMA user_version=4;"
)


@pytest.fixture
def shop(tmp_path):
    return make(tmp_path / "shop.db", "PRAGMA journal_mode=WAL;" + SHOP)


@pytest.mark.parametrize("form", [None, "sql", "native", "parallel"])
def test_manager_brings_a_database_back(shop, tmp_path, form):
    manager = BackupManager(str(tmp_path / "backups"))
    made = manager.create_backup(f"sqlite:///{shop}", format=form)
    assert made.success, made.error
    result = manager.restore(made.backup.id, f"sqlite:///{tmp_path / 'back.db'}")
    assert result.success, result.error
    assert contents(tmp_path / "back.db") == contents(shop)


def test_default_backup_is_sql_that_the_program_loads_without_dumpty(shop, tmp_path):
    made = BackupManager(str(tmp_path / "backups")).create_backup(f"sqlite:///{shop}")
    assert made.backup.file_path.endswith(".sql.gz")
    with gzip.open(made.backup.file_path) as stream:
        subprocess.run(["sqlite3", "-bail", str(tmp_path / "back.db")], input=stream.read(), check=True)
    assert contents(tmp_path / "back.db") == contents(shop)


def test_manager_refuses_a_full_target_and_replaces_it_when_told(shop, tmp_path):
    manager = BackupManager(str(tmp_path / "backups"))
    made = manager.create_backup(f"sqlite:///{shop}")
    url = f"sqlite:///{make(tmp_path / 'full.db', 'CREATE TABLE old(a)')}"
    refusal = manager.restore(made.backup.id, url)
    assert not refusal.success
    assert "overwrite" in refusal.error
    assert rows_of(tmp_path / "full.db", "SELECT name FROM sqlite_master") == [("old",)]
    result = manager.restore(made.backup.id, url, overwrite=True)
    assert result.success, result.error
    assert contents(tmp_path / "full.db") == contents(shop)


def test_manager_replaces_a_target_that_is_no_database_when_told(shop, tmp_path):
    manager = BackupManager(str(tmp_path / "backups"))
    made = manager.create_backup(f"sqlite:///{shop}")
    (tmp_path / "noise.db").write_bytes(os.urandom(9000))
    assert "overwrite" in manager.restore(made.backup.id, f"sqlite:///{tmp_path / 'noise.db'}").error
    result = manager.restore(made.backup.id, f"sqlite:///{tmp_path / 'noise.db'}", overwrite=True)
    assert result.success, result.error
    assert contents(tmp_path / "noise.db") == contents(shop)


def test_manager_gives_one_line_for_bad_databases(tmp_path):
    manager = BackupManager(str(tmp_path / "backups"))
    (tmp_path / "empty.db").touch()
    (tmp_path / "noise.db").write_bytes(os.urandom(9000))
    for name, message in (
        ("gone.db", "no database file"),
        ("empty.db", "0 bytes"),
        ("noise.db", "not a SQLite database"),
    ):
        failed = manager.create_backup(f"sqlite:///{tmp_path / name}")
        assert not failed.success
        assert message in failed.error
        assert "\n" not in failed.error
    assert manager.list_backups() == []


def test_simple_facade_keeps_a_plain_copy_and_puts_it_back_over_the_original(shop, tmp_path):
    before = contents(shop)
    backups = DatabaseBackup(str(tmp_path / "backups"))
    made = backups.backup_sqlite(str(shop), "monday")
    assert made.format == "sqlite"
    assert contents(made.file_path) == before
    with open_database(shop) as database:
        database.execute("DROP TABLE t")
    assert backups.restore_sqlite("monday", str(shop)) is True
    assert contents(shop) == before


def test_simple_facade_refuses_a_target_in_use_and_a_damaged_copy(shop, tmp_path):
    backups = DatabaseBackup(str(tmp_path / "backups"))
    made = backups.backup_sqlite(str(shop), "monday")
    with open_database(shop) as user:
        user.execute("BEGIN IMMEDIATE")
        with pytest.raises(Locked):
            backups.restore_sqlite("monday", str(shop))
    with open(made.file_path, "r+b") as stream:
        stream.seek(5000)
        stream.write(b"\xa5")
    before = contents(shop)
    with pytest.raises(IntegrityError):
        backups.restore_sqlite("monday", str(shop))
    assert contents(shop) == before
