"""The sink and the dump that ``DriverSuite`` hands to a driver, the ones that fail included."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dumpty.errors import PluginError
from dumpty.testing.streams import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dumpty.types import Buffer, Evidence, Reader

__all__ = ["FileSink", "RecordedDump"]


class FileSink:
    """Writes a dump into a file.

    ``before_write`` is called before each write, with the dump's size before and after it. What it raises is raised at
    every further write, too, as dumpty's own sink does.
    """

    def __init__(self, path: Path, before_write: Callable[[int, int], None] | None = None) -> None:
        self.file = path
        self.size = 0
        self._stream = path.open("wb", buffering=0)
        self._before_write = before_write
        self.error: BaseException | None = None
        self.late_writes: list[int] = []
        self._spaces = 0

    def write(self, data: Buffer) -> int:
        """Take every byte, or raise what ``before_write`` raises; after ``close``, note it."""
        if self._stream.closed:
            self.late_writes.append(len(data))
            raise ValueError("write to a sink whose backup has ended")
        if self.error is not None:
            raise self.error
        view = memoryview(data).cast("B")
        try:
            if self._before_write is not None:
                self._before_write(self.size, self.size + len(view))
        except BaseException as error:
            self.error = error
            raise
        written = 0
        while written < len(view):
            written += self._stream.write(view[written:])
        self.size += written
        return written

    def expect(self, total_bytes: int) -> None:
        """Nobody watches."""

    def directory(self) -> Path:
        """Refuse: the suite asks for formats that are streams."""
        raise PluginError("this format was not declared with directory=True, so it is written as a stream")

    def workspace(self) -> Path:
        """Return a fresh directory."""
        self._spaces += 1
        return _fresh_directory(self.file, f"work{self._spaces}")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


@dataclass(frozen=True, kw_only=True)
class RecordedDump:
    """A dump in a file, as a driver sees it.

    ``error`` is raised by its streams in the place of the byte at ``good_bytes``; ``before_end`` is called before a
    stream says that it is at its end; ``ends`` notes each time it has said so; ``late_writes`` has the sizes of what
    was written after the backup.
    """

    file: Path
    format: str
    evidence: Evidence
    error: BaseException | None = None
    good_bytes: int = 0
    before_end: Callable[[], None] | None = None
    ends: list[str] = field(default_factory=list)
    late_writes: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The dump's size in bytes."""
        return self.file.stat().st_size

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions recorded when the dump was made."""
        return self.evidence.versions

    def failing(self, error: BaseException, good_bytes: int) -> RecordedDump:
        """Return this dump, as it is where its stored file is damaged at byte ``good_bytes``."""
        return replace(self, error=error, good_bytes=good_bytes)

    def open(self) -> Reader:
        """Return a stream of the dump."""
        return _Stream(self)

    def path(self) -> Path:
        """Return the whole dump in a file, which was read to its end before."""
        path = self.workspace() / "dump"
        with path.open("wb") as copy:
            stream = self.open()
            while block := stream.read(1 << 18):
                copy.write(block)
            stream.close()
        return path

    def workspace(self) -> Path:
        """Return a fresh directory."""
        return _fresh_directory(self.file, "restore")


class _Stream:
    def __init__(self, dump: RecordedDump) -> None:
        self._dump = dump
        self._stream = dump.file.open("rb", buffering=0)
        self._bytes_left = dump.good_bytes if dump.error is not None else dump.size

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            collected = Collector()
            while block := self.read(1 << 18):
                collected.write(block)
            return bytes(collected.data)
        block = self._stream.read(min(size, self._bytes_left)) or b""
        self._bytes_left -= len(block)
        if block or not size:
            return block
        if self._dump.before_end is not None:
            self._dump.before_end()
        if self._dump.error is not None:
            raise self._dump.error
        self._dump.ends.append("end")
        return b""

    def close(self) -> None:
        self._stream.close()

    def __del__(self) -> None:
        self._stream.close()  # a driver owes nothing to a stream that dumpty closes


def _fresh_directory(file: Path, purpose: str) -> Path:
    number = 0
    while True:
        path = file.with_name(f"{file.name}.{purpose}.{number}")
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            return path
