"""Building a database from a dump in the sql format."""

from __future__ import annotations

import contextlib
import functools
import re
import sqlite3
from typing import TYPE_CHECKING

from dumpty import Evidence, IntegrityError, require_same_evidence
from dumpty.process import BLOCK
from dumpty_plugins.sqlite.dumping.text_dump import BEGIN_ANEW, HEADER, LARGEST_ROW
from dumpty_plugins.sqlite.files.connection import connect, interruptible
from dumpty_plugins.sqlite.loading.soundness import report_damage, require_sound
from dumpty_plugins.sqlite.schema import checks
from dumpty_plugins.sqlite.schema.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from dumpty import Dump, Reader

_FRAME = re.compile(rb"-- dumpty: (\d{1,12}) bytes\n")
_END = re.compile(rb"-- dumpty: end of dump, (\d{1,18}) tables, (\d{1,18}) rows\n")
_LONGEST_LINE = 200
_LONGEST_STATEMENT = 2 * LARGEST_ROW
_CACHE_KIB = 16 * 1024
_SORTING_THREADS = 2
"""Threads that sort the keys of an index while it is built. With a larger cache both take longer, and more memory."""


def load_text(dump: Dump, part: str, *, check: bool, ignore: Collection[str] = ()) -> Evidence:
    """Build the database ``part`` from the dump and prove it.

    Raises:
        IntegrityError: the dump is cut short, damaged, asks for what a dump may not do, or brings other rows than
            were dumped.
    """
    with report_damage(part):
        with contextlib.closing(dump.open()) as reader, contextlib.closing(connect(part, "rw")) as database:
            tables, rows = interruptible(database, functools.partial(_execute, database, Statements(reader)))
        with contextlib.closing(connect(part, "rw")) as database:  # nothing cached, and no authorizer
            if check:
                require_sound(database)
            objects = interruptible(database, functools.partial(checks.count_tables, database))
    loaded = (len(objects), sum(table_evidence.rows or 0 for table_evidence in objects))
    if loaded != (tables, rows):
        raise IntegrityError(
            f"the dump ends by saying that it holds {rows} rows in {tables} tables, but {loaded[1]} rows in {loaded[0]}"
            " tables were loaded: it is damaged, restore another backup"
        )
    evidence = Evidence(objects=objects, versions=checks.versions())
    require_same_evidence(expected=dump.evidence, found=evidence, subject="the restored database", ignore=ignore)
    return evidence


def _execute(database: sqlite3.Connection, statements: Statements) -> tuple[int, int]:
    # The file is thrown away if anything fails: it needs no journal, and is synced once, when it is whole.
    database.execute("PRAGMA journal_mode=OFF")
    database.execute("PRAGMA synchronous=OFF")
    database.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    database.execute(f"PRAGMA threads={_SORTING_THREADS}")
    guard = Guard(database)
    for statement in statements:
        try:
            for part in statement.split("; ") if statement.startswith(BEGIN_ANEW) else (statement,):
                database.execute(part)
        except (sqlite3.Error, sqlite3.Warning) as error:
            if guard.refusal:
                raise IntegrityError(f"the dump was refused: {guard.refusal}") from error
            raise
    if database.in_transaction:
        raise IntegrityError("the dump ends without its COMMIT: restore another backup")
    return statements.tables, statements.rows


class Statements:
    """The statements of a dump, one after another, as its own byte counts separate them.

    After the last, ``tables`` and ``rows`` hold what the end marker says.
    """

    def __init__(self, reader: Reader) -> None:
        self.tables = self.rows = 0
        self._reader = reader
        self._block = b""
        self._position = 0

    def __iter__(self) -> Iterator[str]:
        if not self._read_line().startswith(HEADER.encode()):
            raise IntegrityError(f"this is not a SQL dump made by dumpty: it does not begin with {HEADER!r}")
        while True:
            line = self._read_line()
            if end := _END.fullmatch(line):
                self.tables, self.rows = int(end[1]), int(end[2])
                if self._read(1):
                    raise IntegrityError("the dump goes on after its end marker: it is damaged, restore another backup")
                return
            frame = _FRAME.fullmatch(line)
            if not frame or int(frame[1]) > _LONGEST_STATEMENT:
                raise self._damage_error("no statement begins here")
            statement = self._read(int(frame[1]))
            if len(statement) < int(frame[1]):
                raise IntegrityError("the dump is cut short: its end marker is missing, restore another backup")
            if not statement.endswith(b";\n"):
                raise self._damage_error("a statement ends elsewhere")
            if b"\0" in statement:
                raise self._damage_error("a statement holds a NUL")
            try:
                yield statement.decode()
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
                raise IntegrityError("the dump is cut short: its end marker is missing, restore another backup")
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
