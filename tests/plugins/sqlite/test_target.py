"""Replacing a database: locks, journals left behind, failures in the middle."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest
from plugins.sqlite.contents import contents, dumped, make, open_database, restored, rows_of, source
from plugins.sqlite.targets import NEW, OLD, crashed_journal, crashed_wal, require_new
from support.drive import load

import dumpty_plugins.sqlite.plugin as driver
from dumpty import Locked, SourceError, TargetNotEmpty


@pytest.fixture(params=("sql", "native", "parallel"))
def made(request, tmp_path):
    (tmp_path / "from").mkdir()
    return dumped(make(tmp_path / "from" / "new.db", NEW), tmp_path / "from" / "dump", request.param)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def test_missing_target_is_created(made, place):
    restored(made, place / "t.db")
    require_new(place)
    assert stat.S_IMODE((place / "t.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("empty", ["zero_bytes", "no_tables", "wal_without_tables"])
def test_existing_empty_target_is_used(made, place, empty):
    if empty == "zero_bytes":
        (place / "t.db").touch()
    else:
        make(place / "t.db", "PRAGMA journal_mode=WAL;" * empty.startswith("wal") + "PRAGMA user_version=5;")
    restored(made, place / "t.db")
    require_new(place)


def test_full_target_is_refused_and_kept(made, place):
    make(place / "t.db", OLD)
    with pytest.raises(TargetNotEmpty):
        restored(made, place / "t.db")
    assert rows_of(place / "t.db", "SELECT a FROM old") == [("old",)]
    assert os.listdir(place) == ["t.db"]


@pytest.mark.parametrize("journal", ["DELETE", "TRUNCATE", "PERSIST", "WAL"])
def test_full_target_is_replaced_when_asked_for(made, place, journal):
    make(place / "t.db", f"PRAGMA journal_mode={journal};" + OLD)
    restored(made, place / "t.db", overwrite=True)
    require_new(place)


def test_wal_of_a_killed_process_neither_returns_nor_corrupts(made, place):
    make(place / "t.db", OLD)
    crashed_wal(place / "t.db")
    restored(made, place / "t.db", overwrite=True)
    require_new(place)


def test_rows_that_stand_only_in_a_wal_make_a_target_full(made, place):
    crashed_wal(place / "t.db")
    with pytest.raises(TargetNotEmpty):
        restored(made, place / "t.db")
    assert rows_of(place / "t.db", "SELECT a FROM old") == [("in the wal",)]


def test_hot_journal_neither_returns_nor_corrupts(made, place):
    make(place / "t.db", OLD)
    crashed_journal(place / "t.db")
    restored(made, place / "t.db", overwrite=True)
    require_new(place)


def test_refused_target_with_a_hot_journal_keeps_its_committed_rows(made, place):
    make(place / "t.db", OLD)
    crashed_journal(place / "t.db")
    with pytest.raises(TargetNotEmpty):
        restored(made, place / "t.db")
    assert rows_of(place / "t.db", "SELECT a FROM old") == [("old",)]


@pytest.mark.parametrize("crash", [crashed_wal, crashed_journal])
def test_journals_of_a_database_that_is_gone_do_not_reach_the_new_one(made, place, crash):
    make(place / "t.db", OLD)
    crash(place / "t.db")
    (place / "t.db").unlink()
    restored(made, place / "t.db")
    require_new(place)


@pytest.mark.parametrize("crash", [crashed_wal, crashed_journal])
def test_journals_of_another_database_beside_the_target_do_not_reach_the_new_one(made, place, tmp_path, crash):
    make(tmp_path / "other.db", OLD + "CREATE TABLE more(a);" * 1)
    crash(tmp_path / "other.db")
    make(place / "t.db", OLD)
    for end in ("-wal", "-shm", "-journal"):
        if (tmp_path / f"other.db{end}").exists():
            shutil.copy(tmp_path / f"other.db{end}", place / f"t.db{end}")
    restored(made, place / "t.db", overwrite=True)
    require_new(place)


def test_unreadable_target_is_refused_without_overwrite(made, place):
    (place / "t.db").write_bytes(b"\x9c" * 5000)
    with pytest.raises(TargetNotEmpty, match="not a readable"):
        restored(made, place / "t.db")
    assert (place / "t.db").read_bytes() == b"\x9c" * 5000


def test_unreadable_target_goes_with_all_its_journals(made, place):
    for end in ("", "-wal", "-shm", "-journal"):
        (place / f"t.db{end}").write_bytes(b"\x9c" * 5000)
    restored(made, place / "t.db", overwrite=True)
    require_new(place)


def test_unreadable_target_comes_back_with_all_its_journals_if_the_last_step_fails(made, place, monkeypatch):
    for end in ("", "-wal", "-shm", "-journal"):
        (place / f"t.db{end}").write_bytes(end.encode() * 100 + b"\x9c" * 5000)

    def content_by_name():
        # -shm is SQLite's scratch memory, which every reader may write.
        return {entry.name: "" if entry.name.endswith("-shm") else entry.read_bytes() for entry in place.iterdir()}

    original = content_by_name()

    def fails(*_, **__):
        raise OSError(5, "Input/output error")

    driver.inspect(source=source(place / "t.db"), options={"busy_timeout": 0.1})
    assert content_by_name() == original
    monkeypatch.setattr(os, "link", fails)
    with pytest.raises(SourceError, match="cannot be replaced: Input/output error"):
        restored(made, place / "t.db", overwrite=True)
    assert content_by_name() == original


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_target_keeps_content_and_mode_if_the_last_step_fails(made, place, monkeypatch, journal):
    make(place / "t.db", f"PRAGMA journal_mode={journal};" + OLD)
    before = contents(place / "t.db")

    def fails(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(SourceError, match="cannot be replaced"):
        restored(made, place / "t.db", overwrite=True)
    assert contents(place / "t.db") == before
    assert os.listdir(place) == ["t.db"]


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
@pytest.mark.parametrize("hold", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_target_being_written_is_an_error(made, place, journal, hold):
    make(place / "t.db", f"PRAGMA journal_mode={journal};" + OLD)
    with open_database(place / "t.db") as user:
        user.execute(hold)
        with pytest.raises(Locked, match=r"t\.db"):
            restored(made, place / "t.db", overwrite=True, busy_timeout=0.1)
        user.execute("INSERT INTO old VALUES('still mine')")
        user.execute("COMMIT")
    assert rows_of(place / "t.db", "SELECT a FROM old") == [("old",), ("still mine",)]


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_target_being_read_is_an_error(made, place, journal):
    make(place / "t.db", f"PRAGMA journal_mode={journal};" + OLD)
    with open_database(place / "t.db") as user:
        user.execute("BEGIN")
        user.execute("SELECT * FROM old").fetchall()
        with pytest.raises(Locked):
            restored(made, place / "t.db", overwrite=True, busy_timeout=0.1)


def test_idle_connection_to_a_wal_target_is_an_error(made, place):
    # It would go on writing into a file without a name, and its -wal would land on the new database.
    make(place / "t.db", "PRAGMA journal_mode=WAL;" + OLD)
    with open_database(place / "t.db") as user:
        user.execute("SELECT * FROM old").fetchall()
        with pytest.raises(Locked, match="open in another connection"):
            restored(made, place / "t.db", overwrite=True, busy_timeout=0.1)
        user.execute("INSERT INTO old VALUES('still mine')")
    assert rows_of(place / "t.db", "SELECT a FROM old") == [("old",), ("still mine",)]


def test_short_lock_on_the_target_is_waited_for(made, place):
    make(place / "t.db", "PRAGMA journal_mode=WAL;" + OLD)
    user = sqlite3.connect(place / "t.db", check_same_thread=False)
    user.execute("SELECT * FROM old").fetchall()
    timer = threading.Timer(0.4, user.close)
    timer.start()
    try:
        restored(made, place / "t.db", overwrite=True, busy_timeout=20.0)
    finally:
        timer.join()
    require_new(place)


@pytest.mark.parametrize("role", ["source", "target"])
def test_locks_of_this_process_survive_a_backup_and_a_refused_restore(made, place, role):
    # Closing any descriptor of a file drops every POSIX lock that the process has on it: then another process
    # could write into our transaction. Only that other process can tell.
    path = make(place / "t.db", OLD)
    with open_database(path) as user:
        user.execute("BEGIN IMMEDIATE")
        user.execute("INSERT INTO old VALUES('mine')")
        if role == "source":
            dumped(path, place / "dump", made.format)
        else:
            with pytest.raises((Locked, TargetNotEmpty)):
                restored(made, path, overwrite=True, busy_timeout=0.1)
        script = (
            "import sqlite3, sys; d = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None);"
            "d.execute('BEGIN IMMEDIATE')"
        )
        other_process = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
        )
        user.execute("COMMIT")
    assert "database is locked" in other_process.stderr


def test_link_stays_a_link_and_what_it_points_to_is_replaced(made, place, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    make(tmp_path / "elsewhere" / "real.db", OLD)
    (place / "t.db").symlink_to(tmp_path / "elsewhere" / "real.db")
    restored(made, place / "t.db", overwrite=True)
    assert (place / "t.db").is_symlink()
    require_new(place)
    assert os.listdir(tmp_path / "elsewhere") == ["real.db"]


def test_mode_of_a_replaced_database_stays(made, place):
    os.chmod(make(place / "t.db", OLD), 0o640)
    restored(made, place / "t.db", overwrite=True)
    assert stat.S_IMODE((place / "t.db").stat().st_mode) == 0o640


def test_targets_that_cannot_be_files_are_refused(made, place):
    with pytest.raises(SourceError, match="not a regular file"):
        restored(made, place, overwrite=True)
    with pytest.raises(SourceError, match="no directory"):
        restored(made, place / "gone" / "t.db")
    with pytest.raises(SourceError, match="mode=ro"):
        load(driver, source(place / "t.db", mode="ro"), made)
    assert os.listdir(place) == []


def test_restored_wal_database_is_in_wal_mode_and_alone(place, tmp_path):
    for form in ("sql", "native", "parallel"):
        path = tmp_path / f"{form}.db"
        made = dumped(make(path, "PRAGMA journal_mode=WAL;" + NEW), tmp_path / f"dump.{form}", form)
        restored(made, place / "t.db", overwrite=True)
        assert os.listdir(place) == ["t.db"]
        assert rows_of(place / "t.db", "PRAGMA journal_mode") == [("wal",)]
