"""The data that every benchmark runs on: one shop, the same rows in every database.

Three tables with indexes: customers (short text, JSON), orders (numbers, times, a note), documents (long text and
bytes that do not compress); and returned, of orders that came back, with a hundredth of all. Rows are drawn from a seeded generator, so two runs measure the same thing.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = (  # noqa: SIM905 - as a list it would fill a page
    "the quick brown fox jumps over lazy dog backup restore order ship invoice customer return paid pending red "
    "green small large wool cotton steel paper north south east west street road avenue house garden winter "
    "summer spring monday tuesday friday january march august blue egg wall king horse men together again piece "
    "careful fragile express standard parcel letter gift note thanks regards please deliver neighbour door bell "
    "ring morning evening"
).split()
BLOCK = 2000
KINDS = {
    "sqlite": ("INTEGER PRIMARY KEY", "TEXT", "TEXT", "REAL", "BLOB", "TEXT"),
    "postgres": ("bigint PRIMARY KEY", "text", "jsonb", "double precision", "bytea", "timestamp"),
    "mysql": ("BIGINT PRIMARY KEY", "VARCHAR(255)", "JSON", "DOUBLE", "BLOB", "DATETIME"),
}


@dataclass(frozen=True)
class Size:
    """How many rows of each table; about ``megabytes`` of SQLite file."""

    megabytes: int

    @property
    def counts(self) -> dict[str, int]:
        unit = self.megabytes * 1_000_000 // 4300
        return {"customers": unit, "orders": unit * 8, "documents": unit, "returned": unit * 2 // 5}


def schema(engine: str) -> list[str]:
    """Return the statements that make the tables, without their indexes."""
    key, text, doc, number, blob, moment = KINDS[engine]
    body = "MEDIUMTEXT" if engine == "mysql" else text
    tail = " ENGINE=InnoDB" if engine == "mysql" else ""
    return [
        f"CREATE TABLE customers (id {key}, name {text}, email {text}, profile {doc}){tail}",
        f"CREATE TABLE orders (id {key}, customer bigint, placed {moment}, amount {number}, status {text}, note {text}){tail}",
        f"CREATE TABLE documents (id {key}, title {text}, body {body}, attachment {blob}){tail}",
        f"CREATE TABLE returned (id {key}, customer bigint, placed {moment}, amount {number}, status {text}, note {text}){tail}",
    ]


INDEXES = [
    "CREATE INDEX customers_email ON customers (email)",
    "CREATE INDEX orders_customer ON orders (customer)",
    "CREATE INDEX orders_placed ON orders (placed)",
    "CREATE INDEX documents_title ON documents (title)",
]


def blocks(table: str, count: int) -> Iterator[list[tuple[Any, ...]]]:
    """Yield ``count`` rows of a table in blocks."""
    for start in range(0, count, BLOCK):
        draw = random.Random(f"{table}{start}")
        make = {"customers": _customer, "orders": _order, "documents": _document, "returned": _order}[table]
        yield [make(draw, i) for i in range(start + 1, min(start + BLOCK, count) + 1)]


def _text(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(WORDS, k=count))


def _customer(draw: random.Random, key: int) -> tuple[Any, ...]:
    first_name, last_name = draw.choices(WORDS, k=2)
    profile = {"tags": draw.choices(WORDS, k=4), "score": round(draw.random() * 100, 3), "visits": draw.randrange(1000)}
    address = f"{draw.randrange(200)} {_text(draw, 3)}"
    profile["address"] = address
    return (
        key,
        f"{first_name.title()} {last_name.title()}",
        f"{first_name}.{last_name}{key}@example.org",
        json.dumps(profile),
    )


def _order(draw: random.Random, key: int) -> tuple[Any, ...]:
    placed = (
        f"2025-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02} {draw.randrange(24):02}:{draw.randrange(60):02}:00"
    )
    amount = draw.random() * 1000
    return key, draw.randrange(1, 1 + max(key // 8, 1)), placed, amount, draw.choice(WORDS), _text(draw, 8)


def _document(draw: random.Random, key: int) -> tuple[Any, ...]:
    return key, _text(draw, 5), _text(draw, 320), draw.randbytes(600)


def fill_sqlite(path: Path, size: Size) -> None:
    """Make the database at ``path``."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=off")
        connection.execute("PRAGMA synchronous=off")
        for statement in schema("sqlite"):
            connection.execute(statement)
        connection.execute("BEGIN")
        for table, count in size.counts.items():
            for rows in blocks(table, count):
                connection.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)
        for statement in INDEXES:
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=delete")


def fill_postgres(connection: Any, size: Size) -> None:
    """Make the tables through a psycopg2 connection in autocommit mode."""

    def cell(value: Any) -> str:
        if isinstance(value, bytes):
            return "\\\\x" + value.hex()
        return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")

    with connection.cursor() as cursor:
        for statement in schema("postgres"):
            cursor.execute(statement)
        for table, count in size.counts.items():
            for rows in blocks(table, count):
                text = "".join("\t".join(map(cell, row)) + "\n" for row in rows)
                cursor.copy_expert(f"COPY {table} FROM STDIN", io.StringIO(text))
        for statement in INDEXES:
            cursor.execute(statement)


def fill_mysql(connection: Any, size: Size) -> None:
    """Make the tables through a pymysql connection in autocommit mode."""
    with connection.cursor() as cursor:
        for statement in schema("mysql"):
            cursor.execute(statement)
        for table, count in size.counts.items():
            for rows in blocks(table, count):
                for start in range(0, len(rows), 500):
                    batch = rows[start : start + 500]
                    cursor.executemany(f"INSERT INTO {table} VALUES ({','.join(['%s'] * len(batch[0]))})", batch)
        for statement in INDEXES:
            cursor.execute(statement)
