"""``DatabaseBackup.backup`` and ``restore``: named, native copies of whatever a driver answers for."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3

import pytest
from support.toys import ToyDriver

from dumpty import (
    BackupFormat,
    DatabaseBackup,
    Evidence,
    IntegrityError,
    InvalidName,
    OptionError,
    PluginNotFound,
    RestoreNotSupported,
    SourceError,
    TargetNotEmpty,
    UnknownBackup,
    hookimpl,
)
from dumpty.registry.host import Host

SECRET = "s3cr3t-Marker"


@pytest.fixture
def driver():
    return ToyDriver(db=b"content", empty=b"", full=b"old")


@pytest.fixture
def backups(tmp_path, driver, monkeypatch):
    host = Host([driver])
    monkeypatch.setattr("dumpty.backup.default_host", lambda: host)
    return DatabaseBackup(tmp_path / "b")


def sqlite_database(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE item (id); INSERT INTO item VALUES (7)")
    return path


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT id FROM item").fetchall()


def test_any_drivers_database_is_backed_up_natively_and_goes_back(backups, driver):
    made = backups.backup(f"toy://u:{SECRET}@h/db", "one")
    assert (made.name, made.database_name, made.format, made.driver) == ("one", "db", "native", "toy")
    with open(made.file_path, "rb") as file:
        assert file.read() == b"content"
    assert made.size_bytes == 7
    assert backups.list_backups() == [made]
    assert backups.restore("one", "toy://h/new") == made
    assert backups.restore("one", "toy://h/empty") == made
    assert driver.databases["new"] == driver.databases["empty"] == b"content"


def test_a_target_that_holds_anything_is_refused_and_replaced_when_told_to(backups, driver):
    backups.backup("toy://h/db", "one")
    with pytest.raises(TargetNotEmpty, match="overwrite=True"):
        backups.restore("one", "toy://h/full")
    assert driver.databases["full"] == b"old"
    backups.restore("one", "toy://h/full", overwrite=True)
    assert driver.databases["full"] == b"content"


def test_format_and_options_are_the_drivers(backups):
    assert backups.backup("toy://h/db", "one", format="sql", chunk=2).file_path.endswith(".sql")
    with pytest.raises(OptionError):
        backups.backup("toy://h/db", "two", format="none")
    with pytest.raises(OptionError):
        backups.backup("toy://h/db", "two", nonsense=1)
    assert [b.name for b in backups.list_backups()] == ["one"]


def test_what_is_wrong_with_a_call_is_raised_and_leaves_nothing(backups, tmp_path):
    with pytest.raises(InvalidName):
        backups.backup("toy://h/db", "../one")
    with pytest.raises(PluginNotFound):
        backups.backup("nodb://h/db", "one")
    with pytest.raises(SourceError, match="has no scheme"):
        backups.backup("db", "one")
    with pytest.raises(UnknownBackup, match="no backup is called 'one'"):
        backups.restore("one", "toy://h/new")
    assert backups.list_backups() == []


def test_a_backup_goes_back_only_into_a_database_of_its_own_kind(backups, tmp_path):
    backups.backup("toy://h/db", "one")
    with pytest.raises(SourceError, match="only into a database of its own kind"):
        backups.restore("one", f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(IntegrityError, match="not one of SQLite"):
        backups.restore_sqlite("one", str(tmp_path / "x.db"))
    assert not os.path.exists(tmp_path / "x.db")


@pytest.mark.parametrize("spoil", ["gone", "altered"])
def test_data_that_is_not_what_was_recorded_is_not_restored(backups, driver, spoil):
    made = backups.backup("toy://h/db", "one")
    if spoil == "gone":
        os.unlink(made.file_path)
    else:
        with open(made.file_path, "wb") as file:
            file.write(b"CONTENT")
    with pytest.raises(FileNotFoundError if spoil == "gone" else IntegrityError):
        backups.restore("one", "toy://h/full", overwrite=True)
    assert driver.databases["full"] == b"old"


def test_a_failed_backup_of_a_taken_name_leaves_the_older_one(backups, driver, monkeypatch):
    made = backups.backup("toy://h/db", "one")
    driver.databases["db"] = b""
    with pytest.raises(IntegrityError, match="not one byte"):
        backups.backup("toy://h/db", "one")
    assert backups.list_backups() == [made]
    assert backups.restore("one", "toy://h/new") == made


def test_no_error_and_no_manifest_holds_the_password(tmp_path, monkeypatch):
    class Leaking(ToyDriver):
        @hookimpl
        def backup(self, source, sink):
            if source.database != "db":
                raise RuntimeError(f"{source.password} is wrong")
            sink.write(b"x")
            return Evidence(notes=(f"as {source.password}",))

        @hookimpl
        def restore(self, target):
            raise NotImplementedError(target.password)

    host = Host([Leaking(db=b"x")])
    monkeypatch.setattr("dumpty.backup.default_host", lambda: host)
    backups = DatabaseBackup(tmp_path)
    backups.backup(f"toy://u:{SECRET}@h/db", "one")
    with pytest.raises(RestoreNotSupported) as refused:
        backups.restore("one", f"toy://u:{SECRET}@h/new")
    with pytest.raises(Exception, match=r"\*\*\* is wrong") as failed:
        backups.backup(f"toy://u:{SECRET}@h/other", "two")
    for error in (refused.value, failed.value, failed.value.__cause__):
        assert SECRET not in str(error)
    assert SECRET not in (tmp_path / "backup_manifest.json").read_text()


def test_a_driver_that_does_not_read_the_dump_to_its_end_has_restored_nothing(tmp_path, monkeypatch):
    class Hasty(ToyDriver):
        @hookimpl
        def restore(self, dump):
            dump.open().read(1)
            return Evidence()

    host = Host([Hasty(db=b"content")])
    monkeypatch.setattr("dumpty.backup.default_host", lambda: host)
    backups = DatabaseBackup(tmp_path)
    backups.backup("toy://h/db", "one")
    with pytest.raises(IntegrityError, match="did not read it to its end"):
        backups.restore("one", "toy://h/new")


def test_the_contracts_methods_and_these_understand_each_other(tmp_path):
    shop = sqlite_database(tmp_path / "shop.db")
    backups = DatabaseBackup(tmp_path / "b")
    general = backups.backup(f"sqlite:///{shop}", "general")
    special = backups.backup_sqlite(str(shop), "special")
    assert (general.format, general.driver, general.source) == (special.format, special.driver, special.source)
    assert general.format == "sqlite"
    assert backups.restore_sqlite("general", str(tmp_path / "a.db"))
    assert backups.restore("special", f"sqlite:///{tmp_path}/b.db") == special
    assert rows(tmp_path / "a.db") == rows(tmp_path / "b.db") == [(7,)]
    text = backups.backup(f"sqlite:///{shop}", "text", format="sql")
    assert (text.format, text.driver) == ("sql", "sqlite")
    assert backups.restore_sqlite("text", str(tmp_path / "c.db"))
    assert rows(tmp_path / "c.db") == [(7,)]
    assert backups.prune(max_age_days=1, max_backups=1) == 2


def test_an_entry_that_names_no_driver_is_restored_all_the_same(tmp_path):
    from dumpty.repository import sealed

    shop = sqlite_database(tmp_path / "shop.db")
    backups = DatabaseBackup(tmp_path / "b")
    backups.backup_sqlite(str(shop), "old")
    manifest = tmp_path / "b" / "backup_manifest.json"
    entries = sealed.unseal(manifest.read_bytes(), "the manifest")["backups"]
    assert entries[0].pop("driver") == "sqlite"
    manifest.write_bytes(sealed.seal({"backups": entries}))
    assert [b.driver for b in backups.list_backups()] == ["sqlite"]
    backups.restore("old", f"sqlite:///{tmp_path}/a.db")
    assert rows(tmp_path / "a.db") == [(7,)]
    assert "driver" not in json.dumps(entries)


@pytest.mark.parametrize("form", [None, *BackupFormat], ids=str)
def test_postgresql_goes_back_from_every_format(tmp_path, postgres, form):
    name = postgres.create()
    postgres.execute("CREATE TABLE item (id int)", database=name)
    postgres.execute("INSERT INTO item VALUES (7)", database=name)
    backups = DatabaseBackup(tmp_path)
    if form is None:
        made = backups.backup(postgres.url(name), "pg")
        assert made.format == "native"
    else:
        made = backups.backup_postgres(postgres.url(name), "pg", form)
    assert made.driver == "postgres"
    again = postgres.create()
    assert backups.restore("pg", postgres.url(again)).checksum == made.checksum
    assert postgres.execute("TABLE item", database=again) == [(7,)]
    with pytest.raises(TargetNotEmpty):
        backups.restore("pg", postgres.url(again))


def test_mariadb_is_backed_up_under_a_name_and_goes_back(tmp_path, mariadb):
    try:
        mariadb.run("CREATE DATABASE named_shop", "CREATE DATABASE named_again")
        mariadb.run("CREATE TABLE item (id INT PRIMARY KEY)", "INSERT INTO item VALUES (7)", database="named_shop")
        backups = DatabaseBackup(tmp_path)
        assert backups.backup(mariadb.url("named_shop"), "my").driver == "mysql"
        backups.restore("my", mariadb.url("named_again"))
        assert mariadb.run("SELECT * FROM item", database="named_again") == [(7,)]
    finally:
        mariadb.run("DROP DATABASE IF EXISTS named_shop", "DROP DATABASE IF EXISTS named_again")
