"""The statements of a dump of text, as its own byte counts separate them."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

from dumpty import IntegrityError, parts_by_section
from dumpty.process import BLOCK
from dumpty_plugins.sqlite.dumping.parts import END_OF_PART
from dumpty_plugins.sqlite.dumping.text_dump import HEADER, LARGEST_ROW
from dumpty_plugins.sqlite.schema.checks import folded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from dumpty import Dump, Reader

__all__ = ["Statements", "statements_of"]

_FRAME = re.compile(rb"-- dumpty: (\d{1,12}) bytes\n")
_TABLE = re.compile(rb"-- dumpty: rows of table (\d{1,9})\n")
_END = re.compile(rb"-- dumpty: end of dump, (\d{1,18}) tables, (\d{1,18}) rows\n")
_LONGEST_LINE = 200
_LONGEST_STATEMENT = 2 * LARGEST_ROW


def statements_of(dump: Dump, tables: Collection[str] | None) -> Statements:
    """Return the statements of a dump.

    Of one in parts, where ``tables`` (``folded`` names) are given, without the rows of others.

    Raises:
        IntegrityError: while they are read: it is damaged, or cut short.
    """
    return _InParts(dump, tables) if dump.format == "parallel" else Statements(dump)


class Statements:
    """The statements of a dump, one after another.

    After the last, ``tables`` and ``rows`` hold what the end marker says.
    """

    def __init__(self, dump: Dump) -> None:
        self.tables = self.rows = 0
        self._dump = dump

    def __iter__(self) -> Iterator[str]:
        with closing(self._dump.open()) as reader:
            script = _Script(reader)
            for _, statement in script:
                yield statement
            self._take_totals(script)

    def _take_totals(self, script: _Script) -> None:
        if script.totals is None:
            raise _cut_short()
        self.tables, self.rows = script.totals


class _InParts(Statements):
    """Those of a dump in parts."""

    def __init__(self, dump: Dump, tables: Collection[str] | None) -> None:
        super().__init__(dump)
        self._wanted = tables

    def __iter__(self) -> Iterator[str]:
        first, rows, last = parts_by_section(dump=self._dump)
        for part in (first, *rows, last):
            with closing(part.open()) as reader:
                script = _Script(reader, len(part.tables))
                for number, statement in script:
                    if number == 0 or self._wanted is None or folded(part.tables[number - 1].path) in self._wanted:
                        yield statement
            if part is last:
                self._take_totals(script)
            elif script.totals is not None:
                raise IntegrityError("a part of the dump ends as if it were the last one: is it forged?")


class _Script:
    """One stream of text: a dump, or a part of one, with the rows of so many ``tables``.

    Yields statements behind the number of the table that they bring rows of, counted from 1; 0 for all others.
    ``totals`` is what the end marker of a dump counts, tables and rows; None where a part ends.
    """

    def __init__(self, reader: Reader, tables: int = 0) -> None:
        self.totals: tuple[int, int] | None = None
        self._reader = reader
        self._tables = tables
        self._block = b""
        self._position = 0

    def __iter__(self) -> Iterator[tuple[int, str]]:
        if not self._read_line().startswith(HEADER.encode()):
            raise IntegrityError(f"this is not a SQL dump made by dumpty: it does not begin with {HEADER!r}")
        table = 0
        while True:
            line = self._read_line()
            if (frame := _FRAME.fullmatch(line)) and (table or not self._tables):
                yield table, self._statement(int(frame[1]))
            elif (marker := _TABLE.fullmatch(line)) and int(marker[1]) == table + 1 <= self._tables:
                table += 1
            elif table == self._tables and (line == END_OF_PART or _END.fullmatch(line)):
                break
            else:
                raise self._damage_error("no statement begins here")
        if end := _END.fullmatch(line):
            self.totals = int(end[1]), int(end[2])
        if self._read(1):
            raise IntegrityError("the dump goes on after its end marker: it is damaged, restore another backup")

    def _statement(self, size: int) -> str:
        if size > _LONGEST_STATEMENT:
            raise self._damage_error("no statement begins here")
        statement = self._read(size)
        if len(statement) < size:
            raise _cut_short()
        if not statement.endswith(b";\n"):
            raise self._damage_error("a statement ends elsewhere")
        if b"\0" in statement:
            raise self._damage_error("a statement holds a NUL")
        try:
            return statement.decode()
        except UnicodeDecodeError as error:
            raise self._damage_error("a statement is not valid UTF-8") from error

    def _read_line(self) -> bytes:
        line_end = self._block.find(b"\n", self._position, self._position + _LONGEST_LINE) + 1
        if line_end:
            line = self._block[self._position : line_end]
            self._position = line_end
            return line
        return self._read_line_across_blocks()

    def _read_line_across_blocks(self) -> bytes:
        line = bytearray()
        while len(line) < _LONGEST_LINE:
            byte = self._read(1)
            if not byte:
                raise _cut_short()
            line += byte
            if byte == b"\n":
                break
        return bytes(line)

    def _read(self, count: int) -> bytes:
        if self._position + count <= len(self._block):
            self._position += count
            return self._block[self._position - count : self._position]
        parts: list[bytes] = []
        while count:
            if self._position == len(self._block):
                self._block, self._position = self._reader.read(BLOCK), 0
                if not self._block:
                    break
            piece = self._block[self._position : self._position + count]
            self._position += len(piece)
            count -= len(piece)
            parts.append(piece)
        return b"".join(parts)

    def _damage_error(self, finding: str) -> IntegrityError:
        return IntegrityError(f"the dump is damaged ({finding}): restore another backup")


def _cut_short() -> IntegrityError:
    return IntegrityError("the dump is cut short: its end marker is missing, restore another backup")
