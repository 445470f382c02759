"""Loads the rows of large tables that came in parts of their own, over several sessions, a part in one transaction."""

from __future__ import annotations

import functools
import threading
from contextlib import closing
from typing import TYPE_CHECKING

from dumpty import IntegrityError, run_together
from dumpty.process import BLOCK
from dumpty_plugins.postgres.dumping.rows_script import rows_statements
from dumpty_plugins.postgres.loading.copy_data import CopyData
from dumpty_plugins.postgres.server.connection import psycopg2, rows
from dumpty_plugins.postgres.server.errors import translated_error
from dumpty_plugins.postgres.server.waiting import Canceller, for_worker, run_watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import DumpPart
    from dumpty_plugins.postgres.dumping.script_reader import Statement
    from dumpty_plugins.postgres.loading.confinement import Confinement
    from dumpty_plugins.postgres.server.connection import Address

__all__ = ["load_rows", "load_rows_together", "run_statement"]


def load_rows_together(
    address: Address, parts: Sequence[DumpPart], *, jobs: int, confinement: Confinement | None
) -> None:
    """Load parts into tables that nobody sees yet, each over a session of its own.

    Raises:
        IntegrityError: a part is cut off, or holds what it should not.
        NotProvable: a drill's role may not write into a table.
        SourceError: the server refused, or was lost.
    """
    running: dict[int, Canceller] = {}
    stopped = threading.Event()

    def load(number: int, part: DumpPart) -> None:
        with closing(address.connect()) as connection:
            running[number] = canceller = Canceller(connection)
            try:
                # A crash loses this database, not the old one (as when a script is loaded).
                rows(connection, "SET synchronous_commit = off")
                rows(connection, "BEGIN")
                load_rows(address, connection, part, confinement=confinement, stopped=stopped)
                rows(connection, "COMMIT")
            finally:
                running.pop(number)
                canceller.settle()

    def stop() -> None:
        stopped.set()
        for canceller in list(running.values()):
            canceller()

    pieces = [for_worker(functools.partial(load, number, part)) for number, part in enumerate(parts)]
    run_together(pieces, jobs=jobs, stop=stop, name="dumpty-rows")


def load_rows(
    address: Address,
    connection: Connection,
    part: DumpPart,
    *,
    confinement: Confinement | None = None,
    stopped: threading.Event | None = None,
    renamed: Callable[[Statement], Statement | None] = lambda statement: statement,
) -> None:
    """Load one part in the transaction that ``connection`` is in; ``stopped`` ends it.

    ``renamed`` returns a COPY into the table that the rows are to go into.

    Raises:
        IntegrityError, NotProvable, SourceError: as ``load_rows_together``.
    """
    [table] = part.tables
    with closing(part.open()) as reader:

        def read() -> bytes:
            if stopped is not None and stopped.is_set():
                raise InterruptedError("the restore was interrupted")
            return reader.read(BLOCK)

        loaded = 0
        for statement, _, data in rows_statements(read, table.path):
            told = statement if data is None else renamed(statement)
            if told is None:
                raise IntegrityError(f"the part of {table} holds rows of another table")
            loaded += run_statement(address, connection, told, data, confinement=confinement)
    if table.rows is not None and loaded != table.rows:
        raise IntegrityError(f"the part of {table} holds {loaded} rows, and {table.rows} were written into it")


def run_statement(
    address: Address,
    connection: Connection,
    statement: Statement,
    data: Iterator[bytes] | None = None,
    *,
    confinement: Confinement | None = None,
) -> int:
    """Run one statement of a dump, with the ``data`` of its COPY, and return how many rows it loaded.

    Raises:
        NotProvable, SourceError: as ``load_rows_together``; whatever reading the data raises.
    """
    copy_data = None if data is None else CopyData(data, connection)
    with closing(connection.cursor()) as cursor:
        try:
            if copy_data is None:
                run_watched(connection, functools.partial(cursor.execute, statement.text))
                return 0
            copy = functools.partial(cursor.copy_expert, statement.text, copy_data, size=BLOCK)  # type: ignore[arg-type]
            run_watched(connection, copy)
        except (psycopg2().Error, UnicodeError) as error:
            if copy_data is not None and copy_data.error is not None:
                raise copy_data.error from None  # psycopg2 hides what came out of read() behind one of its own
            if confinement is not None:
                confinement.may_omit(statement, error)  # rows may not be: it says so
            table = statement.copy_table.decode("utf-8", "replace")
            what = f"rows{f' of {table}' if table else ''}" if data is not None or not table else "a table"
            raise translated_error(address, f"loading {what} into", error) from error
        return cursor.rowcount
