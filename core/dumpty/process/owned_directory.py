"""Files and directories that dumpty claims, or sweeps away, in places where others write, too.

A name there may stand for anything by the time it is opened: a symbolic link to a file of root's, a named pipe that
keeps whoever opens it waiting for ever, another user's file. So nothing here follows a link, waits, or takes for its
own what belongs to somebody else; and whoever is dead holds no lock, by which what is left of him is known.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
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
_log = logging.getLogger("dumpty")
_LOCK = ".lock"
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
    try:  # noqa: SIM105 - a list of backups opens thousands
        # Opening alone can have effects on a device.
        _require(os.lstat(path, dir_fd=dir_fd), stat.S_ISREG, "a file", path, owners)
    except FileNotFoundError:
        pass
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
            self.descriptor = -1
            self._locks: list[int] = []
            self.path = tempfile.mkdtemp(prefix=prefix, dir=os.path.abspath(parent))
            try:
                self.descriptor = open_owned_directory(self.path)
                locks = _lock(self.descriptor, self.path, new=True)
            except FileNotFoundError:
                locks = None
            except BaseException:
                self._close()  # without its lock, the next sweep takes it
                raise
            if locks is not None:
                self._locks = locks
                return
            self._close()  # somebody sweeps between these lines, and removes it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove it with all that is in it, and free the lock. Twice is harmless; what cannot be removed is logged."""
        if self.descriptor < 0:
            return
        try:
            _clear(self.descriptor, keep=_LOCK)
            for lock in self._locks:
                os.close(lock)
            self._locks = []
            _clear(self.descriptor)
            if os.path.samestat(os.lstat(self.path), os.fstat(self.descriptor)):  # and nobody else's, by that name
                os.rmdir(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            text = "%s is of no use any more, but cannot be removed: %s; remove it by hand"
            _log.warning(text, self.path, error.strerror, extra={"event": "left-behind"})
        self._close()

    def _close(self) -> None:
        descriptors, self._locks, self.descriptor = (*self._locks, self.descriptor), [], -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    @staticmethod
    def sweep(parent: str, prefix: str, *, owners: Collection[int] = ()) -> None:
        """Remove from ``parent`` the directories whose names begin so and whose owners are gone.

        ``owners``: numeric ids of users to whom such a directory was given away. Others' are left alone, and so is
        whatever cannot be looked at.
        """
        for path in _paths_with_prefix(parent, prefix):
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                descriptor = open_owned_directory(path, owners=owners)
                stack.callback(os.close, descriptor)
                try:
                    locks = _lock(descriptor, path, new=False, owners=owners)
                except FileNotFoundError:
                    os.rmdir(path)  # where directories have no locks: its owner died before it made its lock, or behind
                    continue
                for lock in locks or []:
                    stack.callback(os.close, lock)
                if locks is not None:
                    shutil.rmtree(path, ignore_errors=True)


def _lock(descriptor: int, path: str, *, new: bool, owners: Collection[int] = ()) -> list[int] | None:
    """Lock an open directory; return what has to stay open, too, or None where somebody alive holds the lock.

    Raises:
        FileNotFoundError: it is gone; or, if it is not ``new``, it was never locked.
    """
    try:
        return [] if lock_if_free(descriptor, path) else None
    except OSError:
        pass  # NFS locks only what is open for writing, and that a directory never is
    lock = open_regular(_LOCK, os.O_RDWR | (os.O_CREAT | os.O_EXCL) * new, owners=owners, dir_fd=descriptor)
    try:
        free = lock_if_free(lock, _LOCK, dir_fd=descriptor)
    except OSError:
        free = new  # a file system without any locks: nobody can take it for abandoned either
    if free:
        return [lock]
    os.close(lock)
    return None


def _clear(directory: int, *, keep: str = "") -> None:
    """Remove what is in an open directory, as far as that is possible; then raise the first error."""
    errors = []
    for name in os.listdir(directory):
        if name == keep:
            continue
        try:
            if stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
                shutil.rmtree(name, dir_fd=directory)
            else:
                os.unlink(name, dir_fd=directory)
        except OSError as error:
            errors.append(error)
    if errors:
        raise errors[0]


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
