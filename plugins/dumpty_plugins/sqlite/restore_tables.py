"""Single tables of a dump restored: loaded into a scratch file, and copied from there in one transaction."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from typing import TYPE_CHECKING

from dumpty import DependencyError, Replacement, TargetNotEmpty, run_in_worker
from dumpty_plugins.sqlite.files.connection import (
    busy_seconds,
    connect,
    create_file,
    remove_database,
    translate_errors,
)
from dumpty_plugins.sqlite.files.target import Target, target_path
from dumpty_plugins.sqlite.files.writing import writing
from dumpty_plugins.sqlite.loading.dump import load
from dumpty_plugins.sqlite.schema.checks import folded
from dumpty_plugins.sqlite.schema.definitions import NEEDED_SQLITE
from dumpty_plugins.sqlite.tables.catalog import read_catalog
from dumpty_plugins.sqlite.tables.conflicts import require_free
from dumpty_plugins.sqlite.tables.placing import Request, Scratch, put_tables
from dumpty_plugins.sqlite.tables.selection import new_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dumpty import Dump, Evidence, Options, Source


def restore_tables_of_dump(
    target: Source, dump: Dump, tables: Mapping[str, str], *, overwrite: bool, options: Options
) -> Evidence:
    """Put tables of a dump into a database, beside what that holds; a missing one is created.

    Raises:
        TargetNotEmpty: one of them is there.
        Locked: the target is in use.
        SourceError: they need what the target does not have, or it cannot be written.
        IntegrityError: the dump is not whole.
        DependencyError: Python's SQLite is too old.
    """
    if sqlite3.sqlite_version_info < NEEDED_SQLITE:
        raise DependencyError(f"single tables need SQLite 3.37 or newer, and Python has {sqlite3.sqlite_version}")
    path, busy = target_path(target), busy_seconds(target, options)
    request = Request(
        target=path,
        tables=tables,
        expected=dump.evidence,
        overwrite=overwrite,
        triggers=bool(options["triggers"]),
        check=bool(options["check"]),
    )
    names = {table: new_name(table, name) for table, name in tables.items()}
    if not os.path.lexists(path):
        return _into_new_file(target, dump, request, options)
    # A first look, so that nobody waits for a long load only to be refused; it is looked again in the transaction.
    with writing(path, busy) as look:
        require_free(path, read_catalog(look.database), names, overwrite=overwrite)
    with _loaded(dump, request) as scratch, writing(path, busy, _layout(scratch.database)) as into:
        evidence = _put(into.database, scratch, request)
        into.commit()
    return evidence


def _into_new_file(target: Source, dump: Dump, request: Request, options: Options) -> Evidence:
    destination = Target(target, options, overwrite=False)  # whatever comes up meanwhile is somebody else's
    with Replacement(target=destination.path) as part, _loaded(dump, request) as scratch:
        create_file(part.path)
        with translate_errors(part.path), contextlib.closing(connect(part.path, "rw")) as database:
            # Thrown away if anything fails, and synced once, when it is whole.
            for statement in ("PRAGMA journal_mode=MEMORY", "PRAGMA synchronous=OFF", *_layout(scratch.database)):
                database.execute(statement)
            database.execute("PRAGMA foreign_keys=OFF")
            database.execute("PRAGMA ignore_check_constraints=ON")
            database.execute("BEGIN IMMEDIATE")
            evidence = _put(database, scratch, request)
            database.execute("COMMIT")
        try:
            destination.swap(part)
        except TargetNotEmpty as error:
            raise TargetNotEmpty(f"{destination.path} was created while restoring into it; try again") from error
    return evidence


def _put(database: sqlite3.Connection, scratch: Scratch, request: Request) -> Evidence:
    """Run ``put_tables`` so that Ctrl-C ends it at once, whichever database it is asking."""

    def stop() -> None:
        database.interrupt()
        scratch.database.interrupt()

    work = functools.partial(put_tables, database, scratch, request)
    return run_in_worker(work, stop=stop, name="sqlite-worker")


@contextlib.contextmanager
def _loaded(dump: Dump, request: Request) -> Iterator[Scratch]:
    """Load the dump, all of it unless it is in parts, and open it so that nothing can change it."""
    path, recoded_path = (os.path.join(dump.workspace(), name) for name in ("tables.db", "recoded.db"))
    loaded = None
    if dump.format == "parallel":
        asked = frozenset(folded(name) for name in request.tables)
        loaded = asked & {folded(table.path) for part in dump.parts for table in part.tables}
    try:
        load(dump, path, check=request.check, ignore={"added"}, tables=loaded)
        with translate_errors(path), contextlib.closing(connect(path, "ro&immutable=1")) as database:
            yield Scratch(database=database, path=path, recoded_path=recoded_path, tables=loaded)
    finally:
        remove_database(path)
        remove_database(recoded_path)


def _layout(scratch: sqlite3.Connection) -> tuple[str, ...]:
    """Return the statements that lay out a new database as the one in the backup."""
    encoding = scratch.execute("PRAGMA encoding").fetchone()[0].decode()
    numbers = [(name, scratch.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "auto_vacuum")]
    return (f"PRAGMA encoding='{encoding}'", *(f"PRAGMA {name}={value}" for name, value in numbers))
