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
    add_options,
    parse_options,
)
from dumpty.cli.keys import Identities, RequireSignature, read_identities, read_requirement
from dumpty.cli.output import Report  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.proving import Choice, OlderThan, parse_level, prove
from dumpty.cli.status import UsageError
from dumpty.cli.urls import read_url

EXAMPLES = """
dumpty drill
dumpty drill --older-than 7d
dumpty drill latest --assert "SELECT count(*) > 1000 FROM orders"
dumpty drill latest --server-version 18
dumpty drill --coverage --older-than 30d
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
_ServerVersion = Annotated[
    str | None,
    typer.Option(
        "--server-version",
        metavar="V",
        help="The version of the private server (18; 9.7): a rehearsal of an upgrade, which lists what differs.",
    ),
]
_Bindir = Annotated[
    str | None, typer.Option("--bindir", metavar="DIR", help="Where the programs of the private server are.")
]
_Coverage = Annotated[
    bool,
    typer.Option(
        "--coverage",
        help="Prove nothing: tell which backups are proven, which are not (or not within --older-than AGE), and which "
        "to take next.",
    ),
]
_Level = Annotated[
    str | None,
    typer.Option(
        "--level",
        metavar="LEVEL",
        help="With --coverage: how far a proof has to go to count: digest, structure, restore [default: restore].",
    ),
]


def drill(
    backup_id: MaybeId = None,
    everything: Annotated[bool, typer.Option("--all", help="Drill every backup in the directory.")] = False,
    older_than: OlderThan = None,
    coverage: _Coverage = False,
    level: _Level = None,
    on: _Server = None,
    assertions: _Assertions = None,
    server_version: _ServerVersion = None,
    bindir: _Bindir = None,
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

    Verifies what is stored, restores it into a private place that is removed again whatever happens, compares rows
    (and content, where the backup has fingerprints) with what was recorded when it was made, runs the database's own
    checks and your assertions. Without an id it takes the latest. What this machine lacks for it is said, never "ok".
    """
    from dumpty.operations.selection import Filter

    scope = Filter(database=database, source=source)
    if coverage:
        from dumpty.cli.coverage import refuse_others, report_coverage

        refuse_others(id=backup_id, all=everything, server=on, assertions=assertions, options=option, jobs=jobs)
        refuse_others(identity=identity, signature=require_signature, version=server_version, bindir=bindir)
        how_far = parse_level(level or "restore")
        return report_coverage(directory, scope, how_far, older_than=older_than, json=json, quiet=quiet)
    if level is not None:
        raise UsageError("a drill is a proof of level restore; --level is for --coverage, or for dumpty verify")
    chosen_id = backup_id if everything or older_than is not None else backup_id or "latest"
    choice = Choice(backup_id=chosen_id, everything=everything, older_than=older_than, scope=scope)
    server = None if on is None else read_url(on)[0]
    options = parse_options(option, jobs, reserved={"level", "on", "assertions"})
    add_options(options, server_version=server_version, bindir=bindir)
    options |= {"on": server, "assertions": assertions or ()}
    options |= {"identities": read_identities(identity), "require_signature": read_requirement(require_signature)}
    return prove(directory, choice, "restore", options, deed="drilled", json=json, quiet=quiet)
