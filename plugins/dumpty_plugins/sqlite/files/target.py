"""Putting a finished database in the place of another.

The hazard: a file that is replaced beside a ``-journal`` or ``-wal`` of its predecessor. SQLite would play those
back into the new database. So a target that SQLite can read is locked exclusively through SQLite, which first brings
a hot journal back and a WAL into the main file, and only then is it replaced; one that SQLite cannot read is renamed
aside together with all three, which nothing can open any more, and put back if anything fails.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
import stat
import time
from typing import TYPE_CHECKING

from dumpty import Locked, SourceError, TargetNotEmpty
from dumpty_plugins.sqlite.files.connection import (
    SIBLINGS,
    busy_seconds,
    connect,
    file_path,
    needs_rollback,
    require_header,
    translate_errors,
    translated_error,
)
from dumpty_plugins.sqlite.files.inode import file_at, is_same_file
from dumpty_plugins.sqlite.files.part import Part, clear_away, part_beside
from dumpty_plugins.sqlite.schema import checks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from dumpty import Options, Source

_RETRY_SECONDS = 0.05
_log = logging.getLogger("dumpty")


class Target:
    """The file that a restore will replace or create.

    Args:
        source: the target's URL.
        options: those of the verb ``restore``.
        overwrite: True to replace whatever is there.

    Raises:
        TargetNotEmpty: it holds something, and ``overwrite`` is False.
        Locked: it is in use.
        SourceError: it cannot be written.
    """

    def __init__(self, source: Source, options: Options, *, overwrite: bool) -> None:
        self.path = file_path(source)
        self._directory = os.path.dirname(self.path)
        self._busy = busy_seconds(source, options)
        self._overwrite = overwrite
        if source.query.get("mode") == "ro":
            raise SourceError(f"mode=ro in {source.url} forbids restoring into it; leave it out")
        if not os.path.isdir(self._directory):
            raise SourceError(f"there is no directory {self._directory} to restore into; create it first")
        if os.path.lexists(self.path) and not os.path.isfile(self.path):
            raise SourceError(f"{self.path} is not a regular file: a database cannot be restored there")
        # A first look, so that nobody waits for a long load only to be refused; `swap` asks again, under its lock.
        if os.path.exists(self.path) and self._readable():
            with translate_errors(self.path), contextlib.closing(connect(self.path, "rw", self._busy)) as database:
                database.execute("BEGIN EXCLUSIVE")
                self._refuse_content(database)

    def part(self) -> AbstractContextManager[Part]:
        """Create an empty file beside the target to build in; whatever is left of it at the end is removed."""
        return part_beside(self.path)

    def swap(self, part: Part) -> None:
        """Put the finished database ``part`` in the target's place: durable, all at once, or not at all.

        Raises:
            TargetNotEmpty: it holds something by now, and ``overwrite`` is False.
            Locked: it stays in use, or is replaced by others again and again, for longer than ``busy_timeout``.
            SourceError: it cannot be replaced; or it was, but may not outlive a power failure, as the message says.
        """
        deadline = time.monotonic() + self._busy
        try:
            with part.open_verified() as descriptor:
                os.fsync(descriptor)
            _sync(self._directory)  # a directory that cannot be synced shall fail now, while nothing has changed
            while not self._attempt(part, deadline):
                if time.monotonic() >= deadline:
                    raise Locked(f"{self.path} is open in another connection, or was just replaced; restore again")
                time.sleep(_RETRY_SECONDS)
        except OSError as error:
            if error.errno is None:  # one of dumpty's own, which says it better
                raise
            raise SourceError(f"{self.path} cannot be replaced: {error.strerror}") from error

    def _attempt(self, part: Part, deadline: float) -> bool:
        """Swap, or return False where the target turned into another file or another kind of database meanwhile."""
        with file_at(self.path) as original:
            if original is None:
                return self._create(part)
            if self._readable():
                return self._replace(part, original, deadline)
            return self._replace_unreadable(part, original)

    def _create(self, part: Part) -> bool:
        created = True
        with self._move_away(SIBLINGS):
            self._refuse_newcomer(os.path.lexists(self.path))  # what was moved aside may be its own
            try:
                os.link(part.path, self.path)  # unlike a rename, it cannot replace what came up in the meantime
            except FileExistsError:
                created = False
            except OSError:  # a file system without hard links
                os.rename(part.path, self.path)
            if created:
                try:
                    _sync(self._directory)
                except BaseException:
                    os.unlink(self.path)  # before the old journals come back to its side
                    raise
        # Here they are gone: they were of a database that is gone, and would be poison to the newcomer.
        self._refuse_newcomer(not created)
        return True

    def _refuse_newcomer(self, exists: bool) -> None:
        if exists:
            raise TargetNotEmpty(f"{self.path} was created while restoring into it; try again")

    def _replace(self, part: Part, original: os.stat_result, deadline: float) -> bool:
        with translate_errors(self.path), contextlib.closing(connect(self.path, "rw", self._busy)) as database:
            if not is_same_file(self.path, original):
                return False
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()  # rolls a hot journal back
            was_wal = _is_wal(database)
            if was_wal:
                if not is_same_file(self.path, original):
                    return False
                self._leave_wal(database, deadline)
            replaced = False
            try:
                database.execute("BEGIN EXCLUSIVE")
                # Until here, others could put another file there, or turn this one back to WAL, where this lock
                # does not keep them out. From here on, neither.
                if not is_same_file(self.path, original) or _is_wal(database):
                    return False
                self._refuse_content(database)
                self._inherit(part)
                for suffix in SIBLINGS:
                    # Nothing hot is left, and nobody else is inside: what remains is a spent journal.
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self.path + suffix)
                os.replace(part.path, self.path)
                replaced = True
                self._sync_replaced()
            finally:
                if database.in_transaction and not replaced:
                    database.execute("ROLLBACK")
                # By name: in another file's place it would make a -wal for that.
                if was_wal and not replaced and is_same_file(self.path, original):
                    with contextlib.suppress(sqlite3.Error):
                        database.execute("PRAGMA journal_mode=WAL")
        return True

    def _sync_replaced(self) -> None:
        # Somebody may be at work in the new database by now: putting the old one back would lose what they commit.
        try:
            _sync(self._directory)
        except OSError as error:
            raise SourceError(
                f"{self.path} now holds the restored database, but {self._directory} cannot be synced to disk"
                f" ({error.strerror}): a power failure may bring the old one back; check the disk, then restore again"
            ) from error

    def _leave_wal(self, database: sqlite3.Connection, deadline: float) -> None:
        # Needs to be alone, which BEGIN EXCLUSIVE does not ask for in WAL mode; and it writes the WAL back. The WAL
        # has to be gone before the swap: closing removes it by name, and by then the name is the new database's.
        while True:
            try:
                if database.execute("PRAGMA journal_mode=DELETE").fetchone()[0] == b"delete":
                    return
            except sqlite3.OperationalError as error:
                if "is locked" not in str(error):
                    raise
            if time.monotonic() >= deadline:
                raise Locked(f"{self.path} is open in another connection; close it, then restore again")
            time.sleep(_RETRY_SECONDS)

    def _replace_unreadable(self, part: Part, original: os.stat_result) -> bool:
        self._refuse_unreadable()
        self._inherit(part)
        if not is_same_file(self.path, original):
            return False
        try:
            with self._move_away(("", *SIBLINGS)) as moved_path:
                if not is_same_file(moved_path, original):  # it came in the last moment, and goes back untouched
                    raise _FileReplacedError
                os.replace(part.path, self.path)
                _sync(self._directory)
        except _FileReplacedError:
            return False
        return True

    @contextlib.contextmanager
    def _move_away(self, suffixes: tuple[str, ...]) -> Iterator[str]:
        moved_path = f"{self.path}.{secrets.token_hex(8)}.old"
        moved: list[str] = []
        try:
            for suffix in suffixes:
                if os.path.lexists(self.path + suffix):
                    os.rename(self.path + suffix, moved_path + suffix)
                    moved.append(suffix)
            yield moved_path  # nothing old goes before the new name is on disk
        except BaseException:
            for suffix in moved:  # the database itself first: it takes the new one's place, and its journals go with it
                (os.rename if "" in moved else _restore_journal)(moved_path + suffix, self.path + suffix)
            raise
        clear_away(*(moved_path + suffix for suffix in moved))

    def _readable(self) -> bool:
        """Tell whether SQLite can read the target, without touching its journals; raise if it is merely in use."""
        try:
            try:
                with contextlib.closing(connect(self.path, "ro", self._busy)) as database:
                    database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except sqlite3.OperationalError as error:
                if not needs_rollback(error):
                    raise translated_error(error, self.path) from error
                require_header(self.path)
        except sqlite3.DatabaseError:  # not a database, encrypted, or its first pages are gone
            self._refuse_unreadable()
            return False
        return True

    def _refuse_content(self, database: sqlite3.Connection) -> None:
        if not self._overwrite and not checks.is_empty(database):
            raise TargetNotEmpty(f"{self.path} is not empty; to replace what it holds, restore with overwrite")

    def _refuse_unreadable(self) -> None:
        if not self._overwrite:
            raise TargetNotEmpty(
                f"{self.path} exists and is not a readable SQLite database; to replace it, restore with overwrite"
            )

    def _inherit(self, part: Part) -> None:
        old = os.stat(self.path)
        # Never by name: by a link that the target's owner put there, root would give him whatever it leads to.
        with part.open_verified() as descriptor:
            new = os.fstat(descriptor)
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
                with contextlib.suppress(PermissionError):  # only root may give files away
                    os.fchown(descriptor, old.st_uid, old.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _restore_journal(moved_path: str, name: str) -> None:
    """Give a journal its name back, unless a database that came up meanwhile has one of its own there."""
    try:
        os.link(moved_path, name)
    except FileExistsError:
        text = "%s, a journal of a database that is gone, was not put back to %s, where another one has its own by now"
        _log.warning(text, moved_path, name, extra={"event": "left-behind"})
    except OSError:  # a file system without hard links
        os.rename(moved_path, name)
    else:
        os.unlink(moved_path)


class _FileReplacedError(Exception):
    """What was to be replaced is not what stood there a moment ago."""


def _is_wal(database: sqlite3.Connection) -> bool:
    return bool(database.execute("PRAGMA journal_mode").fetchone()[0] == b"wal")


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
