"""``dumpty prune``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumpty.cli import description
from dumpty.cli.arguments import DIRECTORY, Directory, Json, Quiet, Yes, open_existing, short_ids
from dumpty.cli.output import Line, Report, Table, count, moment, say, size
from dumpty.cli.prompt import confirm, on_terminal
from dumpty.cli.status import UsageError
from dumpty.errors import DumptyError, Pinned, StoreError, UnknownBackup
from dumpty.repository.retention import Rules, decide, parse_age, parse_size, parse_timezone, total_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.backup_manager import BackupManager
    from dumpty.operations.result import Backup
    from dumpty.repository.retention import Decision

EXAMPLES = """
dumpty prune --keep 7 --dry-run
dumpty prune --keep 7 --older-than 30d --yes
dumpty prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --timezone Europe/Berlin --yes
"""


def _number(period: str) -> Any:
    text = f"Keep the newest backup of each of the last N {period}s that have one."
    return typer.Option(f"--keep-{_ADVERBS[period]}", metavar="N", help=text)


_ADVERBS = {"hour": "hourly", "day": "daily", "week": "weekly", "month": "monthly", "year": "yearly"}


def prune(
    keep: Annotated[
        int | None, typer.Option("--keep-last", "--keep", metavar="N", help="Keep the newest N of each database.")
    ] = None,
    hourly: Annotated[int | None, _number("hour")] = None,
    daily: Annotated[int | None, _number("day")] = None,
    weekly: Annotated[int | None, _number("week")] = None,
    monthly: Annotated[int | None, _number("month")] = None,
    yearly: Annotated[int | None, _number("year")] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Remove only what is older: 12h, 30d, 4w.")
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size", metavar="SIZE", help="Remove only what is beyond SIZE in all, the oldest first: 500MB, 20GiB."
        ),
    ] = None,
    zone: Annotated[
        str,
        typer.Option(
            "--timezone", metavar="ZONE", help="Whose hours, days, weeks, months and years: UTC, local, Europe/Berlin."
        ),
    ] = "UTC",
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
    the newest that was proven (at each level of proof), and what is pinned; a backup that is lost, or whose proof
    failed, takes no other's place.
    """
    numbers = {"keep": keep, "hourly": hourly, "daily": daily, "weekly": weekly, "monthly": monthly, "yearly": yearly}
    rules = _rules(numbers, older_than, max_size, zone)
    manager = open_existing(directory)
    listing = manager.listing()
    backups = listing.backups
    decisions = decide(backups, rules, datetime.now(UTC))
    to_remove = [d for d in decisions if not d.keep]
    if to_remove and not dry_run and not (yes or _confirm_removal(to_remove)):
        raise DumptyError("nothing was removed: it was not confirmed")
    problems: list[DumptyError] = []
    removed = [] if dry_run else _remove_backups(manager, to_remove, problems)
    removed_ids = {d.backup.id for d in removed}
    verb = "would be removed" if dry_run else "removed"
    affected = to_remove if dry_run else removed
    freed = size(total_size(d.backup for d in affected))
    summary = f"{count(len(affected), 'backup')} of {len(backups)} {verb}, {freed}"
    return Report(
        fields={
            "dry_run": dry_run,
            "timezone": zone,
            "decisions": [_fields(d, d.backup.id in removed_ids) for d in decisions if json],
            "removed": [d.backup.id for d in removed],
        },
        lines=(*_table(decisions, short_ids(backups)), summary),
        warnings=[
            *map(str, (*listing.problems, *listing.lost_proofs)),
            *description.lost_warnings(backups),
            *_oversize(decisions, rules),
        ],
        error=_failure(problems),
        json=json,
        only_prints=dry_run,
        quiet=quiet,
    )


def _rules(numbers: dict[str, int | None], older_than: str | None, max_size: str | None, zone: str) -> Rules:
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
    kept_bytes = total_size(d.backup for d in decisions if d.keep)
    if rules.max_size is None or kept_bytes <= rules.max_size:
        return []
    return [
        f"what is kept takes {size(kept_bytes)}, more than --max-size {size(rules.max_size)}: the rest is protected"
    ]


def _confirm_removal(to_remove: Sequence[Decision[Backup]]) -> bool:
    """Ask on the terminal, where there is one."""
    total = f"{count(len(to_remove), 'backup')}, {size(total_size(d.backup for d in to_remove))}"
    if not on_terminal():
        raise UsageError(f"nothing was removed: {total} would go; say --yes, or --dry-run to see which")
    for decision in to_remove:
        backup = decision.backup
        text = f"{backup.id[:8]}  {moment(backup.timestamp)}  {backup.database_name}  ({decision.reason})"
        say(text)
    return confirm(f"Remove {total}?")


def _remove_backups(
    manager: BackupManager, to_remove: Sequence[Decision[Backup]], problems: list[DumptyError]
) -> list[Decision[Backup]]:
    removed = []
    for decision in reversed(to_remove):  # oldest first: what is interrupted has removed the least useful
        try:
            if manager.remove(decision.backup.id) is False:
                problems.append(StoreError(f"the data of backup {decision.backup.id} is still there"))
                continue
        except (UnknownBackup, Pinned):
            continue  # somebody else removed it meanwhile, or pinned it
        except DumptyError as error:
            problems.append(error)
        else:
            removed.append(decision)
    return removed


def _failure(problems: Sequence[DumptyError]) -> DumptyError | None:
    if len(problems) > 1:
        return DumptyError(f"{len(problems)} backups could not be removed, the first: {problems[0]}")
    return problems[0] if problems else None


def _fields(decision: Decision[Backup], removed: bool) -> dict[str, Any]:
    backup = decision.backup
    return {
        "id": backup.id,
        "database": backup.database_name,
        "source": backup.source,
        "timestamp": backup.timestamp.isoformat(),
        "size_bytes": backup.size_bytes,
        "state": backup.state,
        "keep": decision.keep,
        "removed": removed,
        "reason": decision.reason,
    }


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
