"""Keys as they are given on a command line: recipients and identities, and those of signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli import prompt
from dumpty.cli.output import warn
from dumpty.cli.urls import remember
from dumpty.errors import DumptyError, IdentityError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty.backup_manager import BackupManager
    from dumpty.operations.result import Backup
    from dumpty.types import Identity, Recipient, SigningKey, VerificationKey

__all__ = [
    "EncryptTo",
    "Identities",
    "RequireSignature",
    "SignWith",
    "opened",
    "read_identities",
    "read_recipients",
    "read_requirement",
    "read_signing_key",
]

EncryptTo = Annotated[
    list[str] | None,
    typer.Option(
        "--encrypt-to",
        metavar="RECIPIENT",
        help="Encrypt the backup so that these alone can read it: age1…, ssh-ed25519 …, ssh-rsa …, a file of them, "
        "env:NAME, file:PATH or cmd:PROGRAM…; may be repeated.",
    ),
]
Identities = Annotated[
    list[str] | None,
    typer.Option(
        "--identity",
        metavar="FILE",
        help="What opens an encrypted backup: a file with an age or SSH private key, env:NAME, file:PATH or "
        "cmd:PROGRAM…; may be repeated.",
    ),
]

SignWith = Annotated[
    str | None,
    typer.Option(
        "--sign-with",
        metavar="KEY",
        help="Sign the backup: a file with an SSH private key (Ed25519), env:NAME, file:PATH or cmd:PROGRAM….",
    ),
]
RequireSignature = Annotated[
    list[str] | None,
    typer.Option(
        "--require-signature",
        metavar="KEY",
        help="Refuse what is not signed by this key: ssh-ed25519 …, a file of such lines, env:NAME, file:PATH or "
        "cmd:PROGRAM…; may be repeated: then one of them must have signed.",
    ),
]


def read_recipients(arguments: Iterable[str] | None) -> list[str | Recipient] | None:
    """Return the recipients that ``--encrypt-to`` names (``given_recipients``); None where it was not given."""
    from dumpty.operations.given_keys import given_recipients

    return given_recipients(arguments) if arguments else None


def read_identities(arguments: Iterable[str] | None) -> tuple[Identity, ...]:
    """Return the identities that ``--identity`` names; a passphrase is asked for on the terminal, where there is one.

    Raises:
        DumptyError: as ``given_identities``.
    """
    from dumpty.operations.given_keys import given_identities

    if not arguments:
        return ()
    found = given_identities(arguments, prompt.passphrase)
    remember(secret for identity in found for secret in identity.secrets)
    return found


def opened(manager: BackupManager, backup: Backup, identities: tuple[Identity, ...]) -> Backup:
    """Return a backup with what is sealed of it, opened by ``identities``; without any by this machine's own key.

    What that key does not open stays sealed, which is no failure.

    Raises:
        DumptyError: none of ``identities`` opens it, or what is sealed is damaged.
    """
    if identities and backup.sealed:
        return manager.unsealed(backup.id, identities)
    try:
        return manager.unsealed(backup.id) if backup.sealed else backup
    except IdentityError:
        return backup
    except DumptyError as error:
        warn(str(error))
        return backup


def read_signing_key(argument: str | None) -> SigningKey | None:
    """Return the key that ``--sign-with`` names (``given_signing_key``); None where it was not given."""
    from dumpty.operations.given_keys import given_signing_key

    if argument is None:
        return None
    key = given_signing_key(argument)
    remember(key.secrets)
    return key


def read_requirement(arguments: Iterable[str] | None) -> tuple[VerificationKey, ...] | None:
    """Return the keys that ``--require-signature`` names (``given_requirement``); None where it was not given."""
    from dumpty.operations.given_keys import given_requirement

    return given_requirement(arguments) if arguments else None
