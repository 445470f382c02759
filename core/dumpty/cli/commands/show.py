"""``dumpty show``."""

from __future__ import annotations

from dumpty.cli import description
from dumpty.cli.arguments import DIRECTORY, Database, Directory, Id, Json, Quiet, Source, open_existing
from dumpty.cli.keys import Identities, opened, read_identities
from dumpty.cli.output import Report

EXAMPLES = """
dumpty show latest
dumpty show 1a2b3c4d --json
"""


def show(
    backup_id: Id,
    database: Database = "",
    source: Source = "",
    identity: Identities = None,
    directory: Directory = DIRECTORY,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Show all that is known of one backup.

    Its file, sizes and digests, the versions that made it, and what it holds: of an encrypted one with --identity, or
    on the machine that made it.
    """
    from dumpty.replies.backups import with_details
    from dumpty.replies.verbs import ShowReply

    identities = read_identities(identity)
    manager = open_existing(directory)
    backup = manager.find(backup_id, database=database, source=source)
    backup = opened(manager, backup, identities)
    return Report(
        reply=ShowReply(backups=[with_details(backup)]),
        lines=description.details(backup),
        json=json,
        quiet=quiet,
        only_prints=True,
    )
