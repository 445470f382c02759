"""Files and directories that dumpty claims, or sweeps away, in places where others write, too.

A name there may stand for anything by the time it is opened: a symbolic link to a file of root's, a named pipe that
keeps whoever opens it waiting for ever, another user's file. So nothing here follows a link, waits, or takes for its
own what belongs to somebody else; and whoever is dead holds no lock, by which what is left of him is known.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    Test = Callable[[int], bool]

__all__ = ["OwnedDirectory", "lock_if_free", "open_owned_directory", "open_regular"]

_KINDS = (
    (stat.S_ISLNK, errno.ELOOP, "a symbolic link"),
    (stat.S_ISFIFO, errno.EINVAL, "a named pipe"),
    (stat.S_ISSOCK, errno.EINVAL, "a socket"),
    (stat.S_ISDIR, errno.EISDIR, "a directory"),
    (stat.S_ISREG, errno.ENOTDIR, "a file"),
)
_SAFE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def open_regular(
    path: str, flags: int = os.O_RDONLY, *, owners: Collection[int] | None = None, dir_fd: int | None = None
) -> int:
    """Open a regular file and return its descriptor; no link is followed, and nothing is waited for.

    Args:
        path: the file. Links among its folders are followed: where that must not be, open them one by one.
        flags: those of ``os.open``; with ``O_CREAT`` a file that is missing is made, its owner's alone.
        owners: numeric ids of the users whose file it may be, beside our own and root's; None for anybody's.
        dir_fd: the descriptor of the directory that ``path`` begins in, as ``os.open`` has it.

    Raises:
        OSError: there is something else (``strerror`` says what), it is another user's (``PermissionError``), or it
            cannot be opened.
    """
    with contextlib.suppress(FileNotFoundError):
        # Opening alone can have effects on a device.
        _require(os.lstat(path, dir_fd=dir_fd), stat.S_ISREG, "a file", path, owners)
    descriptor = os.open(path, flags | _SAFE_FLAGS, 0o600, dir_fd=dir_fd)
    return _require_opened(descriptor, stat.S_ISREG, "a file", path, owners)


def open_owned_directory(path: str, *, owners: Collection[int] = (), dir_fd: int | None = None) -> int:
    """Open a directory of our own, of root's, or of one of ``owners``, and return its descriptor.

    ``dir_fd`` is as for ``open_regular``.

    Raises:
        OSError: there is something else, it is another user's (``PermissionError``), or it cannot be opened.
    """
    _require(os.lstat(path, dir_fd=dir_fd), stat.S_ISDIR, "a directory", path, owners)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFE_FLAGS, dir_fd=dir_fd)
    return _require_opened(descriptor, stat.S_ISDIR, "a directory", path, owners)


def lock_if_free(descriptor: int, path: str, *, dir_fd: int | None = None) -> bool:
    """Lock an open file or directory; False where somebody alive holds the lock, or ``path`` is another one by now.

    ``dir_fd`` is as for ``open_regular``.

    Raises:
        OSError: its file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path, dir_fd=dir_fd))
    except FileNotFoundError:
        return False


class OwnedDirectory:
    """A new, private directory, locked as long as its owner lives; a context manager that removes it at its end.

    A child process that inherits ``descriptor`` holds the lock, too, and keeps the directory from being swept away.

    Args:
        parent: where to make it; others may write there.
        prefix: how its name begins; eight characters follow.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, parent: str, prefix: str) -> None:
        while True:
            self.path = tempfile.mkdtemp(prefix=prefix, dir=parent)
            self.descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | _SAFE_FLAGS)
            try:
                free = lock_if_free(self.descriptor, self.path)
            except OSError:  # a file system without locks: nobody can take it for abandoned either
                return
            if free:
                return
            os.close(self.descriptor)  # somebody sweeps between these lines, and removes it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove it with all that is in it, as far as that is possible, and free the lock. Twice is harmless."""
        if self.descriptor >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self.descriptor)
            self.descriptor = -1

    @staticmethod
    def sweep(parent: str, prefix: str, *, owners: Collection[int] = ()) -> None:
        """Remove from ``parent`` the directories whose names begin so and whose owners are gone.

        ``owners``: numeric ids of users to whom such a directory was given away. Others' are left alone, and so is
        whatever cannot be looked at.
        """
        for path in _paths_with_prefix(parent, prefix):
            with contextlib.suppress(OSError):
                descriptor = open_owned_directory(path, owners=owners)
                try:
                    if lock_if_free(descriptor, path):
                        shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(descriptor)


def _paths_with_prefix(parent: str, prefix: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(parent)):
            if name.startswith(prefix):
                yield os.path.join(parent, name)


def _require_opened(descriptor: int, kind: Test, expected: str, path: str, owners: Collection[int] | None) -> int:
    try:
        _require(os.fstat(descriptor), kind, expected, path, owners)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require(status: os.stat_result, kind: Test, expected: str, path: str, owners: Collection[int] | None) -> None:
    if not kind(status.st_mode):
        kind_found = next(((number, text) for test, number, text in _KINDS if test(status.st_mode)), None)
        number, text = kind_found or (errno.EINVAL, "a device")
        raise OSError(number, f"it is {text}, not {expected}", path)
    if owners is not None and status.st_uid not in {os.geteuid(), 0, *owners}:
        raise PermissionError(errno.EPERM, f"it belongs to another user ({status.st_uid})", path)
