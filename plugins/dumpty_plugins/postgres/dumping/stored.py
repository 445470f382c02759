"""A stored dump, read to its end and counted."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from dumpty.process import BLOCK
from dumpty_plugins.postgres.dumping.archive import CustomCheck, TarCheck, check_directory
from dumpty_plugins.postgres.schema.tables import LARGE_OBJECTS, table_path

if TYPE_CHECKING:
    from dumpty import Dump
    from dumpty_plugins.postgres.dumping.archive import Contents
    from dumpty_plugins.postgres.dumping.script_reader import Script


def count_script_rows(script: Script) -> dict[str, int]:
    """Read ``script`` to its end and return the rows that it holds, by the path of their table."""
    row_counts: dict[str, int] = {}
    for statement in script:
        if statement.copy:
            rows = sum(piece.count(b"\n") for piece in script.data())
            path = table_path(statement.copy_table, script.encoding)
            row_counts[path] = row_counts.get(path, 0) + rows
        elif statement.makes_large_object:
            row_counts[LARGE_OBJECTS] = row_counts.get(LARGE_OBJECTS, 0) + 1
    return row_counts


def read_archive(dump: Dump) -> Contents:
    """Read an archive to its end, and return its table of contents when everything that it announces was there."""
    if dump.format == "directory":
        return check_directory(str(dump.path()))
    # Before pg_restore sees it: version 15 loops for ever over a tar archive that was cut off.
    check = TarCheck() if dump.format == "tar" else CustomCheck()
    with closing(dump.open()) as reader:
        while block := reader.read(BLOCK):
            check.feed(block)
    return check.finish()
