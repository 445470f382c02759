"""Keys as they are given on a command line: recipients and identities, and those of signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli import prompt
from dumpty.cli.output import warn
from dumpty.cli.urls import indirect, remember
from dumpty.errors import DumptyError, IdentityError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty.backup_manager import BackupManager
    from dumpty.operations.result import Backup
    from dumpty.types import Identity, Recipient, SigningKey, VerificationKey

__all__ = [
    "CIPHER",
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

CIPHER = "age"
"""The plugin that encrypts, and makes keys."""

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
    """Return the recipients that ``--encrypt-to`` names; None where it was not given.

    Raises:
        UsageError, CommandError: there is nothing to read.
        OptionError: what is there is no recipient.
    """
    from dumpty.encryption.recipients import recipients_in

    if not arguments:
        return None
    found: list[str | Recipient] = []
    for argument in arguments:
        text = indirect(argument, "recipient")
        found += [argument] if text is None else recipients_in(*text)
    return found


def read_identities(arguments: Iterable[str] | None) -> tuple[Identity, ...]:
    """Return the identities that ``--identity`` names; a passphrase is asked for on the terminal, where there is one.

    Raises:
        UsageError, CommandError: there is nothing to read.
        IdentityError: what is there is no identity, or its passphrase is another.
    """
    if not arguments:
        return ()
    from dumpty.encryption.identities import IdentityReader
    from dumpty.registry.host import default_host

    host = default_host()
    reader = IdentityReader(host, lambda: host.named("cipher", CIPHER), prompt.passphrase)
    found: list[Identity] = []
    for argument in arguments:
        text = indirect(argument, "identity")
        found += reader.read([argument]) if text is None else reader.parse(text[0].encode(), text[1])
    remember(secret for identity in found for secret in identity.secrets)
    return tuple(dict.fromkeys(found))


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
    """Return the key that ``--sign-with`` names; None where it was not given.

    Raises:
        UsageError, CommandError: there is nothing to read.
        OptionError: what is there is no key that signs.
    """
    if argument is None:
        return None
    from dumpty.signing import keys
    from dumpty.types import SigningKey

    text = indirect(argument, "signing key")
    key = keys.read_signing_key(argument if text is None else SigningKey(text=text[0], origin=text[1]))
    remember(key.secrets)
    return key


def read_requirement(arguments: Iterable[str] | None) -> tuple[VerificationKey, ...] | None:
    """Return the keys that ``--require-signature`` names; None where it was not given.

    Raises:
        UsageError, CommandError: there is nothing to read.
        OptionError: what is there is no public key.
    """
    if not arguments:
        return None
    from dumpty.signing.keys import read_verification_keys, verification_keys_in

    found: list[str | VerificationKey] = []
    for argument in arguments:
        text = indirect(argument, "public key")
        found += [argument] if text is None else verification_keys_in(*text)
    return read_verification_keys(found)
