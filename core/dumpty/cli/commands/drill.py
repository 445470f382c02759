"""``dumpty drill``."""

from __future__ import annotations

from typing import Annotated

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
    parse_options,
)
from dumpty.cli.keys import Identities, RequireSignature, read_identities, read_requirement
from dumpty.cli.output import Report  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.proving import Choice, OlderThan, prove
from dumpty.cli.urls import read_url

EXAMPLES = """
dumpty drill
dumpty drill --older-than 7d
dumpty drill latest --assert "SELECT count(*) > 1000 FROM orders"
"""

_Server = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="URL",
        help="A server for the scratch database, not a private one; a superuser is refused without "
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
    older_than: OlderThan = None,
    on: _Server = None,
    assertions: _Assertions = None,
    database: Database = "",
    source: Source = "",
    identity: Identities = None,
    require_signature: RequireSignature = None,
    directory: Directory = DIRECTORY,
    jobs: Jobs = None,
    option: PluginOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Restore backups into a scratch database, and prove what is there then.

    Verifies the stored file, restores it into a private place that is removed again whatever happens, compares rows
    (and content, where the backup has fingerprints) with what was recorded when it was made, runs the database's own
    checks and your assertions. Without an id it takes the latest. What this machine lacks for it is said, never "ok".
    """
    from dumpty.operations.selection import Filter

    choice = Choice(
        backup_id=backup_id if everything or older_than is not None else backup_id or "latest",
        everything=everything,
        older_than=older_than,
        scope=Filter(database=database, source=source),
    )
    server = None if on is None else read_url(on)[0]
    options = parse_options(option, jobs, reserved={"level", "on", "assertions"})
    options |= {"on": server, "assertions": assertions or ()}
    options |= {"identities": read_identities(identity), "require_signature": read_requirement(require_signature)}
    return prove(directory, choice, "restore", options, deed="drilled", json=json, quiet=quiet)
