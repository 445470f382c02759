"""``dumpty backup``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import (
    DIRECTORY,
    URL_HELP,
    Directory,
    Jobs,
    Json,
    PluginOptions,
    Quiet,
    Via,
    parse_options,
    parse_rate,
)
from dumpty.cli.backing_up import Work, back_up, back_up_each
from dumpty.cli.copying import check_places
from dumpty.cli.keys import EncryptTo, SignWith, read_recipients, read_signing_key
from dumpty.cli.output import Report  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.urls import read_url
from dumpty.registry.plugin import AUTO

if TYPE_CHECKING:
    from dumpty.types import ShrinkRules

EXAMPLES = """
dumpty backup sqlite:///shop.db
dumpty backup postgresql://backup@db.example.org/shop --dir /srv/backups
dumpty backup mysql://backup@localhost/shop --jobs 4 --rate-limit 20MB
dumpty backup sqlite:///shop.db --copy-to /mnt/vault
dumpty backup sqlite:///shop.db --encrypt-to recipients.txt --sign-with signing.key
dumpty backup sqlite:///shop.db --shrink-guard
dumpty backup env:SHOP_URL --format sql --compressor zstd -o zstd.level=9
dumpty backup 'postgresql://backup@db.example.org/*' --exclude '*_test'
dumpty backup 'sqlite:////srv/apps/**/*.sqlite3'
dumpty backup postgresql://backup@localhost/shop --via ssh://ops@db1.example.org
"""


FormatName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The form of the dump; auto: in parts where the driver can, else native where it has it, else its first.",
    ),
]
Compressor = Annotated[str, typer.Option(metavar="NAME", help="gzip, zstd, another plugin's name, or none.")]
Verifier = Annotated[str, typer.Option(metavar="NAME", help="A further digest to keep; SHA-256 is always kept.")]
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
Include = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="GLOB", help="Of several databases only those of such names; may be repeated."),
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", help="What to call the backup, beside its database; may be repeated."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="Of several databases none of such names; may be repeated."),
]


def backup(
    url: Annotated[str, typer.Argument(metavar="URL", help=URL_HELP)],
    directory: Directory = DIRECTORY,
    format: FormatName = AUTO,
    compressor: Compressor = "gzip",
    verifier: Verifier = "sha256",
    jobs: Jobs = None,
    rate_limit: RateLimit = None,
    copy_to: CopyTo = None,
    encrypt_to: EncryptTo = None,
    sign_with: SignWith = None,
    include: Include = None,
    exclude: Exclude = None,
    tag: Tags = None,
    shrink_guard: ShrinkGuard = False,
    via: Via = None,
    option: PluginOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Back up a database, or every database of a server.

    Writes one complete, consistent dump of the database into the backup directory, compressed and with its digests.
    A backup that is reported as done is whole; one that fails leaves nothing behind, and every earlier one as it was.
    A copy that fails is told with status 12, for the backup is made. So is one that --shrink-guard finds suspicious: no
    rule removes an older one for it until you say `dumpty accept`. With --encrypt-to only the identity of a recipient
    reads it: `dumpty keys new` makes one. With --sign-with nobody without that key makes a backup that
    `dumpty restore --require-signature` accepts. Where the URL's path has wildcards, each database that they mean is
    backed up, one after another: the failure of one stops no other, and is told.
    """
    from dumpty.backup_manager import BackupManager
    from dumpty.operations.databases import find_databases, has_wildcards
    from dumpty.registry.host import default_host

    database_url, source = read_url(url)
    options, rate = parse_options(option, jobs), parse_rate(rate_limit)
    keys = {"encrypt_to": read_recipients(encrypt_to), "sign_with": read_signing_key(sign_with)}
    check_places(directory, copy_to or ())
    host = default_host()
    host.driver(source.scheme).formats(format)  # refused before anything is looked for
    scope = {"include": include or (), "exclude": exclude or ()}
    databases = find_databases(host, database_url, **scope, via=via, overrides=options)
    manager = BackupManager(directory, compressor=compressor, verifier=verifier)
    kind = {"format": format, "rate_limit": rate, "tags": tag or (), "shrink_guard": _rules(shrink_guard)}
    work = Work(manager, {**kind, **options, **keys, "via": via}, copy_to or (), json=json, quiet=quiet)
    return back_up_each(work, databases) if has_wildcards(host, database_url) else back_up(work, databases[0])


def _rules(shrink_guard: bool) -> ShrinkRules | None:
    from dumpty.types import ShrinkRules

    return ShrinkRules() if shrink_guard else None
