"""Databases as crashed processes leave them, and what a target has to be after a restore."""

from __future__ import annotations

import os
import subprocess
import sys

from plugins.sqlite.contents import rows_of

OLD = "CREATE TABLE old(a); INSERT INTO old VALUES('old');"
NEW = "CREATE TABLE new(a); INSERT INTO new VALUES('new');"


def crashed_wal(path) -> None:
    """Leave a database whose committed rows stand in its -wal only, as a killed process does."""
    script = (
        "import sqlite3, os, sys; d = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "d.execute('PRAGMA journal_mode=WAL'); d.execute('CREATE TABLE IF NOT EXISTS old(a)');"
        "d.execute(\"INSERT INTO old VALUES('in the wal')\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert os.path.getsize(f"{path}-wal") > 0


def crashed_journal(path) -> None:
    """Leave a database with a hot journal, as a process killed while it commits does."""
    script = (
        "import sqlite3, os, sys; d = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "d.execute('PRAGMA cache_size=2'); d.execute('PRAGMA cache_spill=2'); d.execute('BEGIN');"
        "d.execute(\"UPDATE old SET a = 'half'\"); d.execute('CREATE TABLE u(a)');"
        "d.executemany('INSERT INTO u VALUES(?)', [('x' * 3000,)] * 200); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert os.path.getsize(f"{path}-journal") > 0


def require_new(place) -> None:
    assert os.listdir(place) == ["t.db"]
    assert rows_of(place / "t.db", "SELECT a FROM new") == [("new",)]
    assert rows_of(place / "t.db", "PRAGMA integrity_check") == [("ok",)]
    assert rows_of(place / "t.db", "SELECT count(*) FROM sqlite_master") == [(1,)]
