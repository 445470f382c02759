"""An object as a stream, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from dumpty import StoreError
from dumpty_plugins.buckets.failures import RequestFailed

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dumpty import Found

__all__ = ["BlockReader", "Blocks", "Range"]

_FIRST_BLOCK, _BLOCK = 1 << 16, 4 << 20
"""What is asked for at once: little of what may be little, and more, the longer it goes on."""
_BEHIND_THE_END = 416


class Range(Struct, frozen=True, kw_only=True):
    """Bytes of an object, its size, and its tag."""

    data: bytes
    size: int
    tag: str


class Blocks(Protocol):
    """Where objects are read, each request once; ``RequestFailed`` where there is no success."""

    @property
    def server(self) -> str:
        """What the server is called in messages."""
        ...

    def location(self, name: str) -> str:
        """Return where a person finds an object."""
        ...

    def errors(self, what: str, name: str) -> AbstractContextManager[None]:
        """Raise what fails in the block as an error of the contract."""
        ...

    def head(self, name: str) -> Found:
        """Return what the server knows of an object."""
        ...

    def get(self, name: str, offset: int, length: int, tag: str = "") -> Range:
        """Return up to ``length`` bytes from ``offset`` on, of the object of that tag."""
        ...


class BlockReader:
    """Reads an object from ``offset`` on: the contract is ``dumpty.Reader``.

    Only the end of the object, by the size that the server told at first, is the end of the stream. Every block is of
    the same object, by its tag.

    Args:
        blocks: where the object lies.
        name: the object's, checked.
        offset: in bytes.

    Raises:
        MissingFile: there is no such object.
        StoreError: it cannot be had.
    """

    def __init__(self, blocks: Blocks, name: str, offset: int = 0) -> None:
        self._blocks = blocks
        self._name = name
        self._position = offset
        self._size = -1
        self._tag = ""
        self._rest = memoryview(b"")
        self._block = _FIRST_BLOCK
        self._closed = False
        with self._errors():
            self._open()

    def read(self, size: int = -1) -> bytes:
        if self._closed:
            raise ValueError(f"read from {self._blocks.location(self._name)}, which was closed")
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK), b""))
        if size and not self._rest and self._position < self._size:
            with self._errors():
                self._next_block()
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)

    @property
    def size(self) -> int:
        """How many bytes the object has."""
        return self._size

    def close(self) -> None:
        self._closed = True
        self._rest = memoryview(b"")

    def _errors(self) -> AbstractContextManager[None]:
        return self._blocks.errors("cannot read", self._name)

    def _open(self) -> None:
        try:
            self._next_block()
        except RequestFailed as failure:
            if failure.status != _BEHIND_THE_END:
                raise
            found = self._blocks.head(self._name)
            if self._position > found.size:
                raise RequestFailed(
                    f"it has {found.size:,} bytes, not {self._position:,} or more", status=failure.status
                ) from failure
            self._size = found.size

    def _next_block(self) -> None:
        answer = self._blocks.get(self._name, self._position, self._block, self._tag)
        if self._tag and answer.tag != self._tag:
            raise RequestFailed("the object was replaced while it was read", status=_BEHIND_THE_END)
        if self._size >= 0 and answer.size != self._size:
            raise RequestFailed(f"{self._blocks.server} answers with other bytes than it was asked for")
        expected = min(self._block, answer.size - self._position)
        if len(answer.data) != expected:
            raise StoreError(
                f"{self._blocks.location(self._name)} breaks off after {self._position + len(answer.data):,} of "
                f"{answer.size:,} bytes"
            )
        self._size, self._tag = answer.size, answer.tag
        self._rest = memoryview(answer.data)
        self._position += len(answer.data)
        self._block = min(_BLOCK, 4 * self._block)
