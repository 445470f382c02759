"""``dumpty prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumpty.cli import description
from dumpty.cli.arguments import DIRECTORY, Directory, Json, Quiet, Yes, open_existing, short_ids
from dumpty.cli.output import Line, Report, Table, count, moment, say, size
from dumpty.cli.progress import progress_bar
from dumpty.cli.prompt import confirm, on_terminal
from dumpty.cli.status import UsageError
from dumpty.errors import DumptyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dumpty.backup_manager import BackupManager
    from dumpty.operations.result import Backup, Pruning
    from dumpty.replies.verbs import PruneReply
    from dumpty.repository.retention import Decision, Rules
    from dumpty.types import Removal

EXAMPLES = """
dumpty prune --keep 7 --dry-run
dumpty prune --keep 7 --older-than 30d --yes
dumpty prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --timezone Europe/Berlin --yes
"""


def _number(period: str) -> Any:
    text = f"Keep the newest backup of each of the last N {period}s that have one."
    return typer.Option(f"--keep-{_ADVERBS[period]}", metavar="N", help=text)


_ADVERBS = {"hour": "hourly", "day": "daily", "week": "weekly", "month": "monthly", "year": "yearly"}
_OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="AGE", help="Remove only what is older: 12h, 30d, 4w.")
]
_MaxSize = Annotated[
    str | None,
    typer.Option(
        "--max-size", metavar="SIZE", help="Remove only what is beyond SIZE in all, the oldest first: 500MB, 20GiB."
    ),
]
_Zone = Annotated[
    str,
    typer.Option(
        "--timezone", metavar="ZONE", help="Whose hours, days, weeks, months and years: UTC, local, Europe/Berlin."
    ),
]


def prune(
    keep: Annotated[
        int | None, typer.Option("--keep-last", "--keep", metavar="N", help="Keep the newest N of each database.")
    ] = None,
    hourly: Annotated[int | None, _number("hour")] = None,
    daily: Annotated[int | None, _number("day")] = None,
    weekly: Annotated[int | None, _number("week")] = None,
    monthly: Annotated[int | None, _number("month")] = None,
    yearly: Annotated[int | None, _number("year")] = None,
    older_than: _OlderThan = None,
    max_size: _MaxSize = None,
    zone: _Zone = "UTC",
    directory: Directory = DIRECTORY,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be removed and why; remove nothing.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Remove old backups.

    A backup is removed only if every rule that is given lets it go. Never removed are the newest backup of a database,
    the newest that was proven (at each level of proof), what is pinned, and what is suspicious until it is accepted; a
    backup that is suspicious or lost, or whose proof failed, takes no other's place.
    """
    from dumpty.types import Removal

    numbers = {"keep": keep, "hourly": hourly, "daily": daily, "weekly": weekly, "monthly": monthly, "yearly": yearly}
    rules = _rules(numbers, older_than, max_size, zone)
    manager = open_existing(directory)
    pruning = manager.prune(rules, dry_run=True)
    to_remove = [d for d in pruning.decisions if not d.keep]
    if to_remove and not dry_run and not (yes or _confirm_removal(to_remove)):
        raise DumptyError("nothing was removed: it was not confirmed")
    outcome, failure = Removal(), None
    if not dry_run:  # what ended runs left is cleared, too, where nothing is to be removed
        outcome, failure = _remove(manager, rules, [d.backup.id for d in to_remove], quiet=quiet)
    return Report(
        reply=_reply(pruning, outcome, dry_run=dry_run, zone=zone),
        lines=_lines(pruning, outcome, dry_run=dry_run),
        warnings=_warnings(pruning, outcome, rules),
        error=failure,
        json=json,
        only_prints=dry_run,
        quiet=quiet,
    )


def _reply(pruning: Pruning, outcome: Removal, *, dry_run: bool, zone: str) -> PruneReply:
    from dumpty.replies.backups import decision_as_json
    from dumpty.replies.verbs import PruneReply

    return PruneReply(
        decisions=[decision_as_json(d, d.backup.id in outcome.removed) for d in pruning.decisions],
        removed=[d.backup.id for d in reversed(pruning.decisions) if d.backup.id in outcome.removed],
        dry_run=dry_run,
        timezone=zone,
    )


def _remove(manager: BackupManager, rules: Rules, ids: list[str], *, quiet: bool) -> tuple[Removal, DumptyError | None]:
    """Remove backups; return what became of them, and why not of all, if that is so."""
    from dumpty.types import Removal

    try:
        with progress_bar("prune", quiet=quiet) as progress:
            pruning = manager.prune(rules, only=ids, progress=progress)
    except DumptyError as error:
        left = {b.id for b in manager.listing().backups}
        return Removal(removed=tuple(i for i in ids if i not in left)), error
    return Removal(removed=pruning.removed, kept=pruning.kept), None


def _lines(pruning: Pruning, outcome: Removal, *, dry_run: bool) -> list[Line]:
    """Return the lines that say what was decided and done."""
    backups = pruning.listing.backups
    affected = [d.backup for d in pruning.decisions if not d.keep and (dry_run or d.backup.id in outcome.removed)]
    verb = "would be removed" if dry_run else "removed"
    summary = f"{count(len(affected), 'backup')} of {len(backups)} {verb}, {size(_total(affected))}"
    return [*_table(pruning.decisions, short_ids(backups)), summary]


def _warnings(pruning: Pruning, outcome: Removal, rules: Rules) -> list[str]:
    listing = pruning.listing
    return [
        *map(str, (*listing.problems, *listing.lost_proofs)),
        *description.lost_warnings(listing.backups),
        *_oversize(pruning.decisions, rules),
        *(f"backup {i} was kept: {why}" for i, why in sorted(outcome.kept.items())),
    ]


def _total(backups: Iterable[Backup]) -> int:
    """Return the bytes that they take."""
    from dumpty.repository.retention import total_size

    return total_size(backups)


def _rules(numbers: dict[str, int | None], older_than: str | None, max_size: str | None, zone: str) -> Rules:
    from dumpty.repository.quantities import parse_age, parse_size, parse_timezone
    from dumpty.repository.retention import Rules

    try:
        return Rules(
            **numbers,
            older_than=None if older_than is None else parse_age(older_than),
            max_size=None if max_size is None else parse_size(max_size),
            zone=parse_timezone(zone),
        )
    except ValueError as error:
        raise UsageError(f"{error}; see dumpty prune --help for the rules") from None


def _oversize(decisions: Sequence[Decision[Backup]], rules: Rules) -> list[str]:
    kept_bytes = _total(d.backup for d in decisions if d.keep)
    if rules.max_size is None or kept_bytes <= rules.max_size:
        return []
    return [
        f"what is kept takes {size(kept_bytes)}, more than --max-size {size(rules.max_size)}: the rest is protected"
    ]


def _confirm_removal(to_remove: Sequence[Decision[Backup]]) -> bool:
    """Ask on the terminal, where there is one."""
    total = f"{count(len(to_remove), 'backup')}, {size(_total(d.backup for d in to_remove))}"
    if not on_terminal():
        raise UsageError(f"nothing was removed: {total} would go; say --yes, or --dry-run to see which")
    for decision in to_remove:
        backup = decision.backup
        text = f"{backup.id[:8]}  {moment(backup.timestamp)}  {backup.database_name}  ({decision.reason})"
        say(text)
    return confirm(f"Remove {total}?")


def _table(decisions: Sequence[Decision[Backup]], short: dict[str, str]) -> list[Line]:
    rows = [
        (
            "keep" if d.keep else "remove",
            short[d.backup.id],
            moment(d.backup.timestamp),
            d.backup.database_name,
            d.reason,
        )
        for d in decisions
    ]
    return [Table(("", "ID", "TAKEN", "DATABASE", "WHY"), rows)] if rows else []
