"""``dumpty accept``."""

from __future__ import annotations

from typing import Annotated

import typer

from dumpty.cli.arguments import DIRECTORY, Database, Directory, Id, Json, Quiet, Source, open_existing
from dumpty.cli.output import Report, moment

EXAMPLES = """
dumpty accept 1a2b3c4d
dumpty accept latest:shop --reason "the old orders were archived"
"""


def accept(
    backup_id: Id,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who come later.")] = "",
    database: Database = "",
    source: Source = "",
    directory: Directory = DIRECTORY,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Take a suspicious backup as good.

    `dumpty show` tells what it has lost. From now on it counts as any other: rules may remove older ones for it, and
    new backups are compared with it, too. That cannot be taken back. One that is not right is removed instead, with
    `dumpty remove`.
    """
    from dumpty.replies.backups import as_json
    from dumpty.replies.verbs import AcceptReply

    manager = open_existing(directory)
    backup = manager.find(backup_id, database=database, source=source)
    accepted = manager.accept(backup.id, reason)
    state = "is accepted" if backup.suspicious else "is not suspicious"
    return Report(
        reply=AcceptReply(backups=[as_json(accepted)], was_suspicious=backup.suspicious),
        lines=(f"backup {accepted.id} of {accepted.database_name}, taken {moment(accepted.timestamp)}, {state}",),
        json=json,
        quiet=quiet,
    )
