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
from dumpty.cli.status import require_success
from dumpty.cli.urls import read_url

if TYPE_CHECKING:
    from dumpty.operations.result import BackupResult

EXAMPLES = """
dumpty backup sqlite:///shop.db
dumpty backup postgresql://backup@db.example.org/shop --dir /srv/backups
dumpty backup mysql://backup@localhost/shop --jobs 4 --rate-limit 20MB
dumpty backup sqlite:///shop.db --copy-to /mnt/vault
dumpty backup sqlite:///shop.db --encrypt-to recipients.txt --sign-with signing.key
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
    option: PluginOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Back up a database.

    Writes one complete, consistent dump of the database into the backup directory, compressed and with its digests.
    A backup that is reported as done is whole; one that fails leaves nothing behind, and every earlier one as it was.
    A copy that fails is told with status 12, for the backup is made. With --encrypt-to it is read by whoever has the
    identity of a recipient, and by nobody else: `dumpty keys new` makes one. With --sign-with, whoever has not that key
    makes no backup that `dumpty restore --require-signature` accepts.
    """
    from dumpty.backup_manager import BackupManager
    from dumpty.registry.host import default_host

    database_url, source = read_url(url)
    options, rate = parse_options(option, jobs), parse_rate(rate_limit)
    recipients, key = read_recipients(encrypt_to), read_signing_key(sign_with)
    check_places(directory, copy_to or ())
    driver = default_host().driver(source.scheme)
    chosen = (driver.preferred_format if format is None else driver.format(format)).name
    manager = BackupManager(directory, compressor=compressor, verifier=verifier)
    with progress_bar(f"backup of {source.url}", quiet=quiet) as progress:
        kind = {"format": chosen, "progress": progress, "rate_limit": rate, **options}
        keys = {"encrypt_to": recipients, "sign_with": key}
        result = manager.create_backup(database_url, **kind, **keys)  # type: ignore[arg-type]
    copies = copy_to_each(manager, require_success(result), copy_to or (), quiet=quiet)
    return _report(result, copies, json=json, quiet=quiet)


def _report(result: BackupResult, copies: CopiesMade, *, json: bool, quiet: bool) -> Report:
    from dumpty.cli.replies import BackupReply

    stored = require_success(result)
    plain_size = stored.plain_size_bytes
    saved = f", {size(plain_size)} before {'+'.join(stored.stages)}" if stored.stages and plain_size is not None else ""
    duration = seconds(result.duration_seconds)
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
        error=copies.error,
        warnings=description.warnings(stored),
        json=json,
        quiet=quiet,
    )
