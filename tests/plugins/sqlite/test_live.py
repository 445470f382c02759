"""Databases in use: no backup holds half a transaction, and none waits for ever."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from plugins.sqlite.contents import dumped, make, open_database, restored, rows_of

from dumpty import Locked

WRITER = """
import sqlite3, sys
path, name = sys.argv[1:]
database = sqlite3.connect(path, timeout=60, isolation_level=None)
database.execute("PRAGMA synchronous=OFF")
number = 0
print("ready", flush=True)
while True:
    number += 1
    key = f"{name}-{number}"
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO debit(k, amount, pad) VALUES(?, ?, ?)", (key, number, "d" * 400))
    database.execute("UPDATE total SET debit = debit + ?", (number,))
    database.execute("INSERT INTO credit(k, amount, pad) VALUES(?, ?, ?)", (key, number, "c" * 400))
    database.execute("UPDATE total SET credit = credit + ?", (number,))
    if number > 40:
        database.execute("DELETE FROM debit WHERE k = ?", (f"{name}-{number - 40}",))
        database.execute("DELETE FROM credit WHERE k = ?", (f"{name}-{number - 40}",))
    database.execute("COMMIT")
"""
SCHEMA = """
CREATE TABLE debit(k TEXT PRIMARY KEY, amount INTEGER, pad TEXT) WITHOUT ROWID;
CREATE TABLE total(debit INTEGER, credit INTEGER);
INSERT INTO total VALUES(0, 0);
CREATE TABLE credit(k TEXT, amount INTEGER, pad TEXT);
CREATE INDEX credit_k ON credit(k);
"""


@contextlib.contextmanager
def writers(path):
    with contextlib.ExitStack() as stack:
        for name in ("one", "two"):
            child = stack.enter_context(
                subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE)
            )
            stack.callback(child.kill)
            assert child.stdout.readline() == b"ready\n"
        yield


def total(path) -> int:
    # A writer in rollback mode holds the file against readers for moments.
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
        return database.execute("SELECT debit FROM total").fetchone()[0]


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_fifty_backups_under_two_writers_hold_no_half_transaction(tmp_path, journal, form):
    path = make(tmp_path / "live.db", f"PRAGMA journal_mode={journal};" + SCHEMA)
    sums_seen = set()
    with writers(path):
        for _ in range(50):
            for leftover in tmp_path.glob("dump*"):
                leftover.unlink() if leftover.is_file() else leftover.rmdir()
            made = dumped(path, tmp_path / "dump", form, busy_timeout=60.0)
            restored_path = tmp_path / "back.db"
            restored(made, restored_path, overwrite=True)
            with open_database(restored_path) as database:
                debits = database.execute("SELECT k, amount FROM debit ORDER BY k").fetchall()
                credits_ = database.execute("SELECT k, amount FROM credit ORDER BY k").fetchall()
                sums = database.execute("SELECT debit, credit FROM total").fetchone()
                assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert debits == credits_
            assert sums[0] == sums[1]
            assert [table.rows for table in made.evidence.objects] == [len(credits_), len(debits), 1]
            sums_seen.add(sums)
        before = total(path)
        deadline = time.monotonic() + 30
        while total(path) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert total(path) > before  # the writers were alive to the end
    assert len(sums_seen) > 5  # and the backups are of different moments


def test_native_ends_while_a_writer_never_pauses(tmp_path):
    # Copying step by step without a read transaction begins again at every commit of another process.
    path = make(tmp_path / "live.db", "PRAGMA journal_mode=WAL;" + SCHEMA + "CREATE TABLE big(a);")
    with open_database(path) as database:
        database.execute("BEGIN")
        database.executemany("INSERT INTO big VALUES(?)", [(b"x" * 4000,)] * 6000)
        database.execute("COMMIT")
    with writers(path):
        began = time.monotonic()
        dumped(path, tmp_path / "dump", "native")
        assert time.monotonic() - began < 30


def test_backup_does_not_stop_a_writer_in_wal_mode(tmp_path):
    path = make(tmp_path / "live.db", "PRAGMA journal_mode=WAL;" + SCHEMA)
    with open_database(path) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE total SET debit = 1")
        made = dumped(path, tmp_path / "dump", "sql", busy_timeout=0.0)
        writer.execute("COMMIT")
    restored(made, tmp_path / "back.db")
    assert rows_of(tmp_path / "back.db", "SELECT debit FROM total") == [(0,)]


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_a_short_lock_is_waited_for_and_a_long_one_is_not(tmp_path, form):
    path = make(tmp_path / "live.db", SCHEMA)
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(0.5, holder.close)
    try:
        began = time.monotonic()
        with pytest.raises(Locked):
            dumped(path, tmp_path / "dump", form, busy_timeout=0.1)
        assert time.monotonic() - began < 10
        timer.start()
        dumped(path, tmp_path / "dump", form, busy_timeout=60.0)
    finally:
        timer.cancel()
        holder.close()
