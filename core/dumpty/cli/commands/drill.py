"""``dumpty drill``."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import (
    DIRECTORY,
    URL_HELP,
    Database,
    Directory,
    Jobs,
    Json,
    MaybeId,
    PluginOptions,
    Quiet,
    Source,
    open_existing,
    parse_options,
)
from dumpty.cli.output import Report
from dumpty.cli.proving import prove_each, summary
from dumpty.cli.status import UsageError
from dumpty.cli.urls import read_url
from dumpty.operations.selection import Filter
from dumpty.repository.retention import parse_age

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from dumpty.cli.proving import Verdicts
    from dumpty.errors import DumptyError
    from dumpty.operations.result import Backup, Listing

EXAMPLES = """
dumpty drill
dumpty drill --older-than 7d
dumpty drill latest --assert "SELECT count(*) > 1000 FROM orders"
"""


_OlderThan = Annotated[
    str | None,
    typer.Option(
        "--older-than", metavar="AGE", help="Drill those whose last drill, or who themselves, are older: 12h, 7d."
    ),
]
_Server = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="URL",
        help="A server for the throw-away database, not a private one; a superuser is refused without "
        f"-o superuser=on. {URL_HELP}",
    ),
]
_Assertions = Annotated[
    list[str] | None,
    typer.Option(
        "--assert", metavar="SQL", help="A query that must give one row whose first value is true; may be repeated."
    ),
]


def drill(
    backup_id: MaybeId = None,
    everything: Annotated[bool, typer.Option("--all", help="Drill every backup in the directory.")] = False,
    older_than: _OlderThan = None,
    on: _Server = None,
    assertions: _Assertions = None,
    database: Database = "",
    source: Source = "",
    directory: Directory = DIRECTORY,
    jobs: Jobs = None,
    option: PluginOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Restore backups into a throw-away database, and prove what is there then.

    Verifies the stored file, restores it into a private place that is removed again whatever happens, compares rows
    (and content, where the backup has fingerprints) with what was recorded when it was made, runs the database's own
    checks and your assertions. Without an id it takes the latest. What this machine lacks for it is said, never "ok".
    """
    if (backup_id is not None) + everything + (older_than is not None) > 1:
        raise UsageError("name one backup, or --all, or --older-than AGE")
    age = None if older_than is None else _age(older_than)
    server = None if on is None else read_url(on)[0]
    options = parse_options(option, jobs)
    if reserved := {"level", "on", "assertions"} & set(options):
        raise UsageError(f"{min(reserved)!r} is not an option of a plugin; see dumpty drill --help")
    manager = open_existing(directory)
    several = everything or age is not None
    selection = Filter(database=database, source=source)
    if several:
        backups, problems = _of_age(manager.listing(), selection, age)
    else:
        backups, problems = [manager.find(backup_id or "latest", database=database, source=source)], []
    verdicts = prove_each(
        manager, backups, "restore", several=several, quiet=quiet, on=server, assertions=assertions or (), **options
    )
    age_limit = f"older than {older_than} " if age is not None else ""
    return _report(
        verdicts,
        problems,
        f"no backups{selection} {age_limit}in {os.path.abspath(directory)}: nothing was drilled",
        json=json,
        quiet=quiet,
    )


def _of_age(listing: Listing, selection: Filter, age: timedelta | None) -> tuple[list[Backup], Sequence[DumptyError]]:
    """Return the backups in question of which the last drill, or who themselves, are older, and what is unreadable."""
    backups = selection.filter(listing.backups)
    if age is not None:
        current_time = datetime.now(UTC)
        backups = [b for b in backups if current_time - _last_drilled(b) > age]
    return backups, listing.problems


def _report(verdicts: Verdicts, problems: Sequence[DumptyError], nothing: str, *, json: bool, quiet: bool) -> Report:
    verdicts.failures[:0] = problems
    verdicts.lines.append(summary(verdicts, "proven by restoring") if verdicts.fields or problems else nothing)
    return Report(
        fields={"drilled": verdicts.fields, "problems": [str(p) for p in problems]},
        lines=verdicts.lines,
        warnings=[*map(str, problems), *verdicts.warnings],
        error=verdicts.worst(len(verdicts.fields) + len(problems)),
        json=json,
        quiet=quiet,
    )


def _age(text: str) -> timedelta:
    try:
        return parse_age(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _last_drilled(backup: Backup) -> datetime:
    """Return when a restore last proved a backup, and that still holds; when it was taken, where none did."""
    proven = backup.verification_status.proven
    return proven.at if proven is not None and proven.level == "restore" else backup.timestamp
