"""The sink and the dump that ``DriverSuite`` hands to a driver, the ones that fail included."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dumpty.errors import PluginError
from dumpty.testing.streams import Collector
from dumpty.types import TableContent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from dumpty.types import Buffer, Evidence, Reader, Section

__all__ = ["FileSink", "RecordedDump", "RecordedPart"]


class FileSink:
    """Writes a dump into a file, or its parts into files beside that.

    ``before_write`` is called before each write, with the dump's size before and after it. What it raises is raised at
    every further write, too, as dumpty's own sink does. ``parts``: whether the format has them.
    """

    def __init__(
        self, path: Path, before_write: Callable[[int, int], None] | None = None, *, parts: bool = False
    ) -> None:
        self.file = path
        self.size = 0
        self._before_write = before_write
        self._has_parts = parts
        self.error: BaseException | None = None
        self.late_writes: list[int] = []
        self.unfinished = 0
        self._spaces = 0
        self._closed = False
        self._lock = threading.Lock()
        self._begun: list[_FilePart] = []
        self._whole = _FilePart(self, path, "whole", "")

    @property
    def recorded(self) -> tuple[RecordedPart, ...]:
        """What was written."""
        parts = self._begun if self._has_parts else [self._whole]
        return tuple(p.recorded for p in parts)

    def write(self, data: Buffer) -> int:
        """Take every byte, or raise what ``before_write`` raises; after ``close``, note it."""
        if self._has_parts:
            raise PluginError("this format is written in parts: write into those of sink.part()")
        return self._whole.write(data)

    def expect(self, total_bytes: int) -> None:
        """Nobody watches."""

    def directory(self) -> Path:
        """Refuse: the suite asks for formats that are streams."""
        raise PluginError("this format was not declared with directory=True, so it is written as a stream")

    @contextlib.contextmanager
    def part(self, *, section: Section = "data", suffix: str = "", at_once: int = 1) -> Iterator[_FilePart]:
        """Begin a part."""
        if not self._has_parts:
            raise PluginError("this format was not declared with parts=True, so it is written as one stream")
        if self._closed or at_once < 1:
            raise ValueError("a part is begun while backup() runs, of at least one that is written at once")
        with self._lock:
            path = self.file.with_name(f"{self.file.name}.p{len(self._begun) + 1}")
            part = _FilePart(self, path, section, suffix)
            self._begun.append(part)
        try:
            yield part
            part.left = True
            if self.error is not None:
                raise self.error
        except GeneratorExit:  # nobody left it, and nobody has it any more
            raise
        except BaseException as error:
            part.left = True
            self.error = self.error or error
            raise
        finally:
            part.close()

    def workspace(self) -> Path:
        """Return a fresh directory."""
        self._spaces += 1
        return _fresh_directory(self.file, f"work{self._spaces}")

    def close(self) -> None:
        """Close the file; what is written into a part still is late."""
        self._closed = True
        self.unfinished = sum(not part.left for part in self._begun)
        for part in (self._whole, *self._begun):
            part.close()

    def allow(self, size: int) -> None:
        """Let so many bytes more be written, or raise."""
        if self.error is not None:
            raise self.error
        with self._lock:
            begin, self.size = self.size, self.size + size
        try:
            if self._before_write is not None:
                self._before_write(begin, begin + size)
        except BaseException as error:
            self.error = error
            raise


class _FilePart:
    def __init__(self, sink: FileSink, path: Path, section: Section, suffix: str) -> None:
        self._sink = sink
        self._path = path
        self._section: Section = section
        self._suffix = suffix
        self._tables: list[TableContent] = []
        self._stream = path.open("wb", buffering=0)
        self.left = False

    @property
    def recorded(self) -> RecordedPart:
        return RecordedPart(file=self._path, section=self._section, suffix=self._suffix, tables=tuple(self._tables))

    def write(self, data: Buffer) -> int:
        if self._stream.closed:
            self._sink.late_writes.append(len(data))
            raise ValueError("write to a sink whose backup has ended")
        view = memoryview(data).cast("B")
        self._sink.allow(len(view))
        written = 0
        while written < len(view):
            written += self._stream.write(view[written:])
        return written

    def holds(self, path: str, /, *, rows: int | None = None, range: str = "") -> None:
        if any(table.path == path for table in self._tables):
            raise ValueError(f"what the part holds of {path} was told before")
        self._tables.append(TableContent(path=path, rows=rows, range=range))

    def close(self) -> None:
        self._stream.close()


@dataclass(frozen=True, kw_only=True)
class RecordedPart:
    """One part of a dump, in a file; ``error`` is raised by its streams in the place of the byte at ``good_bytes``."""

    file: Path
    section: Section = "whole"
    suffix: str = ""
    tables: tuple[TableContent, ...] = ()
    error: BaseException | None = None
    good_bytes: int = 0
    before_end: Callable[[], None] | None = None
    ends: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.file.stat().st_size

    def open(self) -> Reader:
        """Return a stream of it."""
        return _Stream(self)

    def path(self) -> Path:
        """Return the whole of it in a file, which was read to its end before."""
        path = _fresh_directory(self.file, "restore") / "dump"
        with path.open("wb") as copy:
            stream = self.open()
            while block := stream.read(1 << 18):
                copy.write(block)
            stream.close()
        return path


@dataclass(frozen=True, kw_only=True)
class RecordedDump:
    """A dump in a file, or in several, as a driver sees it.

    ``error`` is what ``failing`` was given; ``before_end`` is called before a stream says that it is at its end; each
    time it has said so stands in ``ends`` of its part; ``late_writes`` has the sizes of what was written after the
    backup, ``unfinished`` is the number of parts that were not left then.
    """

    recorded: tuple[RecordedPart, ...]
    format: str
    evidence: Evidence
    error: BaseException | None = None
    before_end: Callable[[], None] | None = None
    late_writes: list[int] = field(default_factory=list)
    unfinished: int = 0

    @property
    def parts(self) -> tuple[RecordedPart, ...]:
        """Its parts."""
        return tuple(replace(part, before_end=self.before_end) for part in self.recorded)

    @property
    def size(self) -> int:
        """The dump's size in bytes."""
        return sum(part.size for part in self.recorded)

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions recorded when the dump was made."""
        return self.evidence.versions

    @property
    def read_to_end(self) -> bool:
        """Whether a stream of every part has said that it is at its end."""
        return all(part.ends for part in self.recorded)

    def failing(self, error: BaseException, good_bytes: int) -> RecordedDump:
        """Return this dump, as it is where its stored bytes are damaged at byte ``good_bytes``."""
        parts, left = [], good_bytes
        for part in self.recorded:
            is_damaged = 0 <= left < part.size or (0 <= left == part.size and part is self.recorded[-1])
            parts.append(replace(part, error=error, good_bytes=left) if is_damaged else part)
            left -= part.size
        return replace(self, recorded=tuple(parts), error=error)

    def with_part(self, number: int, file: Path) -> RecordedDump:
        """Return this dump with another file in the place of that of a part, and nothing read."""
        parts = [replace(part, ends=[]) for part in self.recorded]
        parts[number] = replace(parts[number], file=file)
        return replace(self, recorded=tuple(parts))

    def open(self) -> Reader:
        """Return a stream of the dump."""
        [part] = self.parts
        return part.open()

    def path(self) -> Path:
        """Return the whole dump in a file, which was read to its end before."""
        [part] = self.parts
        return part.path()

    def workspace(self) -> Path:
        """Return a fresh directory."""
        return _fresh_directory(self.recorded[0].file, "restore")


class _Stream:
    def __init__(self, part: RecordedPart) -> None:
        self._part = part
        self._stream = part.file.open("rb", buffering=0)
        self._bytes_left = part.good_bytes if part.error is not None else part.size

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
        if self._part.before_end is not None:
            self._part.before_end()
        if self._part.error is not None:
            raise self._part.error
        self._part.ends.append("end")
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
