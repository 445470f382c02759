"""Building a database from a dump of text, whole or in parts."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty import Evidence, IntegrityError, require_same_evidence
from dumpty_plugins.sqlite.dumping.text_dump import BEGIN_ANEW
from dumpty_plugins.sqlite.files.connection import connect, interruptible
from dumpty_plugins.sqlite.loading.soundness import report_damage, require_sound
from dumpty_plugins.sqlite.loading.statements import statements_of
from dumpty_plugins.sqlite.schema import checks
from dumpty_plugins.sqlite.schema.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Collection

    from dumpty import Dump, ObjectEvidence
    from dumpty_plugins.sqlite.loading.statements import Statements

_CACHE_KIB = 16 * 1024
_SORTING_THREADS = 2
"""Threads that sort the keys of an index while it is built. With a larger cache both take longer, and more memory."""


def load_text(
    dump: Dump, part: str, *, check: bool, ignore: Collection[str] = (), tables: Collection[str] | None = None
) -> Evidence:
    """Build the database ``part`` from the dump and prove it.

    Of ``tables`` alone, by their ``folded`` names, it has the rows, where the dump is in parts and these are given.

    Raises:
        IntegrityError: the dump is cut short, damaged, asks for what a dump may not do, or brings other rows than
            were dumped.
    """
    with report_damage(part):
        with contextlib.closing(connect(part, "rw")) as database:
            statements = statements_of(dump, tables)
            interruptible(database, functools.partial(_execute, database, statements))
        with contextlib.closing(connect(part, "rw")) as database:  # nothing cached, and no authorizer
            if check:
                require_sound(database, tables)
            objects = interruptible(database, functools.partial(checks.count_tables, database))
    loaded = (len(objects), sum(table_evidence.rows or 0 for table_evidence in objects))
    if tables is None and loaded != (statements.tables, statements.rows):
        raise IntegrityError(
            f"the dump ends by saying that it holds {statements.rows} rows in {statements.tables} tables, but"
            f" {loaded[1]} rows in {loaded[0]} tables were loaded: it is damaged, restore another backup"
        )
    _require_rows_of_parts(dump, objects, tables)
    evidence = Evidence(objects=objects, versions=checks.versions())
    expected = dump.evidence
    if tables is not None:
        expected = replace(expected, objects=tuple(e for e in expected.objects if checks.folded(e.path) in tables))
    require_same_evidence(expected=expected, found=evidence, subject="the restored database", ignore=ignore)
    return evidence


def _require_rows_of_parts(dump: Dump, objects: Collection[ObjectEvidence], tables: Collection[str] | None) -> None:
    """Check that as many rows were loaded as the parts say that they hold, of all of their tables or some."""
    held: Counter[str] = Counter()
    for table in (table for part in dump.parts for table in part.tables):
        held[checks.folded(table.path)] += table.rows or 0
    for entry in objects:
        name = checks.folded(entry.path)
        if name in held and (tables is None or name in tables) and entry.rows not in (None, held[name]):
            raise IntegrityError(
                f"the parts of the dump say that they hold {held[name]} rows of {entry.path}, and {entry.rows} were"
                " loaded: it is damaged, restore another backup"
            )


def _execute(database: sqlite3.Connection, statements: Statements) -> None:
    # The file is thrown away if anything fails: it needs no journal, and is synced once, when it is whole.
    database.execute("PRAGMA journal_mode=OFF")
    database.execute("PRAGMA synchronous=OFF")
    database.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    database.execute(f"PRAGMA threads={_SORTING_THREADS}")
    guard = Guard(database)
    for statement in statements:
        try:
            for part in statement.split("; ") if statement.startswith(BEGIN_ANEW) else (statement,):
                database.execute(part)
        except (sqlite3.Error, sqlite3.Warning) as error:
            if guard.refusal:
                raise IntegrityError(f"the dump was refused: {guard.refusal}") from error
            raise
    if database.in_transaction:
        raise IntegrityError("the dump ends without its COMMIT: restore another backup")
