"""The parallel format: the text of the sql format, cut between statements into parts that say which rows they hold.

One after the other they are the text that the sqlite3 program loads. The first part has the tables, the last one what
SQLite keeps of its own, indexes and triggers; those between them have rows, and can be left out. Each begins and ends
with a comment; a further one stands before the rows of each table::

    -- dumpty: SQLite dump 1, made by SQLite 3.40.1
    -- dumpty: rows of table 1
    -- dumpty: 4711 bytes
    INSERT INTO "orders"("id","note") VALUES
    ...
    -- dumpty: end of part

The number is that of the table among those which the part is recorded to hold. Rows are read by one connection: the
interpreter gives way after each of them, and two threads that read a table each took 5.2 s where one that read both
took 4.0 s (1.4 million rows of six columns, two cores). So one part is filled, and meanwhile the one before it finished
and stored.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING

from dumpty import run_together
from dumpty_plugins.sqlite.dumping.text_dump import framed, prepare
from dumpty_plugins.sqlite.schema import checks

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator

    from dumpty import Evidence, PartSink, Sink
    from dumpty_plugins.sqlite.dumping.text_dump import Script
    from dumpty_plugins.sqlite.schema.definitions import Table

ROWS_SUFFIX, LAST_SUFFIX = ".rows.sql", ".objects.sql"
"""How the names of parts end, that of the first one excepted, which has the format's own."""

TABLE = b"-- dumpty: rows of table %d\n"
END_OF_PART = b"-- dumpty: end of part\n"

PART_BYTES = (8 << 20, 256 << 20)
"""What a part has at least, and at most, of text, unless it is the last."""
_PARTS = 64
_MOST_PARTS = 2000
"""A manifest tells of each, so there are not more, whatever was asked for."""
_WRITERS = 2


def write_parts(
    database: sqlite3.Connection, sink: Sink, *, check: bool, fingerprints: bool, part_size: int = 0
) -> Evidence:
    """Write the database that ``database`` holds a read transaction on in parts, of ``part_size`` bytes or what suits.

    Raises:
        SourceError: it is corrupt, or holds what text cannot carry.
        IntegrityError: a table gave another number of rows than it has.
    """
    script = prepare(database, sink, check=check, fingerprints=fingerprints)
    most = min(max(script.size // _PARTS, PART_BYTES[0]), PART_BYTES[1])
    limit = max(part_size or most, script.size // _MOST_PARTS)
    own, tables = _divided(script.schema.tables)
    with sink.part(section="pre-data") as part:
        part.write(script.header())
        for text in script.opening():
            part.write(framed(text.encode()))
        part.write(END_OF_PART)
    with contextlib.closing(_RowsWriter(script, tables, sink, limit)) as writers:
        writers.begin()
        pieces = [writers.write_until_none_is_left] * _WRITERS
        run_together(pieces, jobs=_WRITERS, stop=functools.partial(writers.stop, database), name="sqlite-parts")
    with sink.part(section="post-data", suffix=LAST_SUFFIX) as part:
        part.write(script.header())
        for statement in (statement for table in own for statement, _ in script.rows(table)):
            part.write(framed(statement))
        for text in script.closing():
            part.write(framed(text.encode()))
        part.write(script.end())
    return script.evidence


def _divided(tables: tuple[Table, ...]) -> tuple[list[Table], list[Table]]:
    """Return SQLite's own tables, which are filled when all others are, and these."""
    own = [table for table in tables if table.name.startswith("sqlite_")]
    return own, [table for table in tables if table not in own]


class _RowsWriter:
    """Writes the rows of tables into parts, begun in their order, from any number of threads."""

    def __init__(self, script: Script, tables: list[Table], sink: Sink, limit: int) -> None:
        self._script = script
        self._tables = iter(tables)
        self._sink = sink
        self._limit = limit
        self._reading = threading.Lock()
        self._stopped = False
        self._table: Table | None = None
        self._statements: Generator[tuple[bytes, int]] | None = None
        self._next: tuple[bytes, int] | None = None
        self._row = 0

    def begin(self) -> None:
        """Read the first rows."""
        self._begin_table()

    def close(self) -> None:
        """Let go of what is being read: it would hold the database even when its connection is closed."""
        if self._statements is not None:
            self._statements.close()

    def stop(self, database: sqlite3.Connection) -> None:
        """End what is being read, and begin no further part."""
        self._stopped = True
        database.interrupt()

    def write_until_none_is_left(self) -> None:
        """Write one part after the other, as long as there are rows."""
        while self._write_part():
            pass

    def _write_part(self) -> bool:
        # Let go in the other order: what is begun behind the lock is finished without it.
        with contextlib.ExitStack() as stack, self._reading:
            if self._stopped or self._table is None:
                return False
            try:
                part = stack.enter_context(self._sink.part(suffix=ROWS_SUFFIX, at_once=_WRITERS))
                self._fill(part)
            except BaseException:
                self._stopped = True
                raise
        return True

    def _fill(self, part: PartSink) -> None:
        part.write(self._script.header())
        size = number = 0
        while self._table is not None and size < self._limit:
            number += 1
            part.write(TABLE % number)
            first = self._row
            # Never cut before a table's first rows: what empties it would be in another part.
            while self._next is not None and (size < self._limit or self._row == first):
                statement, rows = self._next
                size += part.write(framed(statement))
                self._row += rows
                self._advance()
            whole = self._next is None and not first
            span = "" if whole else f"rows {first + 1} to {self._row}"
            part.holds(checks.path_of(self._table.name), rows=self._row - first, range=span)
            if self._next is None:
                self._begin_table()
        part.write(END_OF_PART)

    def _begin_table(self) -> None:
        self._table = next(self._tables, None)
        self._row = 0
        if self._table is not None:
            self._statements = self._script.rows(self._table)
            self._advance()

    def _advance(self) -> None:
        self._next = next(self._statements, None) if self._statements is not None else None
