"""Files and directories: flushed, measured, removed, and what went wrong with them as dumpty's errors."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from typing import TYPE_CHECKING

from dumpty import Locked, MissingFile, StoreError, open_owned_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def as_store_error(action: str) -> Iterator[None]:
    """Raise what the system says in here as dumpty's own; ``action`` begins the message: ``cannot write FILE``."""
    try:
        yield
    except (StoreError, MissingFile, Locked):
        raise
    except OSError as error:
        raise store_error(action, error) from error


def store_error(action: str, error: OSError) -> StoreError | MissingFile:
    """Return the error to raise instead of the system's."""
    if isinstance(error, FileNotFoundError):
        return MissingFile(f"{action}: {error.filename or 'it'} does not exist")
    advice = "; free some space and run it again" if error.errno in {errno.ENOSPC, errno.EDQUOT} else ""
    return StoreError(f"{action}: {error.strerror or error}{advice}")


def open_owner_only(path: str, flags: int) -> int:
    """Open a file; one that is made is its owner's alone."""
    return os.open(path, flags, 0o600)


def lock_part(path: Path) -> int:
    """Lock the directory ``path``, which was just made, and return its descriptor."""
    descriptor = open_owned_directory(str(path))
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def sync_directory(path: Path | str) -> None:
    """Flush a directory, or a file, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        with contextlib.suppress(OSError):  # whether it was flushed is known by now
            os.close(descriptor)


def sync_tree(top: Path) -> None:
    """Flush a directory and everything in it to the disk."""
    for folder, _, files in os.walk(top):
        for name in (*files, "."):
            sync_directory(os.path.join(folder, name))


def tree_size(top: Path) -> int:
    """Return how many bytes the files in a directory have."""
    return sum(os.path.getsize(os.path.join(folder, f)) for folder, _, files in os.walk(top) for f in files)


def discard(path: Path) -> None:
    """Remove what is of no use any more, as far as that can be done; an interrupt waits until it is."""
    try:
        _remove_what_goes(path)
    except BaseException:
        _remove_what_goes(path)
        raise


def _remove_what_goes(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
