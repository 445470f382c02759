"""A little space kept back beside named backups, so that they can be removed from a disk that is full.

A removal is marked before the manifest changes, and the manifest is written anew: that takes two files for a moment,
and their blocks. Whoever wants to remove because nothing fits any more would be refused.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from dumpty.errors import StoreError
from dumpty.process.owned_directory import open_regular
from dumpty.repository.full_disk import is_full

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NamedReserve"]

# `~` is in no object's name.
_NAMES = (".dumpty~catalog.reserve-1", ".dumpty~catalog.reserve-2")
"""Two, for a disk may have blocks left and no inodes: one for a mark, one for the new manifest."""

_LEAST_BYTES = 16 << 10
_BLOCK_BYTES = 64 << 10


class NamedReserve:
    """Two files in a directory, to be given up. Their size follows the manifest's. Used under the directory's lock.

    Nothing here raises but what the work raises: where there is no room for a reserve, so be it.

    Args:
        directory: its path.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._paths = [os.path.join(directory, name) for name in _NAMES]

    def keep(self, manifest_bytes: int) -> None:
        """Make the files, or let them grow, to have room for a manifest of that size."""
        wanted = _LEAST_BYTES + manifest_bytes
        for path in self._paths:
            with contextlib.suppress(OSError):
                # Half of it in each is enough, and not every new entry shall write them.
                if _size(path) < wanted // 2:
                    self._grow(path, wanted)

    def use(self, work: Callable[[], None], again: Callable[[], None]) -> None:
        """Do ``work``; where that fails for want of space, give the reserve up, do ``again``, and keep it anew."""
        try:
            work()
        except StoreError as error:
            given_up = self._give_up() if is_full(error) else None
            if given_up is None:
                raise
        else:
            return
        try:
            again()
        finally:
            self.keep(given_up)

    def _grow(self, path: str, size: int) -> None:
        owners = {os.stat(self._directory).st_uid}
        descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, owners=owners)
        try:
            missing = size - os.fstat(descriptor).st_size
            while missing > 0:  # bytes that no file system makes smaller
                missing -= os.write(descriptor, os.urandom(min(missing, _BLOCK_BYTES)))
        finally:
            os.close(descriptor)

    def _give_up(self) -> int | None:
        """Remove the files; return for how large a manifest they were, or None where there were none."""
        sizes = []
        for path in self._paths:
            with contextlib.suppress(OSError):
                size = _size(path)
                os.unlink(path)
                sizes.append(size)
        return max(0, max(sizes) - _LEAST_BYTES) if sizes else None


def _size(path: str) -> int:
    """Return a file's size in bytes; -1 where it is missing."""
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return -1
