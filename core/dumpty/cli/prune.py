"""``dumpty prune``."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumpty.cli.arguments import DIRECTORY, Directory, Json, Quiet, Yes, existing, short_ids
from dumpty.cli.output import Line, Report, Table, count, moment, say, size
from dumpty.cli.status import UsageError
from dumpty.errors import DumptyError, UnknownBackup
from dumpty.retention import Rules, decide, parse_age

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.backup_manager import BackupManager
    from dumpty.results import Backup
    from dumpty.retention import Decision

EXAMPLES = """
dumpty prune --keep 7 --dry-run
dumpty prune --keep 7 --older-than 30d --yes
"""


def prune(
    keep: Annotated[
        int | None, typer.Option("--keep", metavar="N", help="Keep the newest N backups of each database.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Remove only what is older: 12h, 30d, 4w.")
    ] = None,
    directory: Directory = DIRECTORY,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be removed and why; remove nothing.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Remove old backups.

    A backup is removed only if every rule that is given lets it go, and the newest backup of a database never is.
    """
    rules = _rules(keep, older_than)
    manager = existing(directory)
    backups = manager.list_backups()
    decisions = decide(backups, rules, datetime.now(timezone.utc))
    doomed = [d for d in decisions if not d.keep]
    if doomed and not dry_run and not (yes or _agreed(doomed)):
        raise DumptyError("nothing was removed: it was not confirmed")
    problems: list[DumptyError] = []
    removed = [] if dry_run else _removed(manager, doomed, problems)
    verb = "would be removed" if dry_run else "removed"
    done = doomed if dry_run else removed
    freed = size(sum(d.backup.size_bytes for d in done))
    summary = f"{count(len(done), 'backup')} of {len(backups)} {verb}, {freed}"
    return Report(
        fields={
            "dry_run": dry_run,
            "decisions": [_fields(d, d in removed) for d in decisions],
            "removed": [d.backup.id for d in removed],
        },
        lines=(*_table(decisions, short_ids(backups)), summary),
        warnings=[str(p) for p in manager.problems()],
        error=_failure(problems),
        json=json,
        quiet=quiet,
    )


def _rules(keep: int | None, older_than: str | None) -> Rules:
    try:
        return Rules(keep=keep, older_than=None if older_than is None else parse_age(older_than))
    except ValueError as error:
        raise UsageError(f"{error}; give --keep N, --older-than AGE or both") from None


def _agreed(doomed: Sequence[Decision[Backup]]) -> bool:
    """Ask on the terminal, where there is one."""
    total = f"{count(len(doomed), 'backup')}, {size(sum(d.backup.size_bytes for d in doomed))}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"nothing was removed: {total} would go; say --yes, or --dry-run to see which")
    for decision in doomed:
        one = decision.backup
        text = f"{one.id[:8]}  {moment(one.timestamp)}  {one.database_name}  ({decision.reason})"
        say(text)
    sys.stderr.write(f"Remove {total}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _removed(
    manager: BackupManager, doomed: Sequence[Decision[Backup]], problems: list[DumptyError]
) -> list[Decision[Backup]]:
    removed = []
    for decision in reversed(doomed):  # oldest first: what is interrupted has removed the least useful
        try:
            manager.remove(decision.backup.id)
        except UnknownBackup:
            continue  # somebody else removed it meanwhile
        except DumptyError as error:
            problems.append(error)
        else:
            removed.append(decision)
    return removed


def _failure(problems: Sequence[DumptyError]) -> DumptyError | None:
    if len(problems) > 1:
        return DumptyError(
            f"{len(problems)} backups could not be removed and are still there, the first: {problems[0]}"
        )
    return problems[0] if problems else None


def _fields(decision: Decision[Backup], removed: bool) -> dict[str, Any]:
    backup = decision.backup
    return {
        "id": backup.id,
        "database": backup.database_name,
        "source": backup.source,
        "timestamp": backup.timestamp.isoformat(),
        "size_bytes": backup.size_bytes,
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
