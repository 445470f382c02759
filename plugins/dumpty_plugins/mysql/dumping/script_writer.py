"""The text of a dump: what is written around the rows, and how a reader knows that it has all of it.

A dump is a script for the ``mariadb`` or ``mysql`` program, run in the database that it shall fill: it names none.
Order: sequences, tables each with its rows, routines, views (placeholders first, so that their order is free),
triggers, events. Triggers come after the rows, which they must not touch. Outside strings a line break ends a row or
a statement, and inside them none is written. The last line says that the dump is complete and what it holds.

A dump in parts is several such scripts, each with its own last line: one with sequences and tables, then some with
rows, in any order, then one with everything else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty_plugins.mysql.schema.catalog import settings_clause
from dumpty_plugins.mysql.schema.columns import END, escape_breaks
from dumpty_plugins.mysql.schema.generated_columns import UTC
from dumpty_plugins.mysql.schema.stored_objects import stored_object_statements
from dumpty_plugins.mysql.server.sql import identifier
from dumpty_plugins.mysql.server.sql_modes import LOOSE, STRICT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty import PartSink, Section, Sink
    from dumpty_plugins.mysql.schema.catalog import Catalog, StoredObject, Table

STATEMENT_BYTES = 1 << 20
"""No statement is longer, unless one row is."""
_LENIENT_BYTES = 64 << 10
"""Nor is one whose rows may give warnings: a server keeps 65,535 of them, and each must be read."""
MARK = b"-- dumpty: complete,"

_HEADER = """\
-- dumpty {kind} dump{part}, version 1. Load it with: {client} --comments DATABASE < FILE
-- server {version}
SET NAMES utf8mb4;
SET time_zone='+00:00';
{checks}SET sql_mode='{mode}';
"""
_NO_CHECKS = """\
SET FOREIGN_KEY_CHECKS=0;
SET UNIQUE_CHECKS=0;
"""
_PARTS: dict[Section, str] = {
    "whole": "",
    "pre-data": " in parts, the first one",
    "data": " in parts, one with rows, to be loaded after the first and before the last",
    "post-data": " in parts, the last one",
}
_MARK = re.compile(rb"-- dumpty: complete, (\d+) tables, (\d+) rows, (\d+) statements\n\Z")


@dataclass(frozen=True)
class Totals:
    """What the last line of a dump says it holds."""

    tables: int
    rows: int
    statements: int


def totals(line: bytes) -> Totals | None:
    """Return what a last line says, or None where it is no such line."""
    match = _MARK.match(line)
    return Totals(*map(int, match.groups())) if match else None


class Script:
    """Writes one dump, or a part of one, into a sink, in blocks, and counts what it writes."""

    def __init__(self, sink: Sink | PartSink) -> None:
        self._sink = sink
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._statements = 0
        self._length = 0
        self._tables = 0
        self._rows = 0
        self._insert = b""
        self._room = 0
        self._open = False
        self._limit = STATEMENT_BYTES
        self._mode = ""
        self._zone = UTC
        self._collation = ""
        self._now: dict[str, str] = {}
        self.longest = 0

    def write(self, text: bytes) -> None:
        """Add text as it is."""
        self._pending.append(text)
        self._pending_bytes += len(text)
        if self._pending_bytes >= STATEMENT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand everything on to the sink."""
        block, self._pending, self._pending_bytes = b"".join(self._pending), [], 0
        if block:
            self._sink.write(block)

    def statement(self, text: bytes | str) -> None:
        """Add one statement."""
        if isinstance(text, str):
            text = text.encode("utf-8", "surrogateescape")
        self._statements += 1
        self.longest = max(self.longest, len(text))
        self.write(text + b";\n")

    def begin(self, catalog: Catalog, version: str, *, mariadb: bool, section: Section = "whole") -> None:
        """Write the session's settings and, where tables come, the database's own, and its sequences."""
        header = _HEADER.format(
            kind="MariaDB" if mariadb else "MySQL",
            part=_PARTS[section],
            client="mariadb" if mariadb else "mysql",
            version=version.split(maxsplit=1)[0],
            checks="" if section == "post-data" else _NO_CHECKS,
            mode=LOOSE,
        )
        self.write(header.encode())
        self._statements += header.count(";\n")
        self._mode = LOOSE
        self._collation = catalog.settings.collation
        if section == "post-data":
            return
        if mariadb:
            self.statement("SET check_constraint_checks=0")
            # A table that was made without it can be too wide for it.
            self.statement("SET innodb_strict_mode=0")
        if section == "data":
            return
        self.statement(f"ALTER DATABASE{settings_clause(catalog.settings)}")
        for sequence in catalog.sequences:
            self.statement(sequence.create)
            self.statement(sequence.state)

    def create_table(self, table: Table) -> None:
        """Write a table's definition."""
        self._tables += 1
        self.write(b"\n")
        self._set_mode(LOOSE)
        self._set_zone(UTC)
        self.statement(table.create)

    def begin_part_of_table(self, table: Table, zone: str) -> None:
        """Get ready for rows of a table that another part defines."""
        self._tables += 1
        self.write(b"\n")
        self.begin_rows(table, zone)

    def begin_rows(self, table: Table, zone: str = UTC) -> None:
        """Get ready for rows of a table that is defined, whose times are given in ``zone``."""
        self._set_mode(LOOSE if table.lenient else STRICT)
        self._set_zone(zone)
        self._limit = min(STATEMENT_BYTES, _LENIENT_BYTES) if table.lenient else STATEMENT_BYTES
        if table.versioned:
            self.statement("SET system_versioning_insert_history=1")
        names = ",".join(identifier(c.name) for c in table.columns)
        self._insert = f"INSERT INTO {identifier(table.name)} ({names}) VALUES\n".encode()

    def rows(self, block: bytes, count: int) -> None:
        """Add ``count`` rows, finished but for their line breaks, each ended by ``END``."""
        self._rows += count
        block = escape_breaks(block).replace(END, b",\n")
        while block:
            if not self._open:
                self._room = self._limit - len(self._insert)
            if len(block) <= self._room:
                cut = len(block)
            else:
                cut = block.rfind(b",\n", 0, max(self._room, 0)) + 2
                if cut == 1:  # none was found: not even one row has room
                    if self._open:
                        self._end_insert()
                        continue
                    cut = block.index(b",\n") + 2
            self._add(block[: cut - 2])
            self._room -= cut
            block = block[cut:]

    def _add(self, rows: bytes) -> None:
        if self._open:
            self.write(b",\n" + rows)
            self._length += 2 + len(rows)
        else:
            self._open = True
            self._statements += 1
            self._length = len(self._insert) + len(rows)
            self.write(self._insert)
            self.write(rows)

    def _end_insert(self) -> None:
        if self._open:
            self._open = False
            self.longest = max(self.longest, self._length)
            self.write(b";\n")

    def end_rows(self, table: Table) -> None:
        """Close the table's last statement."""
        self._end_insert()
        if table.versioned:
            self.statement("SET system_versioning_insert_history=0")

    def _set_mode(self, mode: str) -> None:
        if mode != self._mode:
            self._mode = mode
            self.statement(f"SET sql_mode='{mode}'")

    def _set_zone(self, zone: str) -> None:
        if zone != self._zone:
            self._zone = zone
            self.statement(f"SET time_zone='{zone}'")

    def stored_objects(self, objects: Sequence[StoredObject]) -> None:
        """Write views, routines, triggers and events, in an order in which each can be created."""
        self._set_mode(LOOSE)
        self._set_zone(UTC)
        for statement in stored_object_statements(objects, self._collation):
            if statement.delimiter:
                self._statements += 1
                delimiter = statement.delimiter
                # On a line of its own: a body may end in a comment.
                self.write(b"DELIMITER " + delimiter + b"\n" + statement.text + b"\n" + delimiter + b"\nDELIMITER ;\n")
            else:
                self.statement(statement.text)

    def end(self) -> None:
        """Write the line that makes the dump complete, and hand everything on."""
        self.write(b"\n%b %d tables, %d rows, %d statements\n" % (MARK, self._tables, self._rows, self._statements))
        self.flush()
