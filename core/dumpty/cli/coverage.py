"""``dumpty drill --coverage``: which backups are proven, which are not, and which to prove next."""

from __future__ import annotations

import os
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dumpty.cli import description
from dumpty.cli.arguments import DIRECTORY, open_existing, short_ids
from dumpty.cli.output import Line, Report, Table, count, moment
from dumpty.cli.proving import parse_older_than
from dumpty.cli.status import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dumpty.operations.coverage import DatabaseCoverage
    from dumpty.operations.result import Backup
    from dumpty.operations.selection import Filter
    from dumpty.types import Level

__all__ = ["refuse_others", "report_coverage"]


def refuse_others(**others: object) -> None:
    """See that nothing was asked for that only a drill can do; ``others`` are its arguments, by what people call them.

    Raises:
        UsageError: one has a value.
    """
    for name, value in others.items():
        if value:
            raise UsageError(f"--coverage proves nothing, and takes no {name}; --database and --source narrow it")


def report_coverage(
    directory: str, scope: Filter, level: Level, *, older_than: str | None, json: bool, quiet: bool
) -> Report:
    """Return what is proven of the backups in a repository; nothing is proven, or written down.

    Args:
        directory: the repository: a path or a URL.
        scope: which backups are in question.
        level: how far a proof has to go to count.
        older_than: how long ago it may have been made to count (``7d``); None: any that holds counts.
        json: whether one JSON object is to be printed.
        quiet: whether nothing but warnings is.

    Raises:
        NoSuchStore, StoreError: there is no such repository, or it cannot be listed.
        UsageError: ``older_than`` says no age.
    """
    from dumpty.operations.coverage import look_at_coverage, next_of_all
    from dumpty.replies.backups import as_json
    from dumpty.replies.coverage import CoverageReply, coverage_as_json, next_as_json

    age, now = parse_older_than(older_than), datetime.now(UTC)
    since = None if age is None else now - age
    listing = open_existing(directory).listing()
    backups = scope.filter(listing.backups)
    found = look_at_coverage(backups, level, now=now, age=age)
    chosen = next_of_all(found)
    unproven = sorted((b for c in found for b in c.unproven), key=lambda b: (b.timestamp, b.id))
    commands = {b.id: _command(b, level, directory) for b in chosen}
    nothing = f"no backups{scope} in {os.path.abspath(directory)}{scope.suggestion(listing.backups)}"
    return Report(
        reply=CoverageReply(
            level=level,
            since=since,
            databases=[coverage_as_json(c) for c in found],
            backups=[as_json(b) for b in unproven],
            next=next_as_json(chosen, lambda b: commands[b.id]),
        ),
        lines=_lines(found, unproven, chosen, level, since, commands) if found else [nothing],
        warnings=[*map(str, (*listing.problems, *listing.lost_proofs)), *_excluded(found)],
        json=json,
        quiet=quiet,
        only_prints=True,
    )


def _command(backup: Backup, level: Level, directory: str) -> str:
    """Return the command that proves a backup as far as is wanted, as a shell takes it."""
    from dumpty.url import shown_address

    words = ["dumpty", "drill", backup.id] if level == "restore" else ["dumpty", "verify", backup.id, "--level", level]
    return shlex.join([*words, *(["--dir", shown_address(directory)] if directory != DIRECTORY else [])])


def _lines(
    found: Sequence[DatabaseCoverage],
    unproven: Sequence[Backup],
    chosen: Sequence[Backup],
    level: Level,
    since: datetime | None,
    commands: Mapping[str, str],
) -> list[Line]:
    lines: list[Line] = [
        Table(("DATABASE", "SOURCE", "BACKUPS", "PROVEN", "NEWEST PROOF"), [_row(c) for c in found], frozenset({2, 3}))
    ]
    if unproven:
        short = short_ids(unproven)
        rows = [(short[b.id], moment(b.timestamp), b.database_name, b.source, _last_proof(b, level)) for b in unproven]
        lines += ["", Table(("NOT PROVEN", "TAKEN", "DATABASE", "SOURCE", "LAST PROOF"), rows)]
    if chosen:
        lines += ["", "to be proven next:", *(f"  {commands[b.id]}" for b in chosen)]
    proven, whole = sum(len(c.proven) for c in found), sum(len(c.proven) + len(c.unproven) for c in found)
    time = "" if since is None else f" since {moment(since)}"
    excluded = sum(len(c.excluded) for c in found)
    ending = f"; {excluded} lost or damaged, not counted" if excluded else ""
    return [*lines, "", f"{proven} of {count(whole, 'backup')} proven by {level}{time}{ending}"]


def _row(found: DatabaseCoverage) -> tuple[str, ...]:
    proof, backup = found.newest_proof, found.newest_proven
    newest = "never" if proof is None or backup is None else f"{moment(proof.at)} {proof.level}, of {backup.id[:8]}"
    whole = len(found.proven) + len(found.unproven)
    return found.database, found.source, f"{whole:,}", f"{len(found.proven):,}", newest


def _last_proof(backup: Backup, level: Level) -> str:
    """Return when a backup was last proven as far as is wanted; of one that never was, what was proven of it."""
    from dumpty.operations.coverage import holding_proofs

    holding = holding_proofs(backup, level)
    return f"{holding[0].level} {moment(holding[0].at)}" if holding else description.last_proven(backup)


def _excluded(found: Sequence[DatabaseCoverage]) -> list[str]:
    return [
        f"backup {b.id} of {b.database_name}, taken {moment(b.timestamp)}, counts for nothing: it is {b.state}: "
        f"{b.state_reason}"
        for c in found
        for b in c.excluded
    ]
