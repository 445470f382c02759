"""A stored dump, read to its end and counted."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from dumpty import Evidence, IntegrityError, ObjectEvidence, require_same_evidence
from dumpty.process import BLOCK
from dumpty_plugins.postgres.dumping.archive import CustomCheck, TarCheck, check_directory
from dumpty_plugins.postgres.dumping.line_counter import LineCounter
from dumpty_plugins.postgres.dumping.rows_script import rows_statements
from dumpty_plugins.postgres.schema.tables import LARGE_OBJECTS, table_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dumpty import Dump, DumpPart
    from dumpty_plugins.postgres.dumping.archive import Contents
    from dumpty_plugins.postgres.dumping.script_reader import Script


def count_script_rows(script: Script) -> dict[str, int]:
    """Read ``script`` to its end and return the rows that it holds, by the path of their table."""
    row_counts: dict[str, int] = {}
    for statement in script:
        if statement.copy:
            counter = LineCounter()
            for piece in script.data():
                counter.feed(piece)
            path = table_path(statement.copy_table, script.encoding)
            row_counts[path] = row_counts.get(path, 0) + counter.lines
        elif statement.makes_large_object:
            row_counts[LARGE_OBJECTS] = row_counts.get(LARGE_OBJECTS, 0) + 1
    return row_counts


def require_counted_rows(row_counts: Mapping[str, int], objects: Iterable[ObjectEvidence], **words: str) -> Evidence:
    """Check that a dump holds as many rows of each table as were counted, and return what it holds.

    Of a table that holds none there may be nothing in it: of a partitioned one without partitions there never is.

    Args:
        row_counts: as from ``count_script_rows``.
        objects: the tables, those that nobody counted, too.
        words: ``subject`` and ``advice`` of ``require_same_evidence``.

    Raises:
        IntegrityError: it holds others.
    """
    counted = tuple(entry for entry in objects if entry.rows is not None)
    found = {entry.path: 0 for entry in counted if entry.rows == 0} | dict(row_counts)
    evidence = Evidence(objects=tuple(ObjectEvidence(path=path, rows=rows) for path, rows in sorted(found.items())))
    require_same_evidence(expected=Evidence(objects=counted), found=evidence, ignore={"added"}, **words)
    return evidence


def archive_of(dump: Dump) -> Dump | DumpPart:
    """Return what of a dump pg_restore reads: all of it, or of a dump in parts the one that is no rows.

    Raises:
        IntegrityError: it has none, or several.
    """
    if dump.format != "parallel":
        return dump
    archives = [part for part in dump.parts if part.section == "whole"]
    if len(archives) != 1:
        raise IntegrityError(f"a dump in parts has one archive, and this one has {len(archives)}: is it forged?")
    return archives[0]


def parts_of_rows(dump: Dump) -> list[DumpPart]:
    """Return the parts of a dump that hold the rows of one table each, the largest first.

    Raises:
        IntegrityError: one of its parts is nothing that a backup makes.
    """
    if dump.format != "parallel":
        return []
    parts = [part for part in dump.parts if part.section != "whole"]
    if any(part.section != "data" or len(part.tables) != 1 for part in parts):
        raise IntegrityError("a part of the dump is neither an archive nor the rows of one table: is it forged?")
    return sorted(parts, key=lambda part: -part.size)


def count_part(part: DumpPart) -> tuple[str, int]:
    """Read the rows of a part to their end, and return the path of their table, and how many there are.

    Raises:
        IntegrityError: they are cut off, not as many as were written, or something else.
    """
    [table] = part.tables
    path, counter = "", LineCounter()
    with closing(part.open()) as reader:
        for _, found, data in rows_statements(lambda: reader.read(BLOCK), table.path):
            path = found or path
            for piece in data or ():
                counter.feed(piece)
    if table.rows is not None and counter.lines != table.rows:
        raise IntegrityError(f"the part of {table} holds {counter.lines} rows, and {table.rows} were written into it")
    return path, counter.lines


def read_archive(dump: Dump) -> Contents:
    """Read an archive to its end, and return its table of contents when everything that it announces was there."""
    if dump.format == "directory":
        return check_directory(str(dump.path()))
    archive = archive_of(dump)
    # Before pg_restore sees it: version 15 loops for ever over a tar archive that was cut off.
    check = TarCheck() if dump.format == "tar" else CustomCheck()
    with closing(archive.open()) as reader:
        while block := reader.read(BLOCK):
            check.feed(block)
    return check.finish()
