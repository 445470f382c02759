r"""The sql format: text that the sqlite3 program loads, and that says where each statement ends.

::

    -- dumpty: SQLite dump 1, made by SQLite 3.40.1
    -- dumpty: 24 bytes
    PRAGMA foreign_keys=OFF;
    -- dumpty: 19 bytes
    BEGIN TRANSACTION;
    -- dumpty: 99 bytes
    ROLLBACK; PRAGMA encoding='UTF-8'; PRAGMA page_size=4096; PRAGMA auto_vacuum=0; BEGIN TRANSACTION;
    ...
    -- dumpty: end of dump, 2 tables, 1234 rows

A comment before each statement counts its bytes, so that reading it back needs no SQL parser: whatever text the rows
hold, the next statement begins where it was said. The first two statements are those by which newer sqlite3 programs
know a dump, for which they permit writing the tables of full-text indexes. To know it they read the database, which
fixes its page size for that transaction; they look after each line whether it is over. So one line begins it anew.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from typing import TYPE_CHECKING

from dumpty import IntegrityError, SourceError
from dumpty_plugins.sqlite.dumping import literals
from dumpty_plugins.sqlite.files.connection import corruption_error, interruptible
from dumpty_plugins.sqlite.schema import checks
from dumpty_plugins.sqlite.schema.definitions import USE_NATIVE, Schema, Table, read_schema

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from dumpty import Evidence, Sink

STATEMENT_BYTES = 1 << 17
"""Where a statement of rows ends, unless its first row alone is longer."""

STATEMENT_EXPRESSIONS = 64
"""Where it ends, too, about: SQLite compares each constant expression of a statement (an exact double, a CAST) with all
before it, and a statement with a thousand of them loads at half the speed."""

LARGEST_ROW = 1 << 28
"""Bytes of text in one row. More would need several times that in memory, here and in whatever loads it."""

HEADER = "-- dumpty: SQLite dump 1"
END = b"-- dumpty: end of dump, %d tables, %d rows\n"
FRAME = b"-- dumpty: %d bytes\n"
BEGIN_ANEW = "ROLLBACK; "
"""How the one line begins that holds several statements, each but the last followed by ``; ``."""


def write_text(database: sqlite3.Connection, sink: Sink, *, check: bool, fingerprints: bool) -> Evidence:
    """Write the database that ``database`` holds a read transaction on as SQL text.

    Raises:
        SourceError: it is corrupt, or holds what text cannot carry.
        IntegrityError: a table gave another number of rows than it has.
    """
    script = prepare(database, sink, check=check, fingerprints=fingerprints)
    sink.write(script.header())
    for text in script.opening():
        sink.write(framed(text.encode()))
    for table in script.schema.tables:
        for statement, _ in script.rows(table):
            sink.write(framed(statement))
    for text in script.closing():
        sink.write(framed(text.encode()))
    sink.write(script.end())
    return script.evidence


def prepare(database: sqlite3.Connection, sink: Sink, *, check: bool, fingerprints: bool) -> Script:
    """Look at the database that ``database`` holds a read transaction on, and count what is in it.

    Raises:
        SourceError: it is corrupt, or holds what text cannot carry.
    """
    source = database.execute("PRAGMA database_list").fetchone()[2].decode("utf-8", "replace")
    if check:
        _require_sound(database, source)
    schema = read_schema(database)
    collect_evidence = functools.partial(checks.evidence, database, fingerprints=fingerprints, notes=schema.notes)
    evidence = interruptible(database, collect_evidence)
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    size = pages * database.execute("PRAGMA page_size").fetchone()[0]
    sink.expect(size)
    literals.register(database)
    return Script(database, schema, evidence, size)


class Script:
    """The statements of a dump, in the order in which they are to be run, for ``framed``.

    ``evidence`` is what was counted, ``size`` that of the database in bytes.
    """

    def __init__(self, database: sqlite3.Connection, schema: Schema, evidence: Evidence, size: int) -> None:
        self._database = database
        self._written: dict[str, int] = {}
        self.schema = schema
        self.evidence = evidence
        self.size = size

    def header(self) -> bytes:
        """Return the line that a dump begins with, and each of its parts."""
        return f"{HEADER}, made by SQLite {sqlite3.sqlite_version}\n".encode()

    def opening(self) -> Iterator[str]:
        """Yield what comes before all rows."""
        yield "PRAGMA foreign_keys=OFF;\n"
        yield "BEGIN TRANSACTION;\n"
        yield f"{BEGIN_ANEW}{''.join(self.schema.layout)}BEGIN TRANSACTION;".replace("\n", " ") + "\n"
        yield from self.schema.settings
        # Rows that break a CHECK are there, so they come back.
        yield "PRAGMA ignore_check_constraints=ON;\n"
        yield from self.schema.table_statements

    def rows(self, table: Table) -> Generator[tuple[bytes, int]]:
        """Yield the statements that bring the rows of a table, and how many each brings.

        Raises:
            SourceError: a row is too long.
        """
        written = 0
        if table.name in self.schema.emptied_tables:
            yield f"DELETE FROM {checks.identifier(table.name)};\n".encode(), 0  # noqa: S608 - a quoted identifier
        for statement, rows in _inserts(self._database, table):
            yield statement, rows
            written += rows
        self._written[checks.path_of(table.name)] = written

    def closing(self) -> Iterator[str]:
        """Yield what comes after all rows."""
        yield from self.schema.index_statements
        yield "PRAGMA ignore_check_constraints=OFF;\n"
        yield "COMMIT;\n"
        yield from self.schema.final_statements

    def end(self) -> bytes:
        """Return the line that a dump ends with, once all rows were written.

        Raises:
            IntegrityError: a table gave another number of rows than it has.
        """
        objects = self.evidence.objects
        for entry in objects:
            written = self._written.get(entry.path, 0)
            if entry.rows is not None and written != entry.rows:
                raise IntegrityError(checks.miscount_message(entry.path, written, entry.rows))
        return END % (len(objects), sum(entry.rows or 0 for entry in objects))


def framed(statement: bytes) -> bytes:
    """Return a statement behind the comment that counts its bytes."""
    return b"%b%b" % (FRAME % len(statement), statement)


def _require_sound(database: sqlite3.Connection, source: str) -> None:
    findings = interruptible(database, functools.partial(checks.findings, database))
    if findings.damage:
        raise corruption_error(source, findings.damage)
    if findings.oddities:
        # The statement that would bring such a row back fails by that very rule.
        raise SourceError(
            f"SQL text cannot carry rows that break the schema of {source} ({findings.oddities}){USE_NATIVE}"
        )


def _inserts(database: sqlite3.Connection, table: Table) -> Iterator[tuple[bytes, int]]:
    name = checks.identifier(table.name)
    insert = f"INSERT INTO {name}({','.join(table.dumped_columns)}) VALUES\n".encode()
    rows_written = 0
    careful = database.execute("PRAGMA encoding").fetchone()[0] != b"UTF-8"
    try:
        while True:
            with contextlib.closing(_batches(database, table, careful=careful, skip=rows_written)) as batches:
                for rows in batches:
                    body = b",\n".join(rows)
                    if not careful and not _reads_back(body):
                        break
                    yield insert + body + b";\n", len(rows)
                    rows_written += len(rows)
                else:
                    return
            careful = True  # for the rest of this table, beginning with the batch that was refused
    except (sqlite3.DataError, OverflowError) as error:
        raise SourceError(_too_large(table)) from error


def _reads_back(body: bytes) -> bool:
    if b"\r\n" in body:
        return False
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _batches(database: sqlite3.Connection, table: Table, *, careful: bool, skip: int) -> Generator[list[bytes]]:
    expression = literals.row_expression(table.dumped_columns, careful=careful)
    # NOT INDEXED: in the order of the table itself, never that of an index which happens to hold every column.
    # OFFSET passes over rows without formatting them.
    name = checks.identifier(table.name)
    sql = f"SELECT {expression} FROM {name} NOT INDEXED LIMIT -1 OFFSET {skip}"  # noqa: S608 - a quoted identifier
    rows: list[bytes] = []
    size, row_limit = 0, STATEMENT_EXPRESSIONS
    # Closed whatever happens: a statement that an error's traceback keeps open holds the database, connection or not.
    with contextlib.closing(database.execute(sql)) as cursor:
        for (row,) in cursor:
            if len(row) > LARGEST_ROW:
                raise SourceError(_too_large(table))
            rows.append(row)
            size += len(row)
            if size >= STATEMENT_BYTES or len(rows) >= row_limit:
                yield rows
                # As many rows as the expressions in this one allow, or what looks like one: counting those of every row
                # takes as long as writing it.
                expressions = row.count(b"e0") + row.count(b"(") - 1
                row_limit = max(STATEMENT_EXPRESSIONS // expressions, 1) if expressions else STATEMENT_BYTES
                rows, size = [], 0
    if rows:
        yield rows


def _too_large(table: Table) -> str:
    return f"a row of table {table.name!r} is longer than {LARGEST_ROW >> 20} MiB as SQL text{USE_NATIVE}"
