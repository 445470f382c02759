"""``dumpty list``."""

from __future__ import annotations

import os

from dumpty.cli import description
from dumpty.cli.arguments import DIRECTORY, Database, Directory, Json, Source, open_existing, short_ids
from dumpty.cli.output import Line, Report, Table, moment, size
from dumpty.operations.selection import Filter

EXAMPLES = """
dumpty list
dumpty list --database shop
dumpty list --dir /srv/backups --json
"""


def list_(
    database: Database = "",
    source: Source = "",
    directory: Directory = DIRECTORY,
    json: Json = False,
) -> Report:
    """List the backups in a directory, oldest first."""
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
    line: Line = (
        Table(columns, rows, frozenset({5})) if rows else f"no backups{selection} in {os.path.abspath(directory)}"
    )
    return Report(
        fields={"backups": [description.fields(b) for b in backups if json], "problems": problems},
        lines=(line,),
        warnings=[*problems, *map(str, listing.lost_proofs), *description.lost_warnings(backups)],
        json=json,
        only_prints=True,
    )
