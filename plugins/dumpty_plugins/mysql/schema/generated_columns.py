"""Stored generated columns: the time zone in which a restore computes again what is stored.

Such a value may depend on the time zone of whoever wrote the row: DATE(t) of a TIMESTAMP, or one from UNIX time. No
dump can write it, for the server computes it when the row goes in. So the rows are loaded in a time zone in which the
expressions give what is stored; where none gives all of it, the backup says so.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty_plugins.mysql.schema.catalog import ComputedColumn
from dumpty_plugins.mysql.schema.indexes import create_parts
from dumpty_plugins.mysql.server.session import StatementError
from dumpty_plugins.mysql.server.sql import identifier, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.server.session import Session

UTC = "+00:00"
_SAMPLE = 1000
_QUARTERS = 15
_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_TEXTS = frozenset({"varchar", "tinytext", "text", "mediumtext", "longtext", "json"})
_BYTES = frozenset({"varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_TIMES = {"datetime": "DATETIME", "timestamp": "DATETIME", "time": "TIME"}


def computed_column(facts: dict[str, str], create: bytes) -> ComputedColumn:
    """Return how to ask whether a column holds what its expression gives, stored as its type stores it.

    Args:
        facts: the column's row of information_schema.COLUMNS.
        create: the table's definition. What MySQL says elsewhere of an expression is no SQL.
    """
    name, kind = facts["COLUMN_NAME"], facts["DATA_TYPE"].lower()
    stored_value, expected = identifier(name), f"({_expression(create, name)})"
    length = facts["CHARACTER_MAXIMUM_LENGTH"]
    if kind in _BITS:
        unsigned = "unsigned" in facts["COLUMN_TYPE"].lower()
        minimum = 0 if unsigned else -(1 << (_BITS[kind] - 1))
        maximum = (1 << (_BITS[kind] - (0 if unsigned else 1))) - 1
        expected = f"LEAST(GREATEST(ROUND({expected}),{minimum}),{maximum})"
    elif kind == "decimal":
        expected = f"CAST({expected} AS DECIMAL({facts['NUMERIC_PRECISION']},{facts['NUMERIC_SCALE']}))"
    elif kind == "float":
        expected = f"CAST({expected} AS FLOAT)"
    elif kind == "date":
        expected = f"CAST({expected} AS DATE)"
    elif kind in _TIMES:
        expected = f"CAST({expected} AS {_TIMES[kind]}({facts['DATETIME_PRECISION'] or 0}))"
    elif length and (kind in _TEXTS or kind == "char"):
        expected = f"LEFT(CONVERT({expected} USING {facts['CHARACTER_SET_NAME'] or 'utf8mb4'}),{length})"
        expected = f"CAST({f'RTRIM({expected})' if kind == 'char' else expected} AS BINARY)"
        stored_value = f"CAST({stored_value} AS BINARY)"
    elif kind in _BYTES:
        expected = f"LEFT(CAST({expected} AS BINARY),{length})"
    elif kind == "binary":
        expected = f"CAST({expected} AS BINARY({length}))"
    error_value = f" OR {stored_value}+0=0" if kind == "enum" else ""  # its error value, of whatever it was given
    return ComputedColumn(name=name, matches=f"({stored_value} <=> {expected}{error_value})")


def _expression(create: bytes, name: str) -> str:
    """Return what stands between the parentheses after AS in the definition of the column ``name``."""
    start = identifier(name).encode("utf-8", "surrogateescape") + b" "
    part = next((p for p in create_parts(create)[0] if p.startswith(start)), b"")
    depth, inside = 0, b""
    for _, text in tokens(part[part.find(b"GENERATED ALWAYS AS (") + len(b"GENERATED ALWAYS AS ") :]):
        depth += {b"(": 1, b")": -1}.get(text, 0)
        if depth == 0:
            break
        inside += text
    return inside[1:].decode("utf-8", "surrogateescape")


def zone_to_load(session: Session, table: Table) -> str | None:
    """Return a time zone in which the expressions of ``table`` give what its rows store, None where there is none.

    The session, which sees the rows that are dumped, is back in UTC afterwards.

    Raises:
        SourceError: the connection was lost.
    """
    if not table.computed:
        return UTC
    # Each as it is where nobody set it: what depends on another value is not what every server computes.
    session.execute("SET lc_time_names='en_US', div_precision_increment=4")
    zone = _zone(session, table)
    session.execute("SET lc_time_names=DEFAULT, div_precision_increment=DEFAULT")
    return zone


def _zone(session: Session, table: Table) -> str | None:
    differs = "NOT (" + " AND ".join(c.matches for c in table.computed) + ")"
    names = ",".join(identifier(c.name) for c in (*table.columns, *table.stored))

    def expressions_agree(rows: str) -> bool:
        all_rows = f"SELECT {names} FROM {table.rows_from}{rows}"
        query = f"SELECT EXISTS (SELECT 1 FROM ({all_rows}) every_row WHERE {differs})"
        return session.rows(query.encode("utf-8", "surrogateescape"))[0][0] == b"0"

    matching_zone = None
    try:
        if expressions_agree(""):
            return UTC
        for offset in _offsets():
            session.execute(f"SET time_zone='{offset}'")
            if expressions_agree(f" LIMIT {_SAMPLE}") and expressions_agree(""):
                matching_zone = offset
                break
    except StatementError as error:
        if error.lost:
            raise
        matching_zone = None  # an expression that is no SQL outside its table: nobody knows
    session.execute(f"SET time_zone='{UTC}'")
    return matching_zone


@contextlib.contextmanager
def in_zone(sessions: Sequence[Session], zone: str) -> Iterator[None]:
    """Let ``sessions`` give times in ``zone``, and in UTC again afterwards."""
    if zone == UTC:
        yield
        return
    for session in sessions:
        session.execute(f"SET time_zone='{zone}'")
    yield
    for session in sessions:
        session.execute(f"SET time_zone='{UTC}'")


def _offsets() -> list[str]:
    """Return every offset that a time zone of our days may have, whole hours first."""
    minutes = sorted(range(-12 * 60, 13 * 60 + 1, _QUARTERS), key=lambda m: (m % 60 != 0, m % 30 != 0, abs(m)))
    return [f"{'-' if m < 0 else '+'}{abs(m) // 60:02d}:{abs(m) % 60:02d}" for m in minutes if m]
