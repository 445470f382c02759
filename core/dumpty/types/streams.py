"""Streams of bytes, and the two ends that a driver sees: where it writes a dump, and where it reads one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dumpty.types.databases import Evidence

Buffer = bytes | bytearray | memoryview
"""A block of bytes. It is the caller's again when the call it was passed to has returned."""


class Sink(Protocol):
    """Where a driver writes one dump."""

    def write(self, data: Buffer, /) -> int:
        """Take every byte and return their number, or raise. After an error every further call raises it again."""
        ...

    def expect(self, total_bytes: int) -> None:
        """Tell how many bytes will come, about: progress only."""
        ...

    def directory(self) -> Path:
        """Return the empty directory to write into, for a format with ``directory=True``; else raise."""
        ...

    def workspace(self) -> Path:
        """Return a private, empty directory on a file system with room; it is removed when the backup ends."""
        ...


class Reader(Protocol):
    """A stream of bytes to read. A reader yields end-of-file only when everything was read and is right."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, b"" at the end only; -1 reads to the end."""
        ...

    def close(self) -> None:
        """Release what the reader holds. Closing twice is harmless."""
        ...


class Writer(Protocol):
    """A stage that transforms bytes on their way to a sink."""

    def write(self, data: Buffer, /) -> int:
        """Take every byte and return their number, or raise."""
        ...

    def close(self) -> None:
        """Flush everything, the trailer included, to the sink, and leave the sink open. Twice is harmless."""
        ...


class ByteSink(Protocol):
    """What a stage writes into."""

    def write(self, data: Buffer, /) -> int:
        """Take every byte and return their number, or raise."""
        ...


class Verifier(Protocol):
    """A digest under construction, as ``hashlib`` has them."""

    def update(self, data: Buffer, /) -> None:
        """Add bytes."""
        ...

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far, in lower-case hexadecimal."""
        ...


class Dump(Protocol):
    """A stored dump on its way back. Its stored bytes are verified while it is read, and known to be right at its end.

    ``size`` is in bytes, before compression. ``evidence`` and ``versions`` are those of the backup.
    """

    @property
    def format(self) -> str:
        """The format's name."""
        ...

    @property
    def size(self) -> int:
        """The dump's size in bytes."""
        ...

    @property
    def evidence(self) -> Evidence:
        """What was known when the dump was made."""
        ...

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions recorded when the dump was made."""
        ...

    def open(self) -> Reader:
        """Return a stream of the dump. End-of-file comes only after size and digest were found right.

        So a driver that commits its target after end-of-file, and only then, cannot commit a damaged dump.
        """
        ...

    def path(self) -> Path:
        """Return a verified, seekable file (or directory) that holds the dump; it is removed afterwards."""
        ...

    def workspace(self) -> Path:
        """Return a private, empty directory on a file system with room; it is removed when the restore ends."""
        ...
