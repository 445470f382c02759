"""``dumpty pin`` and ``dumpty unpin``."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from dumpty.cli.arguments import DIRECTORY, Database, Directory, Id, Json, Quiet, Source, open_existing
from dumpty.cli.output import Report, moment

EXAMPLES = """
dumpty pin latest --reason "before the upgrade"
dumpty unpin 1a2b3c4d
"""


def pin(
    backup_id: Id,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who come later.")] = "",
    database: Database = "",
    source: Source = "",
    directory: Directory = DIRECTORY,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Protect a backup: no rule removes it until it is unpinned."""
    from dumpty.replies.backups import as_json
    from dumpty.replies.verbs import PinReply

    manager = open_existing(directory)
    backup = manager.find(backup_id, database=database, source=source)
    pinned = manager.pin(backup.id, reason)
    return Report(
        reply=PinReply(backups=[as_json(pinned)], was_pinned=bool(backup.pinned)),
        lines=(f"backup {pinned.id} of {pinned.database_name}, taken {moment(pinned.timestamp)}, is pinned",),
        json=json,
        quiet=quiet,
    )


def unpin(
    backup_id: Id,
    database: Database = "",
    source: Source = "",
    directory: Directory = DIRECTORY,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Take a backup's pin away."""
    from dumpty.replies.backups import as_json
    from dumpty.replies.verbs import PinReply

    manager = open_existing(directory)
    backup = manager.find(backup_id, database=database, source=source)
    was_pinned = manager.unpin(backup.id)
    state = "is not pinned any more" if was_pinned else "was not pinned"
    return Report(
        reply=PinReply(
            backups=[as_json(dataclasses.replace(backup, pinned=""))],
            was_pinned=was_pinned,
        ),
        lines=(f"backup {backup.id} of {backup.database_name} {state}",),
        json=json,
        quiet=quiet,
    )
