"""``dumpty copy``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumpty.cli import copying
from dumpty.cli.arguments import DIRECTORY, Database, Json, MaybeId, Quiet, Source, open_existing
from dumpty.cli.keys import (
    EncryptTo,
    Identities,
    RequireSignature,
    SignWith,
    read_identities,
    read_recipients,
    read_requirement,
    read_signing_key,
)
from dumpty.cli.output import Report  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.status import UsageError

if TYPE_CHECKING:
    from dumpty.backup_manager import BackupManager
    from dumpty.operations.selection import Filter
    from dumpty.types import VerificationKey

EXAMPLES = """
dumpty copy --from /srv/backups --to /mnt/vault
dumpty copy latest:shop --to /mnt/vault
dumpty copy --database shop --to /mnt/vault --json
dumpty copy --to s3://vault/shop --encrypt-to recipients.txt
"""


def copy(
    backup_id: MaybeId = None,
    to: Annotated[str, typer.Option("--to", metavar="REPO", help="The repository to copy into.")] = "",
    directory: Annotated[
        str,
        typer.Option("--from", "--dir", "-d", metavar="REPO", envvar="DUMPTY_DIR", help="The repository to copy from."),
    ] = DIRECTORY,
    missing: Annotated[
        bool, typer.Option("--missing", help="Every backup that is not there yet: the default without an ID.")
    ] = False,
    encrypt_to: EncryptTo = None,
    identity: Identities = None,
    sign_with: SignWith = None,
    require_signature: RequireSignature = None,
    database: Database = "",
    source: Source = "",
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Copy backups into another repository, as they are stored, or encrypted to others.

    A copy keeps the backup's id and times, its proofs and its pin; its bytes are compared with their SHA-256 on the
    way. Without an ID all are copied that are not there yet, the newest first. What was begun and not finished is begun
    anew by the next run. A pin that was set since is set there, too; nothing else there is changed, or removed. With
    --encrypt-to the copy alone is encrypted to these recipients, --identity opens what is encrypted already; its bytes
    are others then, so proofs and signatures stay behind; --sign-with signs it anew, and vouches for what lies here:
    with --require-signature only what the right key has signed is copied.
    """
    from dumpty.backup_manager import BackupManager
    from dumpty.operations.selection import Filter

    if not to:
        raise UsageError("say where to copy to: --to REPO")
    if missing and backup_id is not None:
        raise UsageError("name one backup by its id, or all that are not there yet with --missing")
    if identity and not encrypt_to:
        raise UsageError("--identity opens what is to be encrypted anew: say whom to, with --encrypt-to")
    keys: dict[str, Any] = {
        "encrypt_to": read_recipients(encrypt_to),
        "identities": read_identities(identity),
        "sign_with": read_signing_key(sign_with),
        "require_signature": read_requirement(require_signature),
    }
    manager = open_existing(directory)
    scope = Filter(database=database, source=source)
    backups, problems, suggestion = _chosen(manager, backup_id, scope, keys["require_signature"])
    nothing = f"no backups{scope} in {directory}: nothing was copied{suggestion}"
    ends = copying.Ends(directory, to, BackupManager(to))
    return copying.copy(manager, backups, problems, ends, nothing, keys, json=json, quiet=quiet)


def _chosen(
    manager: BackupManager, backup_id: str | None, scope: Filter, required: tuple[VerificationKey, ...] | None
) -> copying.Chosen:
    """Return the backups to copy, newest first, what cannot be read, and which database may be meant instead."""
    if backup_id is not None:
        found = manager.find(backup_id, database=scope.database, source=scope.source, require_signature=required)
        return copying.Chosen([found], [], "")
    listing = manager.listing()
    backups = scope.filter(reversed(listing.backups))
    return copying.Chosen(backups, listing.problems, scope.suggestion(listing.backups))
