"""Keys as command lines and configurations name them: themselves, files of them, or from where nobody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.indirection import indirect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dumpty.types import Identity, Recipient, SigningKey, VerificationKey

__all__ = ["CIPHER", "given_identities", "given_recipients", "given_requirement", "given_signing_key"]

CIPHER = "age"
"""The plugin that encrypts, and makes keys."""


def given_recipients(arguments: Iterable[str]) -> list[str | Recipient]:
    """Return the recipients that ``arguments`` name: ``age1…``, ``ssh-…``, files of them, ``env:`` and the like.

    Raises:
        OptionError, CommandError: there is nothing to read, or what is there is no recipient.
    """
    from dumpty.encryption.recipients import recipients_in

    found: list[str | Recipient] = []
    for argument in arguments:
        text = indirect(argument, "recipient")
        found += [argument] if text is None else recipients_in(*text)
    return found


def given_identities(arguments: Iterable[str], ask: Callable[[str], str] | None = None) -> tuple[Identity, ...]:
    """Return the identities that ``arguments`` name; ``ask`` asks for the passphrase of a file.

    Raises:
        OptionError, CommandError: there is nothing to read.
        IdentityError: what is there is no identity, or its passphrase is another.
    """
    from dumpty.encryption.identities import IdentityReader
    from dumpty.registry.host import default_host

    host = default_host()
    reader = IdentityReader(host, lambda: host.named("cipher", CIPHER), ask)
    found: list[Identity] = []
    for argument in arguments:
        text = indirect(argument, "identity")
        found += reader.read([argument]) if text is None else reader.parse(text[0].encode(), text[1])
    return tuple(dict.fromkeys(found))


def given_signing_key(argument: str) -> SigningKey:
    """Return the key that signs which ``argument`` names.

    Raises:
        OptionError, CommandError: there is nothing to read, or what is there is no key that signs.
    """
    from dumpty.signing import keys
    from dumpty.types import SigningKey

    text = indirect(argument, "signing key")
    return keys.read_signing_key(argument if text is None else SigningKey(text=text[0], origin=text[1]))


def given_requirement(arguments: Iterable[str]) -> tuple[VerificationKey, ...]:
    """Return the public keys that ``arguments`` name.

    Raises:
        OptionError, CommandError: there is nothing to read, or what is there is no public key.
    """
    from dumpty.signing.keys import read_verification_keys, verification_keys_in

    found: list[str | VerificationKey] = []
    for argument in arguments:
        text = indirect(argument, "public key")
        found += [argument] if text is None else verification_keys_in(*text)
    return read_verification_keys(found)
