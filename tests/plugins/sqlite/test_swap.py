"""Replacing a database while others come in between, the disk fails, or the restore is killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from plugins.sqlite.contents import dumped, make, restored, rows_of, source
from plugins.sqlite.targets import NEW, OLD, crashed_journal, crashed_wal, require_new

import dumpty_plugins.sqlite.plugin as driver
from dumpty import Locked, SourceError, TargetNotEmpty
from dumpty_plugins.sqlite import restore
from dumpty_plugins.sqlite.files import connection, target


@pytest.fixture(params=("sql", "native", "parallel"))
def made(request, tmp_path):
    (tmp_path / "from").mkdir()
    return dumped(make(tmp_path / "from" / "new.db", NEW), tmp_path / "from" / "dump", request.param)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


class Entering:
    """A connection of the driver's, with something that happens the moment before it locks the target for the swap."""

    def __init__(self, database, enter) -> None:
        self._database = database
        self._enter = enter

    def execute(self, sql, *values):
        if sql == "BEGIN EXCLUSIVE":
            self._enter()
        return self._database.execute(sql, *values)

    def __getattr__(self, name):
        return getattr(self._database, name)


def before_the_lock(monkeypatch, callback) -> None:
    """Let ``callback`` run once, between the driver's looking at the target and its lock for the swap."""
    entered = []

    def enter():
        if not entered:
            entered.append(True)
            callback()

    class Watched(target.Target):
        def swap(self, part):
            monkeypatch.setattr(target, "connect", lambda *a: Entering(connection.connect(*a), enter))
            super().swap(part)

    monkeypatch.setattr(restore, "Target", Watched)


def test_database_that_took_the_place_of_an_empty_target_is_refused(made, place, tmp_path, monkeypatch):
    other_path = make(tmp_path / "other.db", OLD)
    (place / "t.db").touch()
    before_the_lock(monkeypatch, lambda: os.replace(other_path, place / "t.db"))
    with pytest.raises(TargetNotEmpty, match="is not empty"):
        restored(made, place / "t.db")
    assert rows_of(place / "t.db", "SELECT a FROM old") == [("old",)]


def test_live_database_that_took_the_place_of_the_target_is_neither_replaced_nor_robbed(made, place, monkeypatch):
    make(place / "t.db", OLD)
    connections = []

    def open_another():
        os.replace(make(place / "other.db", "PRAGMA journal_mode=WAL;" + OLD), place / "t.db")
        connections.append(sqlite3.connect(place / "t.db", isolation_level=None))
        connections[0].execute("INSERT INTO old VALUES('mine')")
        connections[0].execute("BEGIN IMMEDIATE")

    before_the_lock(monkeypatch, open_another)
    with pytest.raises(Locked):
        restored(made, place / "t.db", overwrite=True, busy_timeout=0.3)
    with contextlib.closing(connections[0]) as user:
        user.execute("INSERT INTO old VALUES('also mine')")
        user.execute("COMMIT")
    assert rows_of(place / "t.db", "SELECT a FROM old") == [("old",), ("mine",), ("also mine",)]


def test_two_restores_into_one_empty_file_do_not_both_succeed(place, tmp_path):
    dumps = [
        dumped(
            make(tmp_path / f"{n}.db", f"CREATE TABLE new(a); INSERT INTO new VALUES({n});"),
            tmp_path / f"{n}",
            "native",
        )
        for n in (0, 1)
    ]
    for turn in range(40):
        path = place / f"t{turn}.db"
        path.touch()
        start, won = threading.Barrier(2), []

        def restore(n, path=path, start=start, won=won):
            start.wait()
            with contextlib.suppress(TargetNotEmpty, Locked):
                restored(dumps[n], path)
                won.append(n)

        threads = [threading.Thread(target=restore, args=(n,)) for n in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert rows_of(path, "SELECT a FROM new") == [(won[0],)]


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_connection_that_sets_wal_in_the_last_moment_loses_no_commit(made, place, monkeypatch, journal):
    make(place / "t.db", f"PRAGMA journal_mode={journal};" + OLD)
    connections = []

    def open_another():
        connections.append(sqlite3.connect(place / "t.db", isolation_level=None))
        assert connections[0].execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        connections[0].execute("SELECT * FROM old").fetchall()

    before_the_lock(monkeypatch, open_another)
    with pytest.raises(Locked, match="open in another connection"):
        restored(made, place / "t.db", overwrite=True, busy_timeout=0.3)
    with contextlib.closing(connections[0]) as user:
        user.execute("INSERT INTO old VALUES('mine')")
    assert rows_of(place / "t.db", "SELECT a FROM old") == [("old",), ("mine",)]


def test_unreadable_target_that_a_database_replaced_meanwhile_is_looked_at_again(made, place, tmp_path, monkeypatch):
    other_path = make(tmp_path / "other.db", OLD)
    (place / "t.db").write_bytes(b"\x9c" * 5000)
    rename = os.rename

    def replace_first(src, dst):
        if os.path.exists(other_path):
            os.replace(other_path, place / "t.db")
        rename(src, dst)

    monkeypatch.setattr(os, "rename", replace_first)
    rows_seen = []
    inside = target.Target._replace

    def notice(self, *args):
        rows_seen.append(rows_of(place / "t.db", "SELECT a FROM old"))
        return inside(self, *args)

    monkeypatch.setattr(target.Target, "_replace", notice)
    restored(made, place / "t.db", overwrite=True)
    assert rows_seen == [[("old",)]]
    require_new(place)


def failing_directory_sync(monkeypatch, place, after: int) -> None:
    """Let syncing ``place`` fail once it was synced ``after`` times."""
    sync, synced = os.fsync, []

    def fsync(handle):
        if os.path.samestat(os.fstat(handle), os.stat(place)):
            synced.append(handle)
            if len(synced) > after:
                raise OSError(5, "Input/output error")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("after", [0, 1])
def test_old_journal_never_stands_beside_a_new_database_whose_directory_cannot_be_synced(
    made, place, monkeypatch, after
):
    make(place / "t.db", OLD)
    crashed_journal(place / "t.db")
    (place / "t.db").unlink()
    failing_directory_sync(monkeypatch, place, after)
    with pytest.raises(SourceError, match="cannot be replaced: Input/output error"):
        restored(made, place / "t.db")
    assert os.listdir(place) == ["t.db-journal"]


def test_target_in_a_directory_that_cannot_be_synced_is_not_replaced(made, place, monkeypatch):
    make(place / "t.db", OLD)
    failing_directory_sync(monkeypatch, place, 0)
    with pytest.raises(SourceError, match="cannot be replaced: Input/output error"):
        restored(made, place / "t.db", overwrite=True)
    assert rows_of(place / "t.db", "SELECT a FROM old") == [("old",)]
    assert os.listdir(place) == ["t.db"]


def test_failed_sync_after_the_swap_says_what_stands(made, place, monkeypatch):
    make(place / "t.db", OLD)
    failing_directory_sync(monkeypatch, place, 1)
    with pytest.raises(SourceError, match=r"now holds the restored database, but .* cannot be synced"):
        restored(made, place / "t.db", overwrite=True)
    require_new(place)


def test_unreadable_target_comes_back_if_the_swap_cannot_be_synced(made, place, monkeypatch):
    for end in ("", "-journal"):
        (place / f"t.db{end}").write_bytes(b"\x9c" * 5000)
    failing_directory_sync(monkeypatch, place, 1)
    with pytest.raises(SourceError, match="cannot be replaced: Input/output error"):
        restored(made, place / "t.db", overwrite=True)
    assert {entry.name: entry.read_bytes() for entry in place.iterdir()} == {
        "t.db": b"\x9c" * 5000,
        "t.db-journal": b"\x9c" * 5000,
    }


def test_stale_journal_of_a_database_that_came_up_meanwhile_is_not_put_beside_it(made, place, tmp_path, monkeypatch):
    make(place / "t.db", OLD)
    crashed_journal(place / "t.db")
    (place / "t.db").unlink()
    link, other_path = os.link, make(tmp_path / "other.db", OLD)

    def replace_first(src, dst, **kwargs):
        os.replace(other_path, place / "t.db")
        link(src, dst, **kwargs)

    monkeypatch.setattr(os, "link", replace_first)
    with pytest.raises(TargetNotEmpty, match="was created while"):
        restored(made, place / "t.db")
    assert os.listdir(place) == ["t.db"]
    assert rows_of(place / "t.db", "SELECT a FROM old") == [("old",)]


def test_journal_of_a_database_that_came_up_meanwhile_is_not_replaced_by_a_stale_one(made, place, monkeypatch):
    make(place / "t.db", OLD)
    crashed_wal(place / "t.db")
    (place / "t.db").unlink()
    (place / "t.db-shm").unlink()
    rename, newcomers = os.rename, []

    def plant_before_rename(src, dst):
        rename(src, dst)
        if os.fspath(src) == f"{place / 't.db'}-wal":
            newcomer = sqlite3.connect(place / "t.db", isolation_level=None)
            newcomer.execute("PRAGMA journal_mode=WAL")
            newcomer.execute("CREATE TABLE mine AS SELECT 'mine' AS a")
            newcomers.append(newcomer)

    monkeypatch.setattr(os, "rename", plant_before_rename)
    try:
        with pytest.raises(TargetNotEmpty, match="was created while"):
            restored(made, place / "t.db")
        assert rows_of(place / "t.db", "SELECT a FROM mine") == [("mine",)]
        assert rows_of(place / "t.db", "SELECT name FROM sqlite_master") == [("mine",)]
    finally:
        for newcomer in newcomers:
            newcomer.close()


@pytest.mark.parametrize("end", ["-journal", "-wal"])
def test_empty_target_beside_a_stale_journal_is_empty(made, place, tmp_path, end):
    make(tmp_path / "x.db", OLD)
    (crashed_wal if end == "-wal" else crashed_journal)(tmp_path / "x.db")
    shutil.copy(tmp_path / f"x.db{end}", place / f"t.db{end}")
    (place / "t.db").touch()
    inspection = driver.inspect(source=source(place / "t.db"), options={"busy_timeout": 0.1})
    assert (inspection.exists, inspection.empty) == (True, True)
    restored(made, place / "t.db")
    require_new(place)


@pytest.mark.parametrize("exists", [True, False])
def test_what_is_being_built_is_private_and_so_is_a_new_database(made, place, monkeypatch, exists):
    if exists:
        os.chmod(make(place / "t.db", OLD), 0o644)
    modes = []
    swap = target.Target.swap

    def look(self, part):
        modes.extend(stat.S_IMODE(entry.stat().st_mode) for entry in place.iterdir() if entry.name != "t.db")
        swap(self, part)

    monkeypatch.setattr(target.Target, "swap", look)
    restored(made, place / "t.db", overwrite=True)
    assert set(modes) == {0o700}
    assert stat.S_IMODE((place / "t.db").stat().st_mode) == (0o644 if exists else 0o600)


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("moment", ["as it is written", "after its check"])
def test_what_somebody_puts_in_the_place_of_what_is_built_is_left_alone(place, tmp_path, monkeypatch, exists, moment):
    made = dumped(make(tmp_path / "new.db", NEW), tmp_path / "dump", "native")
    precious = tmp_path / "precious"
    precious.write_bytes(b"of another" * 1000)
    precious.chmod(0o600)
    if exists:
        os.chmod(make(place / "t.db", OLD), 0o666)

    def plant():
        (part,) = place.glob("*.dumpty-part-*/new")
        part.unlink()
        part.symlink_to(precious)

    swap, open_dump = target.Target.swap, type(made).open
    if moment == "after its check":
        monkeypatch.setattr(target.Target, "swap", lambda self, part: (plant(), swap(self, part)))
    else:
        monkeypatch.setattr(type(made), "open", lambda self: (plant(), open_dump(self))[1])
    with pytest.raises(SourceError, match=r"symbolic link|not a regular file"):
        restored(made, place / "t.db", overwrite=True)
    assert precious.read_bytes() == b"of another" * 1000
    assert stat.S_IMODE(precious.stat().st_mode) == 0o600
    assert [entry.name for entry in place.iterdir()] == ["t.db"] * exists
    if exists:
        assert rows_of(place / "t.db", "SELECT a FROM old") == [("old",)]


def test_another_file_in_the_place_of_what_was_built_does_not_become_the_target(made, place, tmp_path, monkeypatch):
    make(place / "t.db", OLD)
    swap = target.Target.swap

    def plant(self, part):
        # What whoever may write to the target's folder can do; what was built is in a directory closed to him.
        built_in = os.path.dirname(part.path)
        os.rename(built_in, tmp_path / "stolen")
        os.mkdir(built_in)
        make(part.path, OLD)
        swap(self, part)

    monkeypatch.setattr(target.Target, "swap", plant)
    with pytest.raises(SourceError, match="is not the directory that was made there"):
        restored(made, place / "t.db", overwrite=True)
    assert rows_of(place / "t.db", "SELECT a FROM old") == [("old",)]


def test_remains_of_a_killed_restore_go_with_the_next_one_and_those_of_a_living_one_stay(made, place):
    script = (
        "import os, sys; from dumpty import Replacement\n"
        "with Replacement(target=sys.argv[1]) as part:\n"
        "    open(part.path + '-journal', 'w').close(); print(part.path, flush=True); sys.stdin.read()"
    )
    (place / "t.db.0123456789abcdef.part").write_text("the user's own")
    (place / "t.db2.dumpty-part-01234567").mkdir()  # of another target
    entries_before = sorted(os.listdir(place))
    with subprocess.Popen(
        [sys.executable, "-c", script, str(place / "t.db")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as builder:
        part = Path(builder.stdout.readline().strip())
        restored(made, place / "t.db")
        assert sorted(os.listdir(place)) == sorted(["t.db", part.parent.name, *entries_before])
        assert os.listdir(part.parent) == ["new-journal"]
        builder.kill()
        builder.wait()
    restored(made, place / "t.db", overwrite=True)
    assert sorted(os.listdir(place)) == sorted(["t.db", *entries_before])
