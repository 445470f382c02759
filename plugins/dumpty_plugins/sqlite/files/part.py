"""The file that a restore builds beside its target, and what killed restores left of theirs.

Whoever builds holds a lock (``flock``) on an empty file of its own, ``TARGET.<hex>.dumpty-part.lock``, until the part
is gone; a lock that can be had belongs to nobody alive. The lock cannot be on the part itself: the next restore would
have to open that, and closing it drops the locks that SQLite holds on it in the same process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import SourceError, lock_if_free, open_regular
from dumpty_plugins.sqlite.files.connection import SIBLINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = ".lock"
_log = logging.getLogger("dumpty")
_NAME = re.compile(r"\.[0-9a-f]{16}\.dumpty-part\.lock")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file that was made to build in: its path, and which file it is."""

    path: str
    created: os.stat_result

    @contextlib.contextmanager
    def open_verified(self) -> Iterator[int]:
        """Open it, and nothing that somebody else who may write there put in its place.

        Raises:
            SourceError: it was replaced.
        """
        try:
            descriptor = open_regular(self.path)
        except OSError as error:
            raise SourceError(f"{self.path} cannot be opened: {error.strerror}") from error
        try:
            if not os.path.samestat(os.fstat(descriptor), self.created):
                raise SourceError(f"{self.path} is not the file that was made there: look who replaced it")
            yield descriptor
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def part_beside(target: str) -> Iterator[Part]:
    """Create an empty private file beside ``target`` to build in; whatever is left of it at the end is removed.

    So is what dead restores of the same target left.

    Raises:
        SourceError: the directory cannot be written.
    """
    part, lock_descriptor = "", None
    # Within the block that removes it from before it exists: an interrupt may come between any two lines.
    try:
        try:
            _remove_abandoned(target)
            while lock_descriptor is None:
                part = f"{target}.{secrets.token_hex(8)}.dumpty-part"
                lock_descriptor = _create_lock(part + _LOCK)
        except OSError as error:
            raise SourceError(f"{os.path.dirname(target)} cannot be written: {error.strerror}") from error
        try:
            descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            created = os.fstat(descriptor)
            os.close(descriptor)
        except OSError as error:
            raise SourceError(f"{part} cannot be created: {error.strerror}") from error
        yield Part(path=part, created=created)
    finally:
        # The target is what it shall be by now, and what cannot be removed is only space. The lock goes last: without
        # it nobody would know whose the rest is.
        if part and clear_away(*(part + suffix for suffix in (*SIBLINGS, ""))):
            clear_away(part + _LOCK)
        if lock_descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(lock_descriptor)


def _create_lock(lock: str) -> int | None:
    """Make the file ``lock``, and lock it; None where somebody has swept it away meanwhile."""
    descriptor = open_regular(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    try:
        if lock_if_free(descriptor, lock):
            return descriptor
    except OSError:  # a file system without flock: nobody can take the lock from us either
        return descriptor
    os.close(descriptor)  # somebody sweeps between these two lines
    return None


def _remove_abandoned(target: str) -> None:
    directory, name = os.path.split(target)
    owners = {os.stat(directory).st_uid}  # he can do anything there, and root may have worked for him
    for entry in os.listdir(directory):
        if not (entry.startswith(name) and _NAME.fullmatch(entry, len(name))):
            continue
        lock = os.path.join(directory, entry)
        with contextlib.suppress(OSError):  # it is another user's, or just went
            descriptor = open_regular(lock, os.O_RDWR, owners=owners)
            try:
                if lock_if_free(descriptor, lock):
                    _remove(lock.removesuffix(_LOCK))
            finally:
                os.close(descriptor)


def clear_away(*paths: str) -> bool:
    """Remove files that are of no use any more; warn of those that cannot be removed, and return whether all are."""
    all_removed = True
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            text = "%s is of no use any more, but cannot be removed: %s; remove it by hand"
            _log.warning(text, path, error.strerror, extra={"event": "left-behind"})
            all_removed = False
    return all_removed


def _remove(part: str) -> None:
    for suffix in (*SIBLINGS, "", _LOCK):  # the lock goes last: without it nobody would know whose the rest is
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part + suffix)
