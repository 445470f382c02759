"""Reads a dump, one script or several parts, as one sequence of statements; what a part may say depends on what it is.

A part with rows holds those of the tables that the backup says it holds, as many of each as were written, and nothing
else: whoever can alter a part could otherwise put a trigger before the rows, or rows into another table.

Each table's definition comes right before its rows, as in a dump that is one script: what refers to a table that is not
there yet does not hinder it from doing without its keys while it is filled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import IntegrityError, parts_by_section
from dumpty.process import masks
from dumpty_plugins.mysql.dumping.script_writer import Totals
from dumpty_plugins.mysql.loading.allowlist import INSERT, STORED_OBJECTS, Statement
from dumpty_plugins.mysql.loading.statements import StatementReader
from dumpty_plugins.mysql.server.sql_modes import LOOSE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dumpty import Dump, DumpPart, Reader, Section

_NAMED_TABLES = 3
_KINDS: dict[Section, frozenset[str]] = {
    "pre-data": frozenset({"SET", "DATABASE", "SEQUENCE", "SETVAL", "TABLE"}),
    "data": frozenset({"SET", "INSERT"}),
    "post-data": frozenset({"SET", "DATABASE"}) | STORED_OBJECTS,
}


_SETTINGS_OF_TABLES = (
    Statement(b"SET time_zone='+00:00'", "SET"),
    Statement(f"SET sql_mode='{LOOSE}'".encode(), "SET"),
)


class DumpReader:
    """Iterates over the statements of a dump, once; afterwards ``totals`` is what its last lines say.

    The parts of a table with rows follow each other. What was opened is closed by ``close``, and at the end.

    Args:
        dump: read to its verified end.

    Raises:
        IntegrityError: it is cut short, or says what no dump of ours says; a part is none of a backup's, or not there.
    """

    def __init__(self, dump: Dump) -> None:
        self._dump = dump
        self._parts = parts_in_order(dump) if dump.format == "parallel" else ()
        self._stream: Reader | None = None
        self._definitions: dict[str, Statement] = {}
        self.totals = self._last = Totals(0, 0, 0)

    def close(self) -> None:
        """Close what is open. Harmless twice."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __iter__(self) -> Iterator[Statement]:
        if not self._parts:
            yield from self._script(self._dump)
        for part in self._parts:
            yield from self._part(part)

    def _script(self, script: Dump | DumpPart, kinds: frozenset[str] | None = None) -> Iterator[Statement]:
        self._stream = script.open()
        try:
            reader = StatementReader(self._stream)
            for statement in reader:
                if kinds is not None and statement.kind not in kinds:
                    raise IntegrityError(
                        f"a part of the dump says «{statement.kind} {statement.name}», which stands in no such part: "
                        "is it forged?"
                    )
                yield statement
        finally:
            self.close()
        if reader.totals is None:
            raise IntegrityError("the dump has no last line: it is cut short; take another backup")
        tables = reader.totals.tables if kinds is not _KINDS["data"] else 0
        self._last = reader.totals
        self.totals = Totals(
            self.totals.tables + tables,
            self.totals.rows + reader.totals.rows,
            self.totals.statements + reader.totals.statements,
        )

    def _part(self, part: DumpPart) -> Iterator[Statement]:
        counts: dict[str, int] = {}
        yield from self._define(self._defined_by(part))
        for statement in self._script(part, _KINDS[part.section]):
            if statement.kind == "INSERT":
                if not any(_names(t.path, statement.name) for t in part.tables):
                    raise IntegrityError(
                        f"a part of the dump holds rows of {statement.name}, which it is not of: is it forged?"
                    )
                counts[statement.name] = counts.get(statement.name, 0) + row_count(statement)
            if statement.kind == "TABLE":
                self._definitions[statement.name] = statement
            else:
                yield statement
        _check_counts(part, counts, self._last)

    def _defined_by(self, part: DumpPart) -> list[str]:
        """Return the tables that are to be there before a part is loaded, and are not."""
        if part.section == "post-data":
            return list(self._definitions)
        names = [t.path for t in part.tables if t.path in self._definitions]
        masked = [t.path for t in part.tables if masks(t.path, t.path)]
        return names + [n for n in self._definitions if n not in names and any(masks(path, n) for path in masked)]

    def _define(self, names: Sequence[str]) -> Iterator[Statement]:
        if names:
            yield from _SETTINGS_OF_TABLES
        for name in names:
            yield self._definitions.pop(name)


def row_count(statement: Statement) -> int:
    """Return how many rows an INSERT holds: each is on a line of its own, and no row holds a line break."""
    header = INSERT.match(statement.text)
    return 0 if header is None else 1 + statement.text.count(b"\n", header.end())


def parts_in_order(dump: Dump) -> tuple[DumpPart, ...]:
    """Return the parts of a dump such that those of a table with rows follow each other.

    Raises:
        IntegrityError: they are not what a backup makes.
    """
    first, rows, last = parts_by_section(dump=dump)
    return (first, *_by_table(rows), last)


def _by_table(parts: Sequence[DumpPart]) -> list[DumpPart]:
    position: dict[str, int] = {}
    for part in parts:
        if len(part.tables) == 1:
            position.setdefault(part.tables[0].path, len(position))
    several = len(position)
    return sorted(parts, key=lambda p: position[p.tables[0].path] if len(p.tables) == 1 else several)


def _names(path: str, name: str) -> bool:
    """Return whether a table is the one that a manifest names, perhaps with a secret in its name that is masked."""
    return path == name or masks(path, name)


def _check_counts(part: DumpPart, counts: dict[str, int], totals: Totals) -> None:
    """Check that a part holds as many rows of each table as were written into it."""
    written = {table.path: table.rows for table in part.tables}
    # Of a table whose name is masked, the sum of all tells.
    differs = any(written.get(name, count) != count for name, count in counts.items())
    tables = {"data": len(part.tables), "post-data": 0}.get(part.section, totals.tables)
    expected = sum(table.rows or 0 for table in part.tables)
    if differs or (totals.tables, totals.rows, sum(counts.values())) != (tables, expected, expected):
        names = ", ".join(map(str, part.tables[:_NAMED_TABLES])) or "the tables' definitions"
        raise IntegrityError(
            f"the part of {names} holds {sum(counts.values())} rows, and {expected} were written into it: it is cut "
            "short, or forged"
        )
