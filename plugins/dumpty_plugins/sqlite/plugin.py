"""The driver ``sqlite``: dumps as portable SQL text, whole or in parts, or as an image of the database's pages.

Two hazards decide how this package touches files (see ``files.target`` for the second):

* POSIX locks belong to a process. Closing *any* descriptor of a database file drops the locks that SQLite holds on
  it in the same process, so a source or a target is opened through SQLite alone, never with ``open()``
  (https://www.sqlite.org/howtocorrupt.html, section 2.2).
* A ``-journal`` or ``-wal`` file that outlives its database corrupts the next database of that name, or brings the
  old content back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import Evidence, Format, Inspection, Option, PluginInfo, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from dumpty import Dump, Options, Scratch, Sink, Source, TableRows

_BUSY = Option(
    name="busy_timeout",
    default=5.0,
    help="seconds to wait for a database that somebody else has locked",
    verbs=("backup", "restore", "restore_tables", "inspect"),
)
_CHECK = Option(
    name="check",
    default=True,
    help="run SQLite's quick_check on the copy (native), on the source (sql), and on what was restored",
    verbs=("backup", "restore", "restore_tables"),
)
_FINGERPRINT = Option(
    name="fingerprint",
    default=False,
    help="record a fingerprint of every table's content, for drills to compare: reads every row once more, in Python"
    " (measured: 70,000 rows of seven columns a second)",
)
_PART_SIZE = Option(
    name="part_size",
    default=0,
    help="bytes that a part of a parallel dump has at least, but the last one; 0: 8 to 256 MiB, by the size of all",
)
_TRIGGERS = Option(
    name="triggers",
    default=True,
    help="restore the triggers of a table with it; off leaves them out, and says so",
    verbs=("restore_tables",),
)
_EVIDENCE = Option(
    name="evidence",
    default="off",
    help="tell the rows of every table (counts), and the fingerprint of its content",
    verbs=("inspect",),
    choices=("off", "counts", "fingerprint"),
)


@hookimpl
def describe() -> PluginInfo:
    """Declare scheme, formats and options."""
    return PluginInfo(
        kind="driver",
        summary="SQLite database files, live ones included",
        schemes=("sqlite",),
        formats=(
            Format(name="sql", suffix=".sql", help="SQL text that the sqlite3 program loads"),
            Format(name="native", suffix=".db", help="the database file itself, copied by SQLite's backup API"),
            Format(
                name="parallel",
                suffix=".sql",
                help="SQL text in parts that say which tables they hold: for taking back one table of a large backup",
                parts=True,
                automatic=False,
            ),
        ),
        options=(_BUSY, _CHECK, _FINGERPRINT, _PART_SIZE, _TRIGGERS, _EVIDENCE),
        files=True,
    )


@hookimpl
def inspect(source: Source, options: Options) -> Inspection:
    """Look at the database file without creating or changing it."""
    from dumpty_plugins.sqlite.inspection import inspect_file

    return inspect_file(source, options)


@hookimpl
def databases(source: Source) -> list[Source]:
    """Find the files that a glob means, and open none."""
    from dumpty_plugins.sqlite.databases import find_files

    return find_files(source)


@hookimpl
def backup(source: Source, sink: Sink, format: str, options: Options) -> Evidence:
    """Write one dump from one read transaction."""
    from dumpty_plugins.sqlite.backup import back_up

    return back_up(source, sink, format, options)


@hookimpl
def restore(target: Source, dump: Dump, overwrite: bool, options: Options) -> Evidence:
    """Build the database beside the target, check it, and put it in place in one step."""
    from dumpty_plugins.sqlite.restore import restore_dump

    return restore_dump(target, dump, overwrite=overwrite, options=options)


@hookimpl
def restore_tables(
    target: Source, dump: Dump, tables: Mapping[str, str], overwrite: bool, options: Options
) -> Evidence:
    """Build the database in a scratch file, as far as the dump is read, and copy the tables from there at once."""
    from dumpty_plugins.sqlite.restore_tables import restore_tables_of_dump

    return restore_tables_of_dump(target, dump, tables, overwrite=overwrite, options=options)


@hookimpl
def read_rows(source: Source, table: str, options: Options) -> AbstractContextManager[TableRows]:
    """Read a table in one transaction."""
    from dumpty_plugins.sqlite.rows import read_table

    return read_table(source, table, options)


@hookimpl
def examine(dump: Dump) -> Evidence:
    """Build the database of the dump in a scratch file, and read it as SQLite does."""
    from dumpty_plugins.sqlite.examine import examine_dump

    return examine_dump(dump)


@hookimpl
def scratch(dump: Dump, on: Source | None) -> AbstractContextManager[Scratch]:
    """Give a drill a file in the dump's workspace."""
    from dumpty_plugins.sqlite.scratch import scratch_file

    return scratch_file(dump, on)
