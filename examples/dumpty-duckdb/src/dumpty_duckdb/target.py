"""Looking at a target, and putting a finished database in its place.

The hazard: a ``.wal`` file that outlives its database is played into the next one of that name. So a target is opened
by DuckDB alone, in a way that nobody else can share, its write-ahead log is merged into it, and only then is it
replaced; a log without a database is set aside first.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

import duckdb

from dumpty import Inspection, Locked, SourceError, database_file, refuse_full_target, require_file
from dumpty_duckdb import content
from dumpty_duckdb.connection import OFFLINE, duckdb_errors, reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Replacement, Source

_VERSIONS = {"duckdb": duckdb.__version__}


def inspect(source: Source) -> Inspection:
    """Look at a database file.

    Raises:
        SourceError: there is a file, but not one that can be read as a database.
        Locked: somebody else holds it.
    """
    path = database_file(source=source)
    identity, name = f"duckdb:{path}", os.path.splitext(os.path.basename(path))[0]
    if not os.path.lexists(path):
        return Inspection(exists=False, empty=True, identity=identity, name=name, versions=_VERSIONS)
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return Inspection(exists=True, empty=True, identity=identity, name=name, versions=_VERSIONS)
    require_file(path=path)
    with reading(path, shared=True) as database:
        empty = content.is_empty(database)
    size = os.path.getsize(path)
    return Inspection(exists=True, empty=empty, estimated_bytes=size, identity=identity, name=name, versions=_VERSIONS)


class Target:
    """The file that a restore will replace or create.

    Raises:
        TargetNotEmpty: it holds something, and ``overwrite`` is False.
        Locked: it is in use.
        SourceError: it cannot be written, or is no DuckDB database.
    """

    def __init__(self, source: Source, *, overwrite: bool) -> None:
        self.path = database_file(source=source)
        self._overwrite = overwrite
        with self._locked():
            pass

    def swap(self, replacement: Replacement) -> None:
        """Put the finished database in the target's place: durable, all at once, or not at all."""
        if os.path.exists(replacement.path + ".wal"):
            raise SourceError(f"DuckDB left a write-ahead log beside {replacement.path}: the restore is not complete")
        replacement.sync()
        with self._locked() as exists, self._log_moved_away():
            replacement.put_in_place(replace=exists)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the target against everybody, its log merged in; refuse what it may hold. Yield whether there is one."""
        exists = os.path.exists(self.path)
        if not exists or (os.path.isfile(self.path) and os.path.getsize(self.path) == 0):
            yield exists
            return
        require_file(path=self.path)
        # A setting that nobody else has: a connection of this process to the same file is refused, not joined.
        private_settings = {**OFFLINE, "custom_user_agent": f"dumpty-{secrets.token_hex(4)}"}
        with (
            duckdb_errors(self.path),
            contextlib.closing(duckdb.connect(self.path, config=private_settings)) as database,
        ):
            refuse_full_target(target=self.path, empty=content.is_empty(database), overwrite=self._overwrite)
            database.execute("CHECKPOINT")
            yield True

    @contextlib.contextmanager
    def _log_moved_away(self) -> Iterator[None]:
        log = self.path + ".wal"
        if not os.path.lexists(log):
            yield
            return
        if os.path.exists(self.path) and os.path.getsize(self.path):
            raise Locked(f"{log} is still in use after a checkpoint; close every connection, then restore again")
        moved_log = f"{log}.{secrets.token_hex(8)}.old"
        os.rename(log, moved_log)
        try:
            yield
        except BaseException:
            os.rename(moved_log, log)
            raise
        os.unlink(moved_log)
