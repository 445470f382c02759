"""One write transaction on a database that others may be using: all of it, or nothing, by SQLite's own means."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from dumpty import Locked, SourceError, commit_point
from dumpty_plugins.sqlite.files.connection import connect, needs_rollback, require_header, translate_errors
from dumpty_plugins.sqlite.files.inode import file_at, is_same_file

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence


class Writing:
    """A connection, ``database``, that holds a write transaction on the file ``path``.

    No foreign key is enforced, so that dropping a table deletes nothing elsewhere, and no CHECK: rows that break one
    come back.
    """

    def __init__(self, database: sqlite3.Connection, path: str, original: os.stat_result) -> None:
        self.database = database
        self.path = path
        self._original = original

    def commit(self) -> None:
        """Commit, and see that it was the file of this name.

        Raises:
            Locked: somebody reads it, or replaced it.
            SourceError: it was replaced in the last moment, which the text says.
        """
        if not is_same_file(self.path, self._original):
            raise Locked(f"{self.path} was just replaced by another file; restore again")
        commit_point()
        self.database.execute("COMMIT")
        if not is_same_file(self.path, self._original):
            raise SourceError(f"{self.path} was replaced by another file while it was restored into; restore again")


@contextlib.contextmanager
def writing(path: str, busy: float, layout: Sequence[str] = ()) -> Iterator[Writing]:
    """Hold a write transaction on an existing file, and roll it back unless it is committed.

    Args:
        path: the file.
        busy: seconds to wait for a lock.
        layout: statements that decide how a file without any content is laid out.

    Raises:
        Locked: somebody else writes, or reads as it is to be committed.
        SourceError: it is no database, or cannot be written.
    """
    with translate_errors(path), file_at(path) as original:
        if original is None:
            raise Locked(f"{path} was just removed or replaced; restore again")
        _require_database(path, busy)
        with contextlib.closing(connect(path, "rw", busy)) as database:
            try:
                if original.st_size == 0:
                    for statement in layout:
                        database.execute(statement)
                database.execute("PRAGMA foreign_keys=OFF")
                database.execute("PRAGMA ignore_check_constraints=ON")
                database.execute("BEGIN IMMEDIATE")
                if not is_same_file(path, original):
                    raise Locked(f"{path} was just replaced by another file; restore again")
                yield Writing(database, path, original)
            finally:
                if database.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        database.execute("ROLLBACK")


def _require_database(path: str, busy: float) -> None:
    """Look by a connection that cannot write: another one takes the journals of a file that is no database."""
    try:
        with contextlib.closing(connect(path, "ro", busy)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if not needs_rollback(error):
            raise
        require_header(path)
