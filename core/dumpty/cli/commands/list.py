"""``dumpty list``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli import description
from dumpty.cli.arguments import DIRECTORY, Database, Directory, Json, Quiet, Source, open_existing, short_ids
from dumpty.cli.output import Line, Report, Table, moment, size

if TYPE_CHECKING:
    from dumpty.cli.replies import Reply

EXAMPLES = """
dumpty list
dumpty list --database shop
dumpty list --dir /srv/backups --json
"""

_Everything = Annotated[
    bool, typer.Option("--all", help="Every backup: the default. --database and --source narrow it.")
]
_Tables = Annotated[bool, typer.Option("--tables", help="With --json: tell the tables of each backup, too.")]


def list_(
    database: Database = "",
    source: Source = "",
    _everything: _Everything = False,
    tables: _Tables = False,
    directory: Directory = DIRECTORY,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """List the backups in a directory, oldest first."""
    from dumpty.cli.replies import ListReply, TablesReply
    from dumpty.operations.selection import Filter

    manager = open_existing(directory)
    listing, selection = manager.listing(), Filter(database=database, source=source)
    backups, problems = selection.filter(listing.backups), [str(p) for p in listing.problems]
    short = short_ids(backups)
    rows = [
        (
            short[b.id],
            moment(b.timestamp),
            b.database_name,
            b.source,
            description.form(b),
            size(b.size_bytes),
            description.last_proven(b) + (", pinned" if b.pinned else ""),
            os.path.basename(b.file_path),
        )
        for b in backups
    ]
    columns = ("ID", "TAKEN", "DATABASE", "SOURCE", "FORMAT", "SIZE", "LAST PROVEN", "FILE")
    nothing = f"no backups{selection} in {os.path.abspath(directory)}{selection.suggestion(listing.backups)}"
    line: Line = Table(columns, rows, frozenset({5})) if rows else nothing
    shown = backups if json else []
    reply: Reply = (
        TablesReply(backups=[description.with_tables(b) for b in shown])
        if tables
        else ListReply(backups=[description.as_json(b) for b in shown])
    )
    return Report(
        reply=reply,
        lines=(line,),
        warnings=[*problems, *map(str, listing.lost_proofs), *description.lost_warnings(backups)],
        json=json,
        quiet=quiet,
        only_prints=True,
    )
