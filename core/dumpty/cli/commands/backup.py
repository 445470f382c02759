"""``dumpty backup``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli import description
from dumpty.cli.arguments import (
    DIRECTORY,
    URL_HELP,
    Directory,
    Jobs,
    Json,
    PluginOptions,
    Quiet,
    parse_options,
    parse_rate,
)
from dumpty.cli.copying import CopiesMade, check_places, copy_to_each
from dumpty.cli.keys import EncryptTo, SignWith, read_recipients, read_signing_key
from dumpty.cli.output import Report, seconds, size
from dumpty.cli.progress import progress_bar
from dumpty.cli.status import SuspiciousBackup, require_success
from dumpty.cli.urls import read_url

if TYPE_CHECKING:
    from dumpty.operations.result import Backup, BackupResult
    from dumpty.registry.plugin import Plugin
    from dumpty.types import ShrinkRules

EXAMPLES = """
dumpty backup sqlite:///shop.db
dumpty backup postgresql://backup@db.example.org/shop --dir /srv/backups
dumpty backup mysql://backup@localhost/shop --jobs 4 --rate-limit 20MB
dumpty backup sqlite:///shop.db --copy-to /mnt/vault
dumpty backup sqlite:///shop.db --encrypt-to recipients.txt --sign-with signing.key
dumpty backup sqlite:///shop.db --shrink-guard
dumpty backup env:SHOP_URL --format sql --compressor zstd -o zstd.level=9
"""


RateLimit = Annotated[
    str | None,
    typer.Option(
        "--rate-limit",
        metavar="SIZE",
        help="Take no more dump a second from the database: 20MB. (SQLite's native copy is made at once.)",
    ),
]
ShrinkGuard = Annotated[
    bool,
    typer.Option(
        "--shrink-guard",
        help="Compare it with the last good backups: one that holds half as much, or lacks a table, is suspicious.",
    ),
]
CopyTo = Annotated[
    list[str] | None,
    typer.Option("--copy-to", metavar="REPO", help="Copy the backup into this repository, too; may be repeated."),
]


def backup(
    url: Annotated[str, typer.Argument(metavar="URL", help=URL_HELP)],
    directory: Directory = DIRECTORY,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The form of the dump [default: native where the driver has it, else its first]."
        ),
    ] = None,
    compressor: Annotated[
        str, typer.Option(metavar="NAME", help="gzip, zstd, another plugin's name, or none.")
    ] = "gzip",
    verifier: Annotated[
        str, typer.Option(metavar="NAME", help="A further digest to keep; SHA-256 is always kept.")
    ] = "sha256",
    jobs: Jobs = None,
    rate_limit: RateLimit = None,
    copy_to: CopyTo = None,
    encrypt_to: EncryptTo = None,
    sign_with: SignWith = None,
    shrink_guard: ShrinkGuard = False,
    option: PluginOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Back up a database.

    Writes one complete, consistent dump of the database into the backup directory, compressed and with its digests.
    A backup that is reported as done is whole; one that fails leaves nothing behind, and every earlier one as it was.
    A copy that fails is told with status 12, for the backup is made. So is one that --shrink-guard finds suspicious: no
    rule removes an older one for it until you say `dumpty accept`. With --encrypt-to only the identity of a recipient
    reads it: `dumpty keys new` makes one. With --sign-with nobody without that key makes a backup that
    `dumpty restore --require-signature` accepts.
    """
    from dumpty.backup_manager import BackupManager
    from dumpty.registry.host import default_host

    database_url, source = read_url(url)
    options, rate = parse_options(option, jobs), parse_rate(rate_limit)
    recipients, key, guard = read_recipients(encrypt_to), read_signing_key(sign_with), _rules(shrink_guard)
    check_places(directory, copy_to or ())
    chosen = _format_to_write(default_host().driver(source.scheme), format)
    manager = BackupManager(directory, compressor=compressor, verifier=verifier)
    with progress_bar(f"backup of {source.url}", quiet=quiet) as progress:
        kind = {"format": chosen, "progress": progress, "rate_limit": rate, "shrink_guard": guard, **options}
        result = manager.create_backup(database_url, **kind, encrypt_to=recipients, sign_with=key)  # type: ignore[arg-type]
    copies = copy_to_each(manager, require_success(result), copy_to or (), quiet=quiet)
    return _report(result, copies, json=json, quiet=quiet)


def _report(result: BackupResult, copies: CopiesMade, *, json: bool, quiet: bool) -> Report:
    from dumpty.cli.replies import BackupReply

    stored = require_success(result)
    plain_size = stored.plain_size_bytes
    saved = f", {size(plain_size)} before {'+'.join(stored.stages)}" if stored.stages and plain_size is not None else ""
    duration = seconds(result.duration_seconds)
    suspicious = _suspicion(stored) if stored.suspicious else None
    return Report(
        reply=BackupReply(
            backups=[description.as_json(stored, copies.places)], duration_seconds=result.duration_seconds
        ),
        lines=(
            f"backup {stored.id} of {stored.database_name} is done: {size(stored.size_bytes)}{saved}, in {duration}",
            f"  holds {description.contents(stored)}, as {description.form(stored)}",
            f"  in {stored.file_path}",
            *([f"  encrypted to {description.recipients(stored)}"] if stored.recipient_kinds else []),
            *(f"  signed by {signer}" for signer in stored.claimed_signers),
            *(f"  copied to {place}" for place in copies.places),
        ),
        error=suspicious or copies.error,
        warnings=[*description.warnings(stored), *([str(copies.error)] if suspicious and copies.error else [])],
        json=json,
        quiet=quiet,
    )


def _rules(shrink_guard: bool) -> ShrinkRules | None:
    from dumpty.types import ShrinkRules

    return ShrinkRules() if shrink_guard else None


def _suspicion(backup: Backup) -> SuspiciousBackup:
    text = f"backup {backup.id} is done and kept, but it is suspicious: {'; '.join(backup.suspicions)}"
    advice = f"look at it, then: dumpty accept {backup.id}, or: dumpty remove {backup.id}"
    return SuspiciousBackup(f"{text}. Until then no older backup goes for it; {advice}")


def _format_to_write(driver: Plugin, requested: str | None) -> str:
    """Return the format to write: the one asked for, or ``native`` where it is declared and is a stream."""
    if requested is not None:
        return driver.format(requested).name
    streams = [f.name for f in driver.described.formats if not f.directory]
    return "native" if "native" in streams else driver.format(streams[0] if streams else None).name
