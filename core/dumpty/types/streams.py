"""Streams of bytes, and the two ends that a driver sees: where it writes a dump, and where it reads one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dumpty.types.databases import Evidence, Section, TableContent

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

    def part(
        self, *, section: Section = "data", suffix: str = "", at_once: int = 1
    ) -> AbstractContextManager[PartSink]:
        """Begin one object of a format with ``parts=True``, with stages and an upload of its own; else raise.

        The block is left when the part is complete; an exception in it fails the backup. Several may be written at
        once, each by one thread, and all are left before ``backup`` returns::

            with sink.part(suffix=".copy", at_once=4) as part:
                part.write(b"...")
                part.holds("shop.orders", rows=3, range="pages 0 to 8191")

        Args:
            section: what of the database it holds; a restore loads the parts in the order in which they were begun.
            suffix: ends its name, dot included, before those of the stages; "" for that of the format.
            at_once: how many are written at the same time, so that compressors share the processors.
        """
        ...

    def workspace(self) -> Path:
        """Return a private, empty directory on a file system with room; it is removed when the backup ends."""
        ...


class PartSink(Protocol):
    """Where a driver writes one part of a dump."""

    def write(self, data: Buffer, /) -> int:
        """Take every byte and return their number, or raise. After an error every further call raises it again."""
        ...

    def holds(self, path: str, /, *, rows: int | None = None, range: str = "") -> None:
        """Tell what the part holds of a table (``TableContent``), for each of which it is called once."""
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


class DumpPart(Protocol):
    """One object of a stored dump; verified as ``Dump`` says. Several may be read at once, each by one thread."""

    @property
    def section(self) -> Section:
        """What of the database it holds."""
        ...

    @property
    def tables(self) -> tuple[TableContent, ...]:
        """Which tables it holds, and how much of each; () where it is not only of some."""
        ...

    @property
    def suffix(self) -> str:
        """How its name ends, before the suffixes of the stages."""
        ...

    @property
    def size(self) -> int:
        """Its size in bytes, before compression."""
        ...

    def open(self) -> Reader:
        """Return a stream of it; end-of-file comes only after size and digest were found right."""
        ...

    def path(self) -> Path:
        """Return a verified, seekable file that holds it; it is removed afterwards."""
        ...


class Dump(Protocol):
    """A stored dump on its way back. Its stored bytes are verified while it is read, and known to be right at its end.

    ``size`` is in bytes, before compression, of all its parts. ``evidence`` and ``versions`` are those of the backup.
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

    @property
    def parts(self) -> tuple[DumpPart, ...]:
        """Its objects, in the order in which they are to be loaded; of a format without parts, one.

        A restore reads each of them to its end, or it is none.
        """
        ...

    def open(self) -> Reader:
        """Return a stream of the dump. End-of-file comes only after size and digest were found right.

        A dump in several parts has none: open these. So a driver that commits its target after end-of-file, and only
        then, cannot commit a damaged dump.
        """
        ...

    def path(self) -> Path:
        """Return a verified, seekable file (or directory) that holds the dump; it is removed afterwards."""
        ...

    def workspace(self) -> Path:
        """Return a private, empty directory on a file system with room; it is removed when the restore ends."""
        ...
