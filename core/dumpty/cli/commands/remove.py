"""``dumpty remove``."""

from __future__ import annotations

from dumpty.cli.arguments import DIRECTORY, Database, Directory, Id, Json, Quiet, Source, Yes, open_existing
from dumpty.cli.output import Report, moment, size
from dumpty.cli.prompt import confirm, on_terminal
from dumpty.cli.status import UsageError
from dumpty.errors import DumptyError

EXAMPLES = """
dumpty remove 1a2b3c4d
dumpty remove 1a2b3c4d --yes --json
"""


def remove(
    backup_id: Id,
    database: Database = "",
    source: Source = "",
    directory: Directory = DIRECTORY,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Remove one backup: its data, its manifest and its proofs.

    One that is pinned stays until `dumpty unpin`, and one that is being read until that has ended. By age or number
    `dumpty prune` removes.
    """
    manager = open_existing(directory)
    backup = manager.find(backup_id, database=database, source=source)
    name = f"backup {backup.id} of {backup.database_name}, taken {moment(backup.timestamp)}, {size(backup.size_bytes)}"
    if not yes and not on_terminal():
        raise UsageError(f"nothing was removed: say --yes to remove {name}")
    if not yes and not confirm(f"Remove {name}?"):
        raise DumptyError("nothing was removed: it was not confirmed")
    removed = manager.remove(backup.id)
    return Report(
        fields={"id": backup.id, "removed": removed},
        lines=(f"removed: {name}",) if removed else (),
        error=None if removed else DumptyError(f"{name}, is not removed yet: the warning says why"),
        json=json,
        quiet=quiet,
    )
