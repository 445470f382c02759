"""SQLite files for the conformance test of the driver."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

SHOP = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL, picture BLOB);
CREATE TABLE "odd ""name" (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE hollow (x);
CREATE INDEX by_name ON item (name);
CREATE VIEW cheap AS SELECT * FROM item WHERE price < 1;
CREATE TRIGGER checked BEFORE INSERT ON hollow BEGIN SELECT RAISE(ABORT, 'never'); END;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
INSERT INTO item SELECT i, 'it''s ' || i || char(10), i / 7.0, zeroblob(i % 50) FROM n;
INSERT INTO "odd ""name" VALUES ('ä', NULLIF(1, 2)), (2, x'00ff');
"""
LARGE = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO item SELECT i, printf('%.1000c', 'x') FROM n;
"""


def filled(path: Path, script: str) -> str:
    """Make a database and return its URL."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(script)
    return f"sqlite:///{path}"


def dying(path: Path) -> str:
    """Make a database with a page in its middle that is no page, and return its URL."""
    url = filled(path, SHOP)
    with path.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(b"\xff" * 4096)
    return url


def content(url: str) -> tuple[list[str], dict[str, int]]:
    """Return all statements that make up a database, and the number of rows of each table."""
    path = url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        counts = {t: database.execute(f'SELECT count(*) FROM "{t.replace(chr(34), chr(34) * 2)}"') for t in tables}
        return sorted(database.iterdump()), {t: rows.fetchone()[0] for t, rows in counts.items()}
