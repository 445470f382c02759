"""What a database defines, as it is compared and copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty_plugins.sqlite.schema.checks import folded

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping


@dataclass(frozen=True)
class Entry:
    """A row of sqlite_schema. ``sql`` is "" for what SQLite makes by itself, such as the index of a UNIQUE column.

    Not ``exact`` is one whose names or text are not valid Unicode: Python cannot give it back to SQLite.
    """

    kind: str
    name: str
    table: str
    sql: str
    exact: bool = True


@dataclass(frozen=True)
class Catalog:
    """All that a database defines, in the order of its making.

    ``kinds`` tells of every table and view by its folded name whether it is a table, view, virtual or shadow table;
    ``without_rowid`` has the folded names of those that are.
    """

    entries: tuple[Entry, ...]
    kinds: Mapping[str, str]
    without_rowid: frozenset[str]

    def of_tables(self, names: Collection[str]) -> tuple[Entry, ...]:
        """Return what belongs to the tables of these folded names, themselves included."""
        return tuple(entry for entry in self.entries if folded(entry.table) in names)

    def named(self, name: str) -> Entry | None:
        """Return the table, view or index of that name; a trigger may share it."""
        matches = (e for e in self.entries if e.kind != "trigger" and folded(e.name) == folded(name))
        return next(matches, None)


def read_catalog(database: sqlite3.Connection) -> Catalog:
    """Read the definitions of the main database of a connection that gives text as bytes."""
    rows = database.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM main.sqlite_schema ORDER BY rowid")
    entries = tuple(_entry(row) for row in rows.fetchall())
    tables = database.execute("SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'").fetchall()
    return Catalog(
        entries=entries,
        kinds={folded(_text(name)): _text(kind) for name, kind, _ in tables},
        without_rowid=frozenset(folded(_text(name)) for name, _, without_rowid in tables if without_rowid),
    )


def _entry(row: tuple[bytes, ...]) -> Entry:
    kind, name, table, sql = texts = [_text(value) for value in row]
    exact = all(text.encode() == value for text, value in zip(texts, row, strict=True))
    return Entry(kind=kind, name=name, table=table, sql=sql, exact=exact)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
