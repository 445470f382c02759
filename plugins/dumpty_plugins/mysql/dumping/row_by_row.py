"""The plain path: a table read row by row over one connection, each row written in the client.

Slower than ``ranges``, and simple: it is the fallback for tables that cannot be cut into ranges, and the oracle that
the other path is compared with.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from dumpty import IntegrityError
from dumpty_plugins.mysql.schema.columns import END, row_in_client
from dumpty_plugins.mysql.server.sql import identifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty_plugins.mysql.dumping.script_writer import Script
    from dumpty_plugins.mysql.dumping.spans import Span
    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.server.session import Session

_BLOCK = 256 << 10


class RowReader:
    """Writes tables over one session alone, one at a time; what ``RangeReader`` is for several."""

    writers = 1
    """How many threads may call ``dump_rows`` at once."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def dump_rows(self, span: Span, script: Script) -> int:
        """Write every row of ``span`` into ``script`` and return how many there are."""
        return dump_rows(self._session, span, script)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Lend the session."""
        yield self._session

    def abandon(self) -> None:
        """Let whoever waits for the session fail."""
        self._session.abandon()

    def close(self) -> None:
        """There is nothing to end."""

    def stop(self) -> None:
        """There is nothing to end, as ``close`` says."""


def select_list(table: Table) -> str:
    """Return the SELECT list of the table's values."""
    return ",".join(c.value for c in table.columns) or "1"


def dump_rows(session: Session, span: Span, script: Script) -> int:
    """Write every row of ``span`` into ``script`` and return how many there are.

    Raises:
        SourceError: the connection was lost, or the server gave up midway.
        IntegrityError: the same snapshot counts another number of rows than it delivered.
    """
    table = span.table
    write = row_in_client(table.columns)
    # A table whose rows of the past are kept has no key, and so no condition besides that of its own.
    source = table.rows_from
    where = f" WHERE {span.condition}" if span.condition else ""
    index_hint = f" FORCE INDEX ({identifier(table.index)})" if table.key else ""
    order = " ORDER BY " + ",".join(identifier(c.name) for c in table.key) if table.key else ""
    total = 0
    rows: list[bytes] = []
    size = 0
    with session.raw():
        for batch in session.stream(f"SELECT {select_list(table)} FROM {source}{index_hint}{where}{order}"):
            for row in batch:
                # Without any column to write, the row is "()": the value selected instead of one is no part of it.
                text = write(row if table.columns else ()) + END
                rows.append(text)
                size += len(text)
            total += len(batch)
            if size >= _BLOCK:
                script.rows(b"".join(rows), 0)
                rows, size = [], 0
    script.rows(b"".join(rows), total)
    counted = session.number(f"SELECT COUNT(*) FROM {source}{where}")
    if counted != total:
        raise IntegrityError(
            f"table {table.name} delivered {total} rows, but its snapshot counts {counted}: the dump is discarded; "
            "check the table (CHECK TABLE) and the server's log"
        )
    return total


def single_row(session: Session, table: Table, condition: str) -> bytes:
    """Return the one row that ``condition`` names, written in the client, ``END`` after it.

    Raises:
        IntegrityError: it is not exactly one row.
    """
    with session.raw():
        rows = session.rows(f"SELECT {select_list(table)} FROM {table.rows_from} WHERE {condition}")
    if len(rows) != 1:
        raise IntegrityError(f"a range of one row of table {table.name} delivered {len(rows)}: the dump is discarded")
    return row_in_client(table.columns)(rows[0]) + END
