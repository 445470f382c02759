"""The server's own checks on a restored database, and whether every row has the rows it refers to."""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import IntegrityError
from dumpty_plugins.mysql.schema.catalog import base_tables, listing
from dumpty_plugins.mysql.server.session import StatementError, decode
from dumpty_plugins.mysql.server.sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dumpty_plugins.mysql.server.session import Session

DANGLING = "dangling"
"""The property of a backup that says which foreign keys had rows without a parent, and how many."""
_NO_PARENT_ERRORS = frozenset({1054, 1146})
_UNCHECKED = "doesn't support check"


def check_tables(session: Session, database: str) -> int:
    """Let the server check every table thoroughly; return how many it could check.

    Raises:
        IntegrityError: one is damaged.
    """
    checked = 0
    for name in base_tables(listing(session, database)):
        rows = session.rows(f"CHECK TABLE {identifier(database)}.{identifier(name)} EXTENDED")
        messages = [(decode(kind).lower(), decode(text)) for _, _, kind, text in rows]
        if ("status", "OK") in messages and not any(kind == "error" for kind, _ in messages):
            checked += 1
        elif not any(_UNCHECKED in text for _, text in messages):
            raise IntegrityError(f"CHECK TABLE {name} EXTENDED: {'; '.join(text for _, text in messages)}")
    return checked


def foreign_keys(session: Session, database: str) -> Mapping[tuple[str, str], list[tuple[str, str, str]]]:
    """Return every foreign key within ``database`` by table and name: its columns, as (own, parent table, its own)."""
    keys: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for row in session.rows(
        "SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME "
        f"FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA={literal(database)} "
        f"AND REFERENCED_TABLE_SCHEMA={literal(database)} ORDER BY 1, 2, ORDINAL_POSITION"
    ):
        table, key, column, parent, parent_column = (decode(v) for v in row)
        keys.setdefault((table, key), []).append((column, parent, parent_column))
    return keys


def dangling(session: Session, database: str) -> dict[str, int]:
    """Return how many rows lack the row they refer to, for every foreign key where there are any."""
    counts = {}
    for (table, key), columns in foreign_keys(session, database).items():
        matches = " AND ".join(
            f"c.{identifier(column)}=p.{identifier(parent_column)}" for column, _, parent_column in columns
        )
        not_null = " AND ".join(f"c.{identifier(column)} IS NOT NULL" for column, _, _ in columns)
        child, parent = (f"{identifier(database)}.{identifier(n)}" for n in (table, columns[0][1]))
        children = f"SELECT COUNT(*) FROM {child} c WHERE {not_null}"
        try:
            orphans = session.number(f"{children} AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE {matches})")
        except StatementError as error:
            if error.code not in _NO_PARENT_ERRORS:
                raise
            orphans = session.number(children)  # a key may refer to a table that was dropped, or is still to come
        if orphans:
            counts[f"{table}.{key}"] = orphans
    return counts
