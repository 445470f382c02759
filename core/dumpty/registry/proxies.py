"""Objects that plugins hand over, each of whose answers is checked when it is given."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from dumpty.registry.returned import Boundary
    from dumpty.types import Buffer, Reader, RowValue, Scratch, Source, TableRows, Verifier, Writer

__all__ = ["CheckedReader", "CheckedRows", "CheckedVerifier", "CheckedWriter", "checked_rows", "checked_scratch"]


@contextlib.contextmanager
def checked_scratch(boundary: Boundary, context: AbstractContextManager[object]) -> Iterator[CheckedScratch]:
    """Lend the scratch database of ``context`` as one whose answers are checked.

    Raises:
        PluginError: an answer is not what it should be.
    """
    failure: BaseException | None = None
    with context as scratch:
        try:
            boundary.check_scratch(scratch)
        except BaseException as error:
            failure = error
            raise
        yield CheckedScratch(boundary, cast("Scratch", scratch))
    if failure is not None:  # a scratch that swallows what is raised in its block makes nothing good
        raise failure


class CheckedScratch:
    """A driver's scratch database."""

    def __init__(self, boundary: Boundary, scratch: Scratch) -> None:
        self._scratch = scratch
        self.target: Source = scratch.target
        mask = replace(boundary.mask, secrets=(*boundary.mask.secrets, *filter(None, self.target.secrets)))
        self._boundary = replace(boundary, mask=mask)
        self.versions: Mapping[str, str] = dict(scratch.versions)
        self.notes: tuple[str, ...] = getattr(scratch, "notes", ())
        self.rehearsal: str = getattr(scratch, "rehearsal", "")

    @property
    def not_proved(self) -> tuple[str, ...]:
        """What of the dump was left out; to be asked after the restore."""
        texts: tuple[str, ...] = getattr(self._scratch, "not_proved", ())
        self._boundary.check_texts("Scratch", "not_proved", texts)
        return texts

    @property
    def differs(self) -> tuple[str, ...]:
        """What is not as on the server that the dump came from; to be asked after the restore."""
        texts: tuple[str, ...] = getattr(self._scratch, "differs", ())
        self._boundary.check_texts("Scratch", "differs", texts)
        return texts

    @property
    def has_shell(self) -> bool:
        """Whether the driver says what its shell is."""
        return callable(getattr(self._scratch, "shell", None))

    def shell(self) -> tuple[str, ...]:
        """Return the arguments of the database's own client, if it ``has_shell``."""
        argv: tuple[str, ...] = self._scratch.shell()  # type: ignore[attr-defined]  # a part of the contract that may be left out
        self._boundary.check_texts("Scratch", "shell()", argv or None)  # an empty one starts nothing
        return argv

    def environment(self) -> Mapping[str, str | None]:
        """Return the variables that lead the database's own programs here; none where the driver knows none."""
        method = getattr(self._scratch, "environment", dict)
        variables: Mapping[str, str | None] = method()
        self._boundary.check_environment(variables)
        return dict(variables)

    @property
    def can_clone(self) -> bool:
        """Whether the driver can copy what was restored."""
        return callable(getattr(self._scratch, "clone", None))

    @property
    def has_others(self) -> bool:
        """Whether the driver lends more scratch databases beside this one."""
        return callable(getattr(self._scratch, "another", None))

    def clone(self) -> AbstractContextManager[CheckedScratch]:
        """Lend a copy of what was restored, if it ``can_clone``."""
        return checked_scratch(self._boundary, self._scratch.clone())  # type: ignore[attr-defined]  # as shell()

    def another(self) -> AbstractContextManager[CheckedScratch]:
        """Lend another scratch database, which is empty, if it ``has_others``."""
        return checked_scratch(self._boundary, self._scratch.another())  # type: ignore[attr-defined]  # as shell()

    def check(self) -> tuple[str, ...]:
        """Run the engine's own checks, and return the names of those that were run."""
        names = self._scratch.check()
        self._boundary.check_texts("Scratch", "check()", names)
        return names

    def ask(self, statement: str, /) -> list[tuple[object, ...]]:
        """Run a query and return its rows."""
        rows = self._scratch.ask(statement)
        self._boundary.check_rows(rows)
        return rows


@contextlib.contextmanager
def checked_rows(boundary: Boundary, context: AbstractContextManager[object]) -> Iterator[CheckedRows]:
    """Lend the rows of ``context`` as rows each of which is checked.

    Raises:
        PluginError: it is not what it should be.
    """
    failure: BaseException | None = None
    with context as rows:
        try:
            boundary.check_table_rows(rows)
            yield CheckedRows(boundary, cast("TableRows", rows))
        except BaseException as error:
            failure = error
            raise
    if failure is not None:  # rows that swallow what is raised in their block make nothing good
        raise failure


class CheckedRows:
    """The rows of a table."""

    def __init__(self, boundary: Boundary, rows: TableRows) -> None:
        self._boundary, self._rows = boundary, rows
        self.columns, self.key = rows.columns, rows.key

    def __iter__(self) -> Iterator[tuple[RowValue, ...]]:
        """Return the rows."""
        check, size = self._boundary.check_row, len(self.columns)
        for row in self._rows:
            check(row, size)
            yield row


class CheckedVerifier:
    """A digest of a plugin's, under construction."""

    def __init__(self, boundary: Boundary, verifier: Verifier) -> None:
        self._boundary, self._verifier = boundary, verifier

    def update(self, data: Buffer, /) -> None:
        """Add bytes."""
        self._verifier.update(data)

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far, in hexadecimal."""
        digest = self._verifier.hexdigest()
        self._boundary.check_digest(digest)
        return digest


class CheckedWriter:
    """A cipher's writer."""

    def __init__(self, boundary: Boundary, writer: Writer) -> None:
        self._boundary, self._writer = boundary, writer

    def write(self, data: Buffer, /) -> int:
        """Take every byte and return their number."""
        size = memoryview(data).nbytes
        self._boundary.check_written(self._writer.write(data), size)
        return size

    def close(self) -> None:
        """Flush everything to the sink."""
        self._writer.close()

    def abandon(self) -> None:
        """End what it holds, after something failed."""
        abandon = getattr(self._writer, "abandon", None)
        if callable(abandon):
            abandon()


class CheckedReader:
    """A cipher's reader."""

    def __init__(self, boundary: Boundary, reader: Reader) -> None:
        self._boundary, self._reader = boundary, reader

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, b"" at the end only."""
        data = self._reader.read(size)
        self._boundary.check_read(data, size)
        return data

    def close(self) -> None:
        """Release what it holds."""
        self._reader.close()
