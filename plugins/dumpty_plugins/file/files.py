"""Files and directories: flushed, measured, removed, and what went wrong with them as dumpty's errors."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dumpty import MissingFile, NotPermitted, StoreError, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator

DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What says that the rights at hand do not suffice."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOT_FLUSHED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_TRIES = 100

Owner = tuple[int, int]
"""The numeric ids of a user and a group."""


@contextlib.contextmanager
def as_store_error(action: str) -> Iterator[None]:
    """Raise what the system says in here as dumpty's own; ``action`` begins the message: ``cannot write FILE``."""
    try:
        yield
    except (StoreError, MissingFile):
        raise
    except OSError as error:
        raise failure(action, error) from error


def store_error(action: str, error: OSError) -> StoreError | MissingFile:
    """Return the error to raise instead of the system's."""
    if isinstance(error, FileNotFoundError):
        return MissingFile(f"{action}: it does not exist")
    return failure(action, error)


def failure(action: str, error: OSError) -> StoreError:
    """Return the error to raise instead of the system's, its cause, where nothing that is missing can be the cause."""
    if isinstance(error, StoreError):
        return error
    text = f"{action}: {error.strerror or error}"
    if error.errno in DENIED:
        own_error: StoreError = NotPermitted(text)
    else:
        own_error = StoreError(f"{text}; free some space and run it again" if error.errno in _FULL else text)
    own_error.__cause__ = error  # for those who keep it, and raise it later
    return own_error


def flush(descriptor: int) -> None:
    """Flush an open file, or a directory, to the disk."""
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, where fsync leaves it in the disk's own cache
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def flush_directory(descriptor: int) -> None:
    """Flush an open directory to the disk, where its file system has a way to do that."""
    try:
        flush(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FLUSHED:
            raise


def flush_tree(top: int, owner: Owner | None) -> None:
    """Flush an open directory and everything in it to the disk, and give it away (``give``).

    Raises:
        OSError: it holds something that is neither a file nor a directory.
    """
    # From below: what is in a directory is out of its new owner's reach until all of it is his.
    for _, folders, files, descriptor in os.fwalk(".", topdown=False, onerror=_raise, dir_fd=top):
        links = [n for n in folders if stat.S_ISLNK(os.stat(n, dir_fd=descriptor, follow_symlinks=False).st_mode)]
        for name in (*files, *links):
            with closing(open_regular(name, dir_fd=descriptor)) as file:
                give(file, owner)
                flush(file)
        give(descriptor, owner)
        flush_directory(descriptor)


def owner_of(directory: int) -> Owner | None:
    """Return to whom root gives what it makes in an open directory of somebody else's; None where nothing is given."""
    status = os.fstat(directory)
    return (status.st_uid, status.st_gid) if os.geteuid() == 0 and status.st_uid != 0 else None


def give(descriptor: int, owner: Owner | None) -> None:
    """Give what root has made to ``owner``, if there is one; what cannot be given stays as it is.

    Root's alone is given: whoever may write here can have put another's under a name of ours.
    """
    if owner is None:
        return
    with contextlib.suppress(OSError):
        status = os.fstat(descriptor)
        if status.st_uid == 0 and (stat.S_ISDIR(status.st_mode) or status.st_nlink == 1):
            os.fchown(descriptor, *owner)


def tree_size(top: str) -> int:
    """Return how many bytes the files in a directory have."""
    return sum(os.lstat(os.path.join(folder, f)).st_size for folder, _, files in os.walk(top) for f in files)


def newest(top: str) -> int:
    """Return when a file, or anything in a directory, was last changed, in nanoseconds since 1970."""
    paths = [top, *(os.path.join(folder, n) for folder, folders, files in os.walk(top) for n in (*folders, *files))]
    moments = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            moments.append(os.lstat(path).st_mtime_ns)
    return max(moments, default=0)


def moment(nanoseconds: int) -> datetime:
    """Return a file's time as aware UTC; the first or last that there is where somebody set it beyond."""
    try:
        return datetime.fromtimestamp(nanoseconds / 1_000_000_000, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC) if nanoseconds > 0 else datetime.min.replace(tzinfo=UTC)


def new_part(label: str) -> str:
    """Return the name of a part, file or directory, that nobody else has, and no object can have.

    ``label`` is what it begins with, for a person who finds it.
    """
    return f"{label}~dumpty-{uuid.uuid4().hex}.part"


@contextlib.contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """Close a descriptor at the end; whether that says something changes nothing by then."""
    try:
        yield descriptor
    finally:
        close(descriptor)


def close(descriptor: int) -> None:
    """Close a descriptor, whatever that says."""
    try:  # noqa: SIM105 - a list closes tens of thousands, and this takes half the time
        os.close(descriptor)
    except OSError:
        pass


def discard(name: str, folder: int) -> None:
    """Remove what is of no use any more, if that can be done; an interrupt waits until it is.

    ``folder`` is the descriptor of the directory that it is in.
    """
    try:
        remove(name, folder)
    except OSError:
        pass
    except BaseException:
        with contextlib.suppress(OSError):
            remove(name, folder)
        raise


def remove(name: str, folder: int) -> None:
    """Remove a file, or a directory with all that is in it, from the open directory ``folder``.

    Raises:
        OSError: it cannot be removed, or is not there.
    """
    if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=folder)
        return
    for last in (False,) * _TRIES + (True,):
        try:
            shutil.rmtree(name, dir_fd=folder)
        except FileNotFoundError:  # somebody else removes it, too
            if last:
                raise
            with contextlib.suppress(FileNotFoundError):
                os.stat(name, dir_fd=folder, follow_symlinks=False)
                continue
        return


def _raise(error: OSError) -> None:
    raise error
