"""Which files a glob means: each database once, none left out in silence, and none opened to see what it is."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import dumpty_plugins.sqlite.plugin as driver
from dumpty import BackupManager, Source, SourceError


@pytest.fixture
def top(tmp_path) -> Path:
    (tmp_path / "apps").mkdir()
    return tmp_path / "apps"


def make(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE t (x)")


def found(top: Path, pattern: str) -> list[str]:
    listed = driver.databases(source=Source(scheme="sqlite", database=f"{top}/{pattern}"))
    assert listed == [Source(scheme="sqlite", database=entry.database) for entry in listed]
    return [os.path.relpath(entry.database, top) for entry in listed]


def test_wildcards_are_those_of_a_shell(top):
    make(top / "b.db", top / "a.db", top / "one/c.db", top / "one/two/d.db", top / ".hidden.db", top / ".dir/e.db")
    assert found(top, "*.db") == ["a.db", "b.db"]
    assert found(top, "[!a].db") == ["b.db"]
    assert found(top, "*/*.db") == ["one/c.db"]
    assert found(top, "**/*.db") == ["a.db", "b.db", "one/c.db", "one/two/d.db"]
    assert found(top, "**/two/*") == ["one/two/d.db"]
    assert found(top, "one/**") == ["one/c.db", "one/two/d.db"]
    assert found(top, "**/**/c.db") == ["one/c.db"]
    assert found(top, "one/../*.db") == ["a.db", "b.db"]
    assert found(top, ".*") == [".hidden.db"]
    assert found(top, ".dir/*") == [".dir/e.db"]
    assert found(top, "nothing/*") == found(top, "a.db/*") == []


def test_names_with_wildcards_in_them_are_found_by_what_escapes_those(top):
    make(top / "a[1].db", top / "a1.db", top / "a*.db")
    assert found(top, "a[[]1].db") == ["a[1].db"]
    assert found(top, "a[*].db") == ["a*.db"]


def test_a_relative_glob_finds_relative_paths(top, monkeypatch):
    make(top / "a.db", top / "one/b.db")
    monkeypatch.chdir(top)
    listed = driver.databases(source=Source(scheme="sqlite", database="**/*.db"))
    assert [entry.database for entry in listed] == ["a.db", "one/b.db"]


def test_only_files_are_meant_and_nothing_that_lies_beside_a_database(top):
    make(top / "a.db")
    (top / "dir.db").mkdir()
    os.mkfifo(top / "pipe.db")
    for suffix in ("-journal", "-wal", "-shm"):
        (top / f"a.db{suffix}").touch()
        (top / f"gone.db{suffix}").touch()
    # Of gone.db no file is left but these: that is to be seen.
    assert found(top, "*") == ["a.db", "gone.db-journal", "gone.db-shm", "gone.db-wal"]
    assert found(top, "a*") == ["a.db"]


def test_a_database_is_found_once_by_whatever_names_and_links_lead_to_it(top, tmp_path):
    make(top / "v2/app.db", tmp_path / "elsewhere.db")
    (top / "current").symlink_to("v2")
    (top / "v2/alias.db").symlink_to("app.db")
    (top / "v2/loop").symlink_to("..")
    (top / "out.db").symlink_to("../elsewhere.db")
    assert found(top, "*/*.db") == ["v2/app.db"]
    assert found(top, "**/*.db") == ["out.db", "v2/app.db"]
    assert found(top, "current/*.db") == ["current/alias.db"]


def test_what_cannot_be_backed_up_is_found_and_its_backup_says_why(top, tmp_path):
    make(top / "good.db")
    (top / "letter.db").write_text("Dear Sir or Madam\n" * 100)
    (top / "unmounted.db").symlink_to("nowhere/app.db")
    manager = BackupManager(tmp_path / "backups")
    listed = manager.databases(f"sqlite:///{top}/*.db")
    results = {os.path.basename(d.source.database): manager.create_backup(d.url) for d in listed}
    assert {name: result.success for name, result in results.items()} == {
        "good.db": True,
        "letter.db": False,
        "unmounted.db": False,
    }
    assert "not a SQLite database" in results["letter.db"].error
    assert "there is no database file" in results["unmounted.db"].error


def test_a_directory_that_cannot_be_looked_into_is_an_error(top, monkeypatch):
    make(top / "one/a.db", top / "two/b.db")
    scan = os.scandir

    def refusing(path):  # the tests may run as root, whom no mode keeps out
        if str(path).endswith("two"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(SourceError, match=r"cannot look for databases in .*/two: Permission denied; give"):
        found(top, "**/*.db")
    assert found(top, "one/*.db") == ["one/a.db"]


def test_no_file_is_opened_for_closing_one_would_drop_the_locks_of_this_process(top, monkeypatch):
    make(top / "a.db")
    with closing(sqlite3.connect(top / "a.db", isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert found(top, "**/*") == ["a.db"]
        with closing(sqlite3.connect(top / "a.db", timeout=0)) as other, pytest.raises(sqlite3.OperationalError):
            other.execute("SELECT * FROM t")
        child = os.spawnvp(
            os.P_WAIT,
            "python3",
            ["python3", "-c", f"import sqlite3; sqlite3.connect({str(top / 'a.db')!r}, 0).execute('SELECT * FROM t')"],
        )
        assert child != 0


def test_hostile_names_come_back_from_their_urls(top, tmp_path):
    names = [
        "100%.db",
        "a b.db",
        "q?.db",
        "h#.db",
        "quote'\".db",
        "ü日.db",
        "new\nline.db",
        "star*.db",
        "[x].db",
        "%41.db",
    ]
    make(*(top / name for name in names))
    make(Path(os.fsdecode(bytes(top) + b"/bytes\xff.db")))
    manager = BackupManager(tmp_path / "backups")
    listed = manager.databases(f"sqlite:///{top}/*.db")
    assert {os.path.basename(d.source.database) for d in listed} == {*names, "bytes\udcff.db"}
    for database in listed:
        result = manager.create_backup(database.url)
        assert result.success, (database, result.error)
        assert result.backup.source == f"sqlite:{database.source.database}"
