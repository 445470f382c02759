"""The standard streams, whatever became of them: closed, full, or read by nobody any more."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

__all__ = ["ForgivingStream", "drop", "keeping_output", "kept_output", "settle"]

_kept: list[int] = []


def settle() -> None:
    """Open what is closed, and make both outputs take any character, whatever the locale's encoding.

    The next file to be opened would otherwise get the number of a stream that is closed, and whatever a library or a
    child process has to say would go into it: into a backup.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _ClosedOutput(io.TextIOBase):
    """A standard output that was closed when the program began."""

    def write(self, _text: str) -> int:
        raise OSError(errno.EBADF, "it is closed")


class ForgivingStream:
    """A stream of which nobody notices when it cannot be written: what is said besides the result fails nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text``, if that is possible, and return its length."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that is possible; what is not, is dropped."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            drop(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def keeping_output(descriptor: int) -> Iterator[None]:
    """Within the block, where standard output leads to standard error, let ``descriptor`` be where it led before."""
    _kept.append(descriptor)
    try:
        yield
    finally:
        _kept.pop()


def kept_output() -> int | None:
    """Return the descriptor of the standard output that is kept for results, if it is; it belongs to who keeps it."""
    return _kept[-1] if _kept else None


def drop(stream: TextIO) -> None:
    """Let what ``stream`` still holds, and all that follows, go nowhere.

    Else it would raise again when the interpreter ends, and change the exit status.
    """
    with contextlib.suppress(OSError, ValueError):
        null_device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_device, stream.fileno())
        os.close(null_device)
        stream.flush()
