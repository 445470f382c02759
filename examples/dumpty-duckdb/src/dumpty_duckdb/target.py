"""Looking at a target, and putting a finished database in its place.

The hazard: a ``.wal`` file that outlives its database is played into the next one of that name. So a target is opened
by DuckDB alone, in a way that nobody else can share, its write-ahead log is merged into it, and only then is it
replaced; a log without a database is set aside first.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from typing import TYPE_CHECKING

import duckdb

from dumpty import Inspection, Locked, SourceError, TargetNotEmpty
from dumpty_duckdb import content
from dumpty_duckdb.connection import OFFLINE, duckdb_errors, file_path, reading, require_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Source

_VERSIONS = {"duckdb": duckdb.__version__}


def inspect(source: Source) -> Inspection:
    """Look at a database file.

    Raises:
        SourceError: there is a file, but not one that can be read as a database.
        Locked: somebody else holds it.
    """
    path = file_path(source)
    identity, name = f"duckdb:{path}", os.path.splitext(os.path.basename(path))[0]
    if not os.path.lexists(path):
        return Inspection(exists=False, empty=True, identity=identity, name=name, versions=_VERSIONS)
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return Inspection(exists=True, empty=True, identity=identity, name=name, versions=_VERSIONS)
    require_file(path)
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
        self.path = file_path(source)
        self._directory = os.path.dirname(self.path)
        self._overwrite = overwrite
        if not os.path.isdir(self._directory):
            raise SourceError(f"there is no directory {self._directory} to restore into; create it first")
        with self._locked():
            pass

    @contextlib.contextmanager
    def temporary_file(self) -> Iterator[str]:
        """Yield the path of a file to build, on the target's file system; what is left of it at the end is removed."""
        try:  # a directory of mode 0700: nobody reads a private database while it is being built
            directory = tempfile.mkdtemp(suffix=".part", prefix=f".{os.path.basename(self.path)}.", dir=self._directory)
        except OSError as error:
            raise SourceError(f"{self._directory} cannot be written: {error.strerror}") from error
        try:
            yield os.path.join(directory, "new.duckdb")
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def swap(self, finished: str) -> None:
        """Put the finished database ``finished`` in the target's place: durable, all at once, or not at all."""
        if os.path.exists(finished + ".wal"):
            raise SourceError(f"DuckDB left a write-ahead log beside {finished}: the restore is not complete")
        try:
            _sync(finished)
            with self._locked(), self._log_moved_away():
                if os.path.exists(self.path):
                    _inherit(self.path, finished)
                    os.replace(finished, self.path)
                else:
                    os.link(finished, self.path)  # unlike a rename, it cannot replace what came up in the meantime
                _sync(self._directory)
        except FileExistsError as error:
            raise TargetNotEmpty(f"{self.path} was created while restoring into it; try again") from error
        except OSError as error:
            raise SourceError(f"{self.path} cannot be replaced: {error.strerror}") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the target, if there is one, against everybody, its log merged in; refuse what it may hold."""
        if not os.path.exists(self.path) or (os.path.isfile(self.path) and os.path.getsize(self.path) == 0):
            yield
            return
        require_file(self.path)
        # A setting that nobody else has: a connection of this process to the same file is refused, not joined.
        private_settings = {**OFFLINE, "custom_user_agent": f"dumpty-{secrets.token_hex(4)}"}
        with (
            duckdb_errors(self.path),
            contextlib.closing(duckdb.connect(self.path, config=private_settings)) as database,
        ):
            if not self._overwrite and not content.is_empty(database):
                raise TargetNotEmpty(f"{self.path} is not empty; to replace what it holds, restore with overwrite")
            database.execute("CHECKPOINT")
            yield

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


def _inherit(replaced: str, replacement: str) -> None:
    old_status, new_status = os.stat(replaced), os.stat(replacement)
    if (old_status.st_uid, old_status.st_gid) != (new_status.st_uid, new_status.st_gid):
        with contextlib.suppress(PermissionError):  # only root may give files away
            os.chown(replacement, old_status.st_uid, old_status.st_gid)
    os.chmod(replacement, stat.S_IMODE(old_status.st_mode))


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
