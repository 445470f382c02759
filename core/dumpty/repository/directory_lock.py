"""A lock on a directory of this machine, or one that its machines share: for what one process at a time may change.

It is the file system's (``flock``), so it is free when its holder is dead, wherever that ran. The files that it needs
lie in the directory and stay there; their names are no object's. A child that is forked while the lock is held has a
copy of the descriptor; so its holder unlocks before it closes, and nobody else unlocks at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Self

from dumpty.errors import Locked, StoreError
from dumpty.process.call import pause
from dumpty.process.owned_directory import lock_if_free, open_regular

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["DirectoryLock"]

_LOCK = ".dumpty~catalog.lock"
_HOLDER = ".dumpty~catalog.holder"
_HOLDER_BYTES = 4096
_FIRST_WAIT_SECONDS = 0.01
_LONGEST_WAIT_SECONDS = 0.1


class DirectoryLock:
    """A context manager that holds the lock within its block; each block needs one of its own.

    Args:
        directory: its path. It is not made where it is gone.
        timeout: how long the lock is waited for, in seconds.

    Raises:
        Locked: somebody else held it all the time; the text says who.
        StoreError: the directory is gone, or cannot be locked.
    """

    def __init__(self, directory: str, timeout: float = 600.0) -> None:
        self._directory = directory
        self._path = os.path.join(directory, _LOCK)
        self._holder = os.path.join(directory, _HOLDER)
        self._timeout = timeout
        self._file: io.FileIO | None = None
        self._held = False
        self._pid = 0

    def __enter__(self) -> Self:
        try:
            self._acquire()
            self._held = True
            _write_holder(self._holder)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._release()

    def __del__(self) -> None:
        # An interrupt can come up before the first line of `__exit__`.
        if hasattr(self, "_held"):
            self._release()

    def _acquire(self) -> None:
        self._pid = os.getpid()
        deadline = time.monotonic() + self._timeout
        wait = _FIRST_WAIT_SECONDS
        while not self._try():
            if time.monotonic() >= deadline:
                raise Locked(
                    f"{self._directory} is locked by {_describe_holder(self._holder)}; try again when that has ended"
                )
            pause(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    def _try(self) -> bool:
        if not os.path.isdir(self._directory):
            raise StoreError(f"the backup directory {self._directory} is gone; mount it or put it back")
        self._close()  # another file may have its name by now
        try:
            owners = {os.stat(self._directory).st_uid}  # who can do anything in it, and root may work in it for him
            descriptor = open_regular(self._path, os.O_RDWR | os.O_CREAT, owners=owners)
            # Not locked yet: an interrupt between the lines costs a descriptor. From here on the file closes it.
            self._file = io.FileIO(descriptor, "r+")
            return lock_if_free(descriptor, self._path)
        except OSError as error:
            raise StoreError(f"cannot lock {self._directory} by {_LOCK}: {error.strerror or error}") from error

    def _release(self) -> None:
        if self._held:
            self._held = False
            if self._is_own():
                with contextlib.suppress(OSError):
                    os.unlink(self._holder)
        self._close()

    def _close(self) -> None:
        if self._file is None or self._file.closed:
            return
        try:
            if self._is_own():
                with contextlib.suppress(OSError):  # what was done under the lock is done
                    fcntl.flock(self._file.fileno(), fcntl.LOCK_UN)
        finally:
            with contextlib.suppress(OSError):
                self._file.close()  # in one step, and harmless twice: no interrupt can leave it half done

    def _is_own(self) -> bool:
        """Return whether this process took the lock; a child that was forked since then only has a copy."""
        return self._pid == os.getpid()


def _write_holder(path: str) -> None:
    """Write down who holds the lock: only for a message, so whatever prevents it is left at that."""
    holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}).encode()
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(descriptor, holder)
        finally:
            os.close(descriptor)


def _describe_holder(path: str) -> str:
    try:
        with open(open_regular(path), "rb") as stream:
            holder = json.loads(stream.read(_HOLDER_BYTES))
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(holder["since"]))
        return f"process {int(holder['pid'])} on {str(holder['host'])[:100]!s} since {since}"
    except (OSError, OverflowError, ValueError, KeyError, TypeError):
        return "another process"
