"""Databases for the suite, and what is in them, read without the driver."""

from __future__ import annotations

from pathlib import Path

import duckdb

SHOP = (
    "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR, tags VARCHAR[], big HUGEINT, since INTERVAL)",
    "INSERT INTO item SELECT range, 'item ' || range, ['a', NULL], range, to_microseconds(range) FROM range(300)",
    "CREATE SCHEMA stock",
    "CREATE TABLE stock.place (item INTEGER, since TIMESTAMPTZ)",
    "INSERT INTO stock.place VALUES (1, '2020-01-01 00:00:00.123456+02')",
    "CREATE VIEW named AS SELECT name FROM item",
)


def filled(path: Path, *statements: str) -> str:
    """Make a database and return its URL."""
    with duckdb.connect(str(path)) as database:
        for statement in statements:
            database.execute(statement)
    return f"duckdb:///{path}"


def damaged(path: Path) -> str:
    """Make a database of which a block in the middle is zeroed; return its URL."""
    url = filled(path, "CREATE TABLE t AS SELECT uuid() AS u FROM range(200000)", "CHECKPOINT")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(64 << 10))
    return url


def contents(url: str) -> tuple[dict[str, list], dict[str, int]]:
    """Return every row and definition, and the number of rows of each table."""
    path = url.removeprefix("duckdb:///")
    if not Path(path).exists():
        return {}, {}
    with duckdb.connect(path, read_only=True) as database:
        database.execute("SET TimeZone = 'UTC'")
        names = database.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables() ORDER BY ALL").fetchall()
        rows = {n: database.execute(f"SELECT t::VARCHAR FROM {n} AS t ORDER BY ALL").fetchall() for (n,) in names}
        created_later = {
            kind: database.execute(f"SELECT sql FROM duckdb_{kind}s() WHERE NOT internal ORDER BY ALL").fetchall()
            for kind in ("table", "view")
        }
    return rows | created_later, {name: len(values) for name, values in rows.items()}
