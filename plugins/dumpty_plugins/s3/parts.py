"""The parts of a large object: how large they are, and where they wait to be sent."""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

from dumpty import StoreError
from dumpty_plugins.s3.objects import encode_crc

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_PARTS", "Part", "part_size"]

MAX_PARTS = 10_000
_FIRST_SIZE = 8 << 20
_PARTS_OF_A_SIZE = 1_000
_LARGEST = 5 << 30
_IN_MEMORY = 16 << 20
"""A larger part waits in a file, so that memory is bounded whatever the object's size."""
_BLOCK = 1 << 20


def part_size(number: int, fixed: int = 0) -> int:
    """Return how many bytes the part of a number (from 1) has, all but the last.

    They double every thousand parts, from 8 MiB on: the first thousand hold 8 GiB, and all that S3 takes of one object
    5 TiB and more, whose length nobody knows beforehand.

    Args:
        number: the part's.
        fixed: the size of all, where they are not to grow.
    """
    return fixed or min(_LARGEST, _FIRST_SIZE << ((number - 1) // _PARTS_OF_A_SIZE))


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
        self._crc = 0
        self._bytes = bytearray()
        self._file: BinaryIO | None = None

    @property
    def room(self) -> int:
        """How many bytes it still takes."""
        return self._capacity - self.size

    @property
    def checksum(self) -> str:
        """The CRC-32 of what it holds, in base64."""
        return encode_crc(self._crc)

    def write(self, data: memoryview) -> None:
        """Take ``data``, for which there is room.

        Raises:
            StoreError: the disk that temporary files lie on does not.
        """
        if self.size + len(data) > _IN_MEMORY:
            self._write_to_file(data)
        else:
            self._bytes += data
        self._crc = zlib.crc32(data, self._crc)
        self.size += len(data)

    def content(self) -> bytes | None:
        """Return what it holds, for a request of its own; None where that is too much to be in memory."""
        return bytes(self._bytes) if self._file is None else None

    def body(self) -> bytearray | BinaryIO:
        """Return what it holds, for a request, from its beginning."""
        if self._file is None:
            return self._bytes
        self._file.seek(0)
        return self._file

    def md5(self) -> str:
        """Return the MD5 of what it holds, in hexadecimal."""
        digest = hashlib.md5(usedforsecurity=False)
        for block in self._blocks():
            digest.update(block)
        return digest.hexdigest()

    def close(self) -> None:
        """Let go of what it holds."""
        self._bytes = bytearray()
        if self._file is not None:
            self._file.close()

    def _write_to_file(self, data: memoryview) -> None:
        try:
            if self._file is None:
                self._file = cast("BinaryIO", tempfile.TemporaryFile(prefix="dumpty-s3-"))  # noqa: SIM115 - close() does
                self._file.write(self._bytes)
                self._bytes = bytearray()
            self._file.write(data)
        except OSError as error:
            raise StoreError(
                f"a part of {self._capacity >> 20} MiB that is to be sent finds no room in {tempfile.gettempdir()}: "
                f"{error.strerror}; make room there, or set TMPDIR"
            ) from error

    def _blocks(self) -> Iterator[bytes | bytearray]:
        body = self.body()
        if isinstance(body, bytearray):
            yield body
            return
        while block := body.read(_BLOCK):
            yield block
