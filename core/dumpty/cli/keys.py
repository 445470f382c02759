"""Recipients and identities as they are given on a command line."""

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
    from dumpty.types import Identity, Recipient

__all__ = ["EncryptTo", "Identities", "opened", "read_identities", "read_recipients"]

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
