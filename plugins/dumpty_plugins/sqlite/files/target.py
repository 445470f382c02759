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
import time
from typing import TYPE_CHECKING

from dumpty import Locked, Replacement, SourceError, TargetNotEmpty, commit_point, pause, refuse_full_target
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
from dumpty_plugins.sqlite.schema import checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Options, Source

_RETRY_SECONDS = 0.05
_log = logging.getLogger("dumpty")


def target_path(source: Source) -> str:
    """Return the path of a file that is to be written.

    Raises:
        MalformedURL: the URL names no file.
        SourceError: it forbids to write.
    """
    path = file_path(source)
    if source.query.get("mode") == "ro":
        raise SourceError(f"mode=ro in {source.url} forbids restoring into it; leave it out")
    return path


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
        self.path = target_path(source)
        self._busy = busy_seconds(source, options)
        self._overwrite = overwrite
        # A first look, so that nobody waits for a long load only to be refused; `swap` asks again, under its lock.
        if os.path.exists(self.path) and self._readable():
            with translate_errors(self.path), contextlib.closing(connect(self.path, "rw", self._busy)) as database:
                database.execute("BEGIN EXCLUSIVE")
                self._refuse_content(database)

    def swap(self, part: Replacement) -> None:
        """Put the finished database ``part`` in the target's place: durable, all at once, or not at all.

        Raises:
            TargetNotEmpty: it holds something by now, and ``overwrite`` is False.
            Locked: it stays in use, or is replaced by others again and again, for longer than ``busy_timeout``.
            SourceError: it cannot be replaced; or it was, but may not outlive a power failure, as the message says.
        """
        deadline = time.monotonic() + self._busy
        try:
            part.sync()
            while not self._attempt(part, deadline):
                if time.monotonic() >= deadline:
                    raise Locked(f"{self.path} is open in another connection, or was just replaced; restore again")
                pause(_RETRY_SECONDS)
        except OSError as error:
            if error.errno is None:  # one of dumpty's own, which says it better
                raise
            raise SourceError(f"{self.path} cannot be replaced: {error.strerror}") from error

    def _attempt(self, part: Replacement, deadline: float) -> bool:
        """Swap, or return False where the target turned into another file or another kind of database meanwhile."""
        with file_at(self.path) as original:
            if original is None:
                return self._create(part)
            if self._readable():
                return self._replace(part, original, deadline)
            return self._replace_unreadable(part, original)

    def _create(self, part: Replacement) -> bool:
        created = True
        with self._move_away(SIBLINGS):
            self._refuse_newcomer(os.path.lexists(self.path))  # what was moved aside may be its own
            commit_point()
            try:
                part.put_in_place(replace=False)
            except TargetNotEmpty:
                created = False
        # Here they are gone: they were of a database that is gone, and would be poison to the newcomer.
        self._refuse_newcomer(not created)
        return True

    def _refuse_newcomer(self, exists: bool) -> None:
        if exists:
            raise TargetNotEmpty(f"{self.path} was created while restoring into it; try again")

    def _replace(self, part: Replacement, original: os.stat_result, deadline: float) -> bool:
        with translate_errors(self.path), contextlib.closing(connect(self.path, "rw", self._busy)) as database:
            if not is_same_file(self.path, original):
                return False
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()  # rolls a hot journal back
            was_wal = _is_wal(database)
            if was_wal:
                if not is_same_file(self.path, original):
                    return False
                self._leave_wal(database, deadline)
            try:
                database.execute("BEGIN EXCLUSIVE")
                # Until here, others could put another file there, or turn this one back to WAL, where this lock
                # does not keep them out. From here on, neither.
                if not is_same_file(self.path, original) or _is_wal(database):
                    return False
                self._refuse_content(database)
                commit_point()
                for suffix in SIBLINGS:
                    # Nothing hot is left, and nobody else is inside: what remains is a spent journal.
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self.path + suffix)
                part.put_in_place(replace=True)
            finally:
                replaced = not is_same_file(self.path, original)
                if database.in_transaction and not replaced:
                    database.execute("ROLLBACK")
                # By name: in another file's place it would make a -wal for that.
                if was_wal and not replaced:
                    with contextlib.suppress(sqlite3.Error):
                        database.execute("PRAGMA journal_mode=WAL")
        return True

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
            pause(_RETRY_SECONDS)

    def _replace_unreadable(self, part: Replacement, original: os.stat_result) -> bool:
        self._refuse_unreadable()
        part.inherit(status=original)
        if not is_same_file(self.path, original):
            return False
        try:
            with self._move_away(("", *SIBLINGS)) as moved_path:
                if not is_same_file(moved_path, original):  # it came in the last moment, and goes back untouched
                    raise _FileReplacedError
                part.put_in_place(replace=True)
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
        _clear_away(*(moved_path + suffix for suffix in moved))

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
        refuse_full_target(target=self.path, empty=checks.is_empty(database), overwrite=self._overwrite)

    def _refuse_unreadable(self) -> None:
        if not self._overwrite:
            raise TargetNotEmpty(
                f"{self.path} exists and is not a readable SQLite database; to replace it, restore with overwrite"
            )


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


def _clear_away(*paths: str) -> None:
    """Remove files that are of no use any more; warn of those that cannot be removed."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            text = "%s is of no use any more, but cannot be removed: %s; remove it by hand"
            _log.warning(text, path, error.strerror, extra={"event": "left-behind"})
