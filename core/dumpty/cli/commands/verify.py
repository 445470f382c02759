"""``dumpty verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from dumpty.cli.arguments import (
    DIRECTORY,
    Database,
    Directory,
    Json,
    MaybeId,
    PluginOptions,
    Quiet,
    Source,
    parse_options,
)
from dumpty.cli.keys import Identities, RequireSignature, read_identities, read_requirement
from dumpty.cli.output import Report  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.proving import Choice, OlderThan, parse_level, prove
from dumpty.cli.status import UsageError

EXAMPLES = """
dumpty verify latest
dumpty verify --all --level structure
dumpty verify --older-than 7d
dumpty verify --all --require-signature signing.key.pub
"""


def verify(
    backup_id: MaybeId = None,
    everything: Annotated[bool, typer.Option("--all", help="Verify every backup in the directory.")] = False,
    older_than: OlderThan = None,
    level: Annotated[
        str, typer.Option("--level", metavar="LEVEL", help="How far to go: digest, structure, restore.")
    ] = "digest",
    database: Database = "",
    source: Source = "",
    identity: Identities = None,
    require_signature: RequireSignature = None,
    directory: Directory = DIRECTORY,
    option: PluginOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Prove that backups are what was stored, and write the proof down beside them.

    digest: each stored file has the size and SHA-256 of its manifest, decompresses, and gives a dump of the size and
    SHA-256 that the driver wrote. structure: the driver reads the dump to its end, too, as the database's own tools do.
    restore: a database loads it; that is `dumpty drill`, and takes its options. Each says what it did not prove. Of an
    encrypted backup, without --identity, only what is stored is proved, by digest. Who made a backup is proved with
    --require-signature alone.
    """
    from dumpty.operations.selection import Filter

    scope = Filter(database=database, source=source)
    choice = Choice(backup_id=backup_id, everything=everything, older_than=older_than, scope=scope)
    if choice.several and not everything and older_than is None:
        raise UsageError("name one backup by its id, or all of them with --all, or those of some age with --older-than")
    options = parse_options(option, reserved={"level", "on", "assertions"})
    chosen = parse_level(level)
    options |= {"identities": read_identities(identity), "require_signature": read_requirement(require_signature)}
    return prove(directory, choice, chosen, options, deed="verified", json=json, quiet=quiet)
