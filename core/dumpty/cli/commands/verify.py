"""``dumpty verify``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import DIRECTORY, Database, Directory, Json, MaybeId, Quiet, Source, open_existing
from dumpty.cli.output import Report
from dumpty.cli.proving import prove_each, summary
from dumpty.cli.status import UsageError
from dumpty.operations.selection import Filter
from dumpty.registry.suggestions import did_you_mean
from dumpty.types import LEVELS

if TYPE_CHECKING:
    from dumpty.types import Level

EXAMPLES = """
dumpty verify latest
dumpty verify --all --level structure
"""


def verify(
    backup_id: MaybeId = None,
    everything: Annotated[bool, typer.Option("--all", help="Verify every backup in the directory.")] = False,
    level: Annotated[
        str, typer.Option("--level", metavar="LEVEL", help=f"How far to go: {', '.join(LEVELS)}.")
    ] = "digest",
    database: Database = "",
    source: Source = "",
    directory: Directory = DIRECTORY,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Prove that backups are what was stored, and write the proof down beside them.

    digest: the stored file has the size and SHA-256 of its manifest, decompresses, and gives the dump of the size and
    SHA-256 that the driver wrote. structure: the driver reads the dump to its end, too, as the database's own tools do.
    restore: a database loads it; that is `dumpty drill`. Each says what it did not prove.
    """
    if everything == (backup_id is not None):
        raise UsageError("name one backup by its id, or all of them with --all")
    chosen = _level(level)
    manager = open_existing(directory)
    selection = Filter(database=database, source=source)
    if backup_id is None:
        listing = manager.listing()
        backups, problems = selection.filter(listing.backups), listing.problems
    else:
        backups, problems = [manager.find(backup_id, database=database, source=source)], []
    verdicts = prove_each(manager, backups, chosen, several=everything, quiet=quiet)
    verdicts.failures[:0] = problems
    if verdicts.fields or problems:
        verdicts.lines.append(summary(verdicts, "verified"))
    else:
        verdicts.lines.append(f"no backups{selection} in {os.path.abspath(directory)}: nothing was verified")
    return Report(
        fields={"level": chosen, "verified": verdicts.fields, "problems": [str(p) for p in problems]},
        lines=verdicts.lines,
        warnings=[*map(str, problems), *verdicts.warnings],
        error=verdicts.worst(len(verdicts.fields) + len(problems)),
        json=json,
        quiet=quiet,
    )


def _level(text: str) -> Level:
    for level in LEVELS:
        if level == text:
            return level
    raise UsageError(f"there is no level {text!r}; the levels are {', '.join(LEVELS)}.{did_you_mean(text, LEVELS)}")
