"""Parts: files and directories under way, beside their final place, each locked by whoever writes it.

Between making a part and locking it somebody may sweep, and take it for a dead writer's. So a writer looks, once it has
the lock, whether the name still leads to what it locked, and else makes another; and a sweep removes only what it has
locked itself. Nobody waits for a lock here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from typing import TYPE_CHECKING

from dumpty import StoreError, lock_if_free, open_owned_directory
from dumpty_plugins.file.files import close, discard, give, new_part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from dumpty_plugins.file.folders import Folder

# `~` is in no object's name; with dumpty's name in it, for what other programs call a part is theirs.
PART = re.compile(r"~dumpty-[0-9a-f]{32}\.part\Z")
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What says that a file system has no locks. There a sweep can go by the age alone."""

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 100


class Part:
    """A part, made or to be made. Whoever is to ``drop`` it has it before there is anything.

    Args:
        folder: where it is. It stays open as long as the part.
        label: what its name begins with, for a person who finds it: its object's, the last segment of it.
    """

    def __init__(self, folder: Folder, label: str) -> None:
        self.name = new_part(label)
        self.descriptor = -1
        self._folder = folder

    def make_file(self) -> bool:
        """Make it, a file, and lock it; False where a sweep was quicker.

        Raises:
            FileNotFoundError: its folder was removed.
            OSError: it cannot be made.
        """
        self.descriptor = os.open(self.name, _NEW, 0o600, dir_fd=self._folder.descriptor)
        give(self.descriptor, self._folder.owner)
        return self._lock()

    def make_directory(self) -> bool:
        """Make it, a directory, as ``make_file`` does; but what root has made is given to nobody while it is filled."""
        os.mkdir(self.name, 0o700, dir_fd=self._folder.descriptor)
        self.descriptor = open_owned_directory(self.name, dir_fd=self._folder.descriptor)
        return self._lock()

    def drop(self) -> None:
        """Remove it, if that can be done, and close it. Twice is harmless, and so is one that was never made."""
        discard(self.name, self._folder.descriptor)
        self.close()

    def close(self) -> None:
        """Close it, which frees the lock. Twice is harmless."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            close(descriptor)

    def __del__(self) -> None:
        # Never dropped: it stays, and free, for the next sweep. It is not removed here, for a process that was forked
        # has a copy of this.
        if hasattr(self, "descriptor"):
            self.close()

    def _lock(self) -> bool:
        try:
            return lock_if_free(self.descriptor, self.name, dir_fd=self._folder.descriptor)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return True
            raise


def tries(path: str) -> Iterator[AbstractContextManager[None]]:
    """Yield, for each try to make something at ``path``, a context that lets a folder be gone this moment.

    Raises:
        StoreError: there were many in vain.
        OSError: ESTALE, which NFS says of a folder that another machine removed: it was said of more than that.
    """
    stale: list[OSError] = []
    for _ in range(_TRIES):
        yield _folder_may_go(stale)
    if stale:
        raise stale[-1]
    raise StoreError(f"cannot write {path}: its folder is removed again and again by somebody else")


@contextlib.contextmanager
def _folder_may_go(stale: list[OSError]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        stale.append(error)
