"""A part of a large object, and where it waits to be sent."""

from __future__ import annotations

import io
import shutil
import tempfile
from typing import IO

from dumpty import StoreError

__all__ = ["Part"]

_IN_MEMORY = 16 << 20
"""A larger part waits in a file, so that memory is bounded whatever the object's size."""


class Part:
    """Bytes that wait to be sent, in memory or in a file without a name.

    Args:
        number: its place among the parts, from 1.
        size: how many bytes it has when it is full.
    """

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = 0
        self.is_large = size > _IN_MEMORY
        """Whether it may come to wait in a file."""
        self.is_last = False
        self._capacity = size
        self._file: IO[bytes] = io.BytesIO()

    @property
    def room(self) -> int:
        """How many bytes it still takes."""
        return self._capacity - self.size

    def write(self, data: memoryview) -> None:
        """Take ``data``, for which there is room.

        Raises:
            StoreError: the disk that temporary files lie on does not.
        """
        try:
            if self.size + len(data) > _IN_MEMORY >= self.size:
                self._file = _in_a_file(self._file)
            self._file.write(data)
        except OSError as error:
            raise StoreError(
                f"a part of {self._capacity >> 20} MiB that is to be sent finds no room in {tempfile.gettempdir()}: "
                f"{error.strerror}; make room there, or set TMPDIR"
            ) from error
        self.size += len(data)

    def content(self) -> bytes | None:
        """Return what it holds, for a request of its own; None where that is too much to be in memory."""
        return self.body().read() if self.size <= _IN_MEMORY else None

    def body(self) -> IO[bytes]:
        """Return what it holds, for a request, from its beginning."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Let go of what it holds."""
        self._file.close()


def _in_a_file(memory: IO[bytes]) -> IO[bytes]:
    memory.seek(0)
    file: IO[bytes] = tempfile.TemporaryFile(prefix="dumpty-part-")  # noqa: SIM115 - Part.close() does
    shutil.copyfileobj(memory, file, 1 << 20)
    return file
