"""The demo's database: a small shop, how to damage it, and how to tell whether it is the same again."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["build", "check", "contents", "damage"]

SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, photo BLOB);
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL NOT NULL, stock INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers, day TEXT NOT NULL);
CREATE TABLE order_lines (
  "order" INTEGER NOT NULL REFERENCES orders, product INTEGER NOT NULL REFERENCES products,
  pieces INTEGER NOT NULL CHECK (pieces > 0), price REAL NOT NULL, PRIMARY KEY ("order", product)
) WITHOUT ROWID;
CREATE INDEX orders_by_day ON orders (day);
CREATE VIEW turnover AS
  SELECT o.day, sum(l.pieces * l.price) AS total FROM orders o JOIN order_lines l ON l."order" = o.id GROUP BY o.day;
"""

_FIRST_NAMES = ("Ada", "Björn", "Chloé", "Дмитрий", "Eve O'Hara", "Fatima", "Günter", "花子")
_ARTICLES = ("egg cup", "wall, 3 bricks", 'saddle "King"', "glue; strong", "horse (brown)", "ladder", "bandage\nlarge")
_CUSTOMERS, _PRODUCTS, _ORDERS, _LINES, _DAYS = 250, 70, 1500, 3, 28
_DAMAGED_SHARE = 0.4


def build(path: str) -> None:
    """Make the shop, the same every time."""
    generator = random.Random(1)  # noqa: S311 - sample data
    with _opened(path) as database:
        database.executescript(SCHEMA)
        database.executemany(
            "INSERT INTO customers VALUES (?, ?, ?, ?)",
            [
                (
                    i,
                    f"{generator.choice(_FIRST_NAMES)} {i}",
                    f"c{i}@example.org",
                    generator.randbytes(24) if i % 3 else None,
                )
                for i in range(1, _CUSTOMERS + 1)
            ],
        )
        database.executemany(
            "INSERT INTO products VALUES (?, ?, ?, ?)",
            [
                (
                    i,
                    f"{generator.choice(_ARTICLES)} no. {i}",
                    generator.randrange(1, 9999) / 100,
                    generator.randrange(50) or None,
                )
                for i in range(1, _PRODUCTS + 1)
            ],
        )
        for order in range(1, _ORDERS + 1):
            day = f"2026-02-{generator.randrange(_DAYS) + 1:02}"
            database.execute("INSERT INTO orders VALUES (?, ?, ?)", (order, generator.randrange(_CUSTOMERS) + 1, day))
            for product in generator.sample(range(1, _PRODUCTS + 1), _LINES):
                line = (order, product, generator.randrange(1, 9), generator.randrange(1, 9999) / 100)
                database.execute("INSERT INTO order_lines VALUES (?, ?, ?, ?)", line)
        database.commit()


def contents(path: str) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table, each value with the type that SQLite stores it as."""
    with _opened(path) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: _rows(database, table) for table in sorted(tables)}


def check(path: str) -> str:
    """Return what SQLite says of the file: ``ok``, or the first thing that is wrong."""
    try:
        with _opened(path) as database:
            return str(database.execute("PRAGMA integrity_check(1)").fetchone()[0]).rpartition("\n")[2]
    except sqlite3.DatabaseError as error:
        return str(error)


def damage(path: str) -> str:
    """Delete every customer, overwrite part of the file, and return what SQLite says of it then."""
    with _opened(path) as database:
        database.execute("DELETE FROM customers")
        database.commit()
    # Behind SQLite's back, now that it has the file closed; and behind the header and the schema.
    length = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(int(length * (1 - _DAMAGED_SHARE)) // 2)
        file.write(b"Humpty Dumpty had a great fall. " * (int(length * _DAMAGED_SHARE) // 32))
    return check(path)


def _rows(database: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
    expressions = ", ".join(f'"{c}", typeof("{c}")' for c in columns)
    keys = ", ".join(str(2 * i + 1) for i in range(len(columns)))
    return database.execute(f'SELECT {expressions} FROM "{table}" ORDER BY {keys}').fetchall()  # noqa: S608 - our own names


@contextlib.contextmanager
def _opened(path: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        yield database
