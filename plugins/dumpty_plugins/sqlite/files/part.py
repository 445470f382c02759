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
    made: os.stat_result

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """Open it, and nothing that somebody else who may write there put in its place.

        Raises:
            SourceError: it was replaced.
        """
        try:
            held = open_regular(self.path)
        except OSError as error:
            raise SourceError(f"{self.path} cannot be opened: {error.strerror}") from error
        try:
            if not os.path.samestat(os.fstat(held), self.made):
                raise SourceError(f"{self.path} is not the file that was made there: look who replaced it")
            yield held
        finally:
            os.close(held)


@contextlib.contextmanager
def part_beside(target: str) -> Iterator[Part]:
    """Create an empty private file beside ``target`` to build in; whatever is left of it at the end is removed.

    So is what dead restores of the same target left.

    Raises:
        SourceError: the directory cannot be written.
    """
    part, held = "", None
    # Within the block that removes it from before it exists: an interrupt may come between any two lines.
    try:
        try:
            _sweep(target)
            while held is None:
                part = f"{target}.{secrets.token_hex(8)}.dumpty-part"
                held = _claim(part + _LOCK)
        except OSError as error:
            raise SourceError(f"{os.path.dirname(target)} cannot be written: {error.strerror}") from error
        try:
            descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            made = os.fstat(descriptor)
            os.close(descriptor)
        except OSError as error:
            raise SourceError(f"{part} cannot be created: {error.strerror}") from error
        yield Part(path=part, made=made)
    finally:
        # The target is what it shall be by now, and what cannot be removed is only space. The lock goes last: without
        # it nobody would know whose the rest is.
        if part and clear_away(*(part + end for end in (*SIBLINGS, ""))):
            clear_away(part + _LOCK)
        if held is not None:
            with contextlib.suppress(OSError):
                os.close(held)


def _claim(lock: str) -> int | None:
    """Make the file ``lock``, and lock it; None where somebody has swept it away meanwhile."""
    held = open_regular(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    try:
        if lock_if_free(held, lock):
            return held
    except OSError:  # a file system without flock: nobody can take the lock from us either
        return held
    os.close(held)  # somebody sweeps between these two lines
    return None


def _sweep(target: str) -> None:
    directory, name = os.path.split(target)
    owners = {os.stat(directory).st_uid}  # he can do anything there, and root may have worked for him
    for found in os.listdir(directory):
        if not (found.startswith(name) and _NAME.fullmatch(found, len(name))):
            continue
        lock = os.path.join(directory, found)
        with contextlib.suppress(OSError):  # it is another user's, or just went
            held = open_regular(lock, os.O_RDWR, owners=owners)
            try:
                if lock_if_free(held, lock):
                    _remove(lock.removesuffix(_LOCK))
            finally:
                os.close(held)


def clear_away(*paths: str) -> bool:
    """Remove files that are of no use any more; warn of those that cannot be removed, and return whether all are."""
    done = True
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            text = "%s is of no use any more, but cannot be removed: %s; remove it by hand"
            _log.warning(text, path, error.strerror, extra={"event": "left-behind"})
            done = False
    return done


def _remove(part: str) -> None:
    for end in (*SIBLINGS, "", _LOCK):  # the lock goes last: without it nobody would know whose the rest is
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part + end)
