"""``dumpty remove``."""

from __future__ import annotations

from typing import Annotated

import typer

from dumpty.cli.arguments import DIRECTORY, Database, Directory, Id, Json, Quiet, Source, Yes, open_existing
from dumpty.cli.output import Report, moment, size
from dumpty.cli.prompt import confirm, on_terminal
from dumpty.cli.status import UsageError
from dumpty.errors import DumptyError, Pinned

EXAMPLES = """
dumpty remove 1a2b3c4d
dumpty remove 1a2b3c4d --yes --json
"""


def remove(
    backup_id: Id,
    database: Database = "",
    source: Source = "",
    directory: Directory = DIRECTORY,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be removed; remove nothing.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Remove one backup: its data, its manifest and its proofs.

    One that is pinned stays until `dumpty unpin`, and one that is being read until that has ended. By age or number
    `dumpty prune` removes.
    """
    from dumpty.replies.backups import as_json
    from dumpty.replies.verbs import RemoveReply

    manager = open_existing(directory)
    backup = manager.find(backup_id, database=database, source=source)
    name = f"backup {backup.id} of {backup.database_name}, taken {moment(backup.timestamp)}, {size(backup.size_bytes)}"
    shown = as_json(backup)
    if dry_run and backup.pinned:
        raise Pinned(f"backup {backup.id} is pinned, so it would not be removed; dumpty unpin {backup.id} frees it")
    if dry_run:
        return Report(
            reply=RemoveReply(backups=[shown], removed=[], dry_run=True),
            lines=(f"would be removed: {name}",),
            json=json,
            quiet=quiet,
            only_prints=True,
        )
    if not yes and not on_terminal():
        raise UsageError(f"nothing was removed: say --yes to remove {name}")
    if not yes and not confirm(f"Remove {name}?"):
        raise DumptyError("nothing was removed: it was not confirmed")
    removed = manager.remove(backup.id)
    return Report(
        reply=RemoveReply(backups=[shown], removed=[backup.id] if removed else [], dry_run=False),
        lines=(f"removed: {name}",) if removed else (),
        error=None if removed else DumptyError(f"{name}, is not removed yet: the warning says why"),
        json=json,
        quiet=quiet,
    )
