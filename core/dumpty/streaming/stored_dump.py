"""The way back: a stored dump, verified, decrypted, decompressed and handed to a driver, in one object or in parts."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Self

from dumpty.errors import IntegrityError, PluginError
from dumpty.process.call import current_call, raise_if_cancelled, working_for
from dumpty.process.interruption import current_interruption
from dumpty.streaming.stored import Stored, StoredPart, WholeReader, check_part, open_part, plain_reader, whole_reader
from dumpty.streaming.streams import BLOCK, VerifyingReader
from dumpty.streaming.workspace import workspace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dumpty.process.call import Call
    from dumpty.process.interruption import Interruption
    from dumpty.registry.host import Host
    from dumpty.streaming.reporter import Reporter
    from dumpty.types import Evidence, ObjectSource, Reader, Section, TableContent

__all__ = ["DumpPart", "StoredDump"]


class StoredDump:
    """A dump on its way back, as a driver sees it (``dumpty.types.Dump``). A context manager.

    The stored bytes are checked while they are read; ``checked`` says that they have been, a moment ago. ``reporter``
    is told how much was read.
    """

    def __init__(
        self,
        host: Host,
        repository: ObjectSource,
        stored: Stored,
        reporter: Reporter | None = None,
        *,
        checked: bool = False,
    ) -> None:
        self._repository = repository
        self._stored = stored
        self._stack = contextlib.ExitStack()
        self.parts = tuple(DumpPart(self, host, repository, part, checked=checked) for part in stored.parts)
        self._lock = threading.Lock()
        self._reporter = reporter
        self._passed = self._repeated = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stack:
            stack.push(self._stack)
            for part in self.parts:
                stack.callback(part.close)

    @property
    def file(self) -> str:
        return self._stored.file

    @property
    def format(self) -> str:
        return self._stored.format.name

    @property
    def size(self) -> int:
        return self._stored.plain_size

    @property
    def evidence(self) -> Evidence:
        return self._stored.evidence

    @property
    def versions(self) -> Mapping[str, str]:
        return self._stored.evidence.versions

    @property
    def read_to_end(self) -> bool:
        """Whether the driver saw, of every part, the verified end of some stream, or was given the verified file."""
        return all(part.read_to_end for part in self.parts)

    @property
    def was_opened(self) -> bool:
        """Whether the driver was given any of it."""
        return any(part.was_opened for part in self.parts)

    def open(self) -> Reader:
        return self._only_part().open()

    def path(self) -> Path:
        return self._only_part().path()

    def workspace(self) -> Path:
        encrypted = any(stage.is_cipher for stage in self._stored.stages)
        with self._lock:
            return self._stack.enter_context(workspace_of(self._repository, encrypted=encrypted))

    def _only_part(self) -> DumpPart:
        if len(self.parts) == 1:
            return self.parts[0]
        raise PluginError(f"the format {self.format} is of {len(self.parts)} parts: open these, not the dump")

    def add_passed(self, size: int) -> None:
        """Report that so many more bytes were read, in whichever thread."""
        if self._reporter is not None:
            with self._lock:
                self._passed += size
                self._reporter.bytes(self._passed, self.size + self._repeated)

    def add_repeated(self, size: int) -> None:
        """Expect so many bytes more than there are: they were read, and a further pass over them begins."""
        with self._lock:
            self._repeated += size


class DumpPart:
    """One object of a dump on its way back (``dumpty.types.DumpPart``)."""

    def __init__(
        self, dump: StoredDump, host: Host, repository: ObjectSource, stored: StoredPart, *, checked: bool
    ) -> None:
        self._dump = dump
        self._host = host
        self._repository = repository
        self._stored = stored
        self._checked = checked
        self._stack = contextlib.ExitStack()
        self._streams: list[VerifyingReader | WholeReader] = []
        self._spool: Path | None = None
        self._passed = 0
        self._interruption = current_interruption()
        self._call = current_call()

    @property
    def section(self) -> Section:
        return self._stored.section

    @property
    def tables(self) -> tuple[TableContent, ...]:
        return self._stored.tables

    @property
    def suffix(self) -> str:
        return self._stored.suffix

    @property
    def size(self) -> int:
        return self._stored.plain_size

    @property
    def read_to_end(self) -> bool:
        """Whether its verified end was seen, or the verified file given."""
        return self._spool is not None or any(s.complete for s in self._streams)

    @property
    def was_opened(self) -> bool:
        """Whether any of it was given."""
        return self._spool is not None or bool(self._streams)

    def open(self) -> Reader:
        reader: VerifyingReader | WholeReader
        with contextlib.ExitStack() as stack, working_for(self._call):
            if self._checked:
                stream = open_part(self._repository, self._stored)
                stack.callback(stream.close)
                reader = plain_reader(self._host, stream, self._stored, stack)
            else:
                reader = whole_reader(self._host, self._repository, self._stored, stack)
            opened = stack.pop_all()
        self._stack.callback(opened.close)
        self._streams.append(reader)
        self._dump.add_repeated(self._passed)
        self._passed = 0
        return _ReportingReader(reader, opened, self._add_passed, self._interruption, self._call)

    def _add_passed(self, size: int) -> None:
        self._passed += size
        self._dump.add_passed(size)

    def path(self) -> Path:
        self._interruption.check()
        if self._spool is None:
            as_stored = self._stored.directory or not self._stored.stages
            path = self._repository.local_path(self._stored.file) if as_stored else None
            if path is None:
                path = self._spool_dump()
            elif not self._checked:  # it is handed over as it lies: no copy
                with working_for(self._call):
                    check_part(self._host, self._repository, self._stored)
            self._spool = path
        return self._spool

    def close(self) -> None:
        """End what reads it."""
        self._stack.close()

    def _spool_dump(self) -> Path:
        path = self._dump.workspace() / ("dump" + self._stored.suffix)
        stream = self.open()
        with path.open("xb", buffering=0) as file:
            while block := stream.read(BLOCK):
                file.write(block)
        if path.stat().st_size != self.size:
            raise IntegrityError(f"{path} could not be written whole")
        return path


class _ReportingReader:
    """Reports what is read, and gives nothing more once an interrupt came: a driver that swallowed it ends, too.

    ``opened`` ends what it comes from: at its end, too, for of many parts, none holds what it needs no more.
    """

    def __init__(
        self,
        stream: Reader,
        opened: contextlib.ExitStack,
        add_passed: Callable[[int], None],
        interruption: Interruption,
        call: Call | None,
    ) -> None:
        self._stream = stream
        self._opened = opened
        self._add_passed = add_passed
        self._interruption = interruption
        self._call = call

    def read(self, size: int = -1) -> bytes:
        self._interruption.check()
        with working_for(self._call):
            raise_if_cancelled()
            data = self._stream.read(size)
            self._add_passed(len(data))
            if size is None or size < 0 or (size and not data):
                self._opened.close()
        return data

    def close(self) -> None:
        self._opened.close()
