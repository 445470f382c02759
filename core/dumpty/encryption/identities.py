"""Identities as people name them: private keys, and files of them, which a passphrase may protect."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dumpty.encryption.envelope import decrypt
from dumpty.encryption.recipients import MOST_BYTES
from dumpty.encryption.ssh_keys import has_passphrase, without_passphrase
from dumpty.errors import IdentityError, IntegrityError
from dumpty.types import Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin

__all__ = ["PASSPHRASE", "IdentityReader"]

PASSPHRASE = "DUMPTY_IDENTITY_PASSPHRASE"  # noqa: S105 - the name of an environment variable
"""The environment variable with the passphrase of identity files."""

_SEALED = (b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")
_PRIVATE = "-----BEGIN "
_KEY = "AGE-SECRET-KEY-1"


class IdentityReader:
    """Reads identities.

    Args:
        host: whose plugins open what a passphrase protects.
        cipher: returns the one that does; asked only where it is needed.
        ask: asks for a passphrase, shown which file it is of; None where nobody can be asked.
    """

    def __init__(self, host: Host, cipher: Callable[[], Plugin], ask: Callable[[str], str] | None = None) -> None:
        self._host = host
        self._cipher = cipher
        self._ask = ask

    def read(self, values: Iterable[str | os.PathLike[str] | Identity]) -> tuple[Identity, ...]:
        """Return the identities that ``values`` are or lead to.

        A value is a private key, ``AGE-SECRET-KEY-1…`` or an SSH one (the content of its file), or the path of a file
        of such keys, which may be sealed with a passphrase; an SSH one may have one of its own.

        Raises:
            TypeError: ``values`` is one value.
            IdentityError: one is none of this, cannot be read, or its passphrase is not known.
        """
        if isinstance(values, (str, os.PathLike, Identity)):
            raise TypeError("identities are several, not one: [identity]")
        found: dict[Identity, None] = {}
        for value in values:
            if isinstance(value, Identity):
                found[value] = None
            elif isinstance(value, str) and (_KEY in value.upper() or _PRIVATE in value):
                found |= dict.fromkeys(self.parse(value.encode(), "the identity"))
            else:
                found |= dict.fromkeys(self._read_file(os.fspath(value)))
        return tuple(found)

    def parse(self, data: bytes, origin: str) -> list[Identity]:
        """Return the identities in the content of a file, which ``origin`` names; errors as for ``read``."""
        if data.lstrip().startswith(_SEALED):
            data = self._unseal(data, origin)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise IdentityError(f"{origin} is no text, so it holds no identity") from None
        if _PRIVATE in text:
            if has_passphrase(text):
                text = without_passphrase(text, self._passphrase(origin), origin)
            return [Identity(kind="ssh", text=text.strip() + "\n", origin=origin)]
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
        keys = [(number, line) for number, line in lines if line and not line.startswith("#")]
        for number, line in keys:
            if not line.startswith(_KEY):
                hint = "a recipient, which is public and opens nothing" if line.startswith(("age1", "ssh-")) else ""
                raise IdentityError(
                    f"{origin}, line {number}, is {hint or 'no identity'}: {_KEY}… or an SSH private key is expected"
                )
        if not keys:
            raise IdentityError(f"{origin} holds no identity: {_KEY}… or an SSH private key is expected")
        return [Identity(kind="X25519", text=line, origin=origin) for _, line in keys]

    def _read_file(self, path: str) -> list[Identity]:
        try:
            with open(path, "rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise IdentityError(f"the identity file {path} cannot be read: {error.strerror or error}") from None
        if len(data) > MOST_BYTES:
            raise IdentityError(f"the identity file {path} is longer than {MOST_BYTES:,} bytes: it is another one")
        return self.parse(data, f"the identity file {path}")

    def _unseal(self, data: bytes, origin: str) -> bytes:
        """Return what a passphrase protects."""
        identity = Identity(kind="scrypt", text=self._passphrase(origin), origin="the passphrase")
        try:
            return decrypt(self._host, self._cipher(), data, (identity,), {})
        except IdentityError as error:
            raise IdentityError(f"{origin} is not opened: {error}") from None
        except IntegrityError as error:
            raise IdentityError(f"{origin} is damaged: {error}") from None

    def _passphrase(self, origin: str) -> str:
        passphrase = os.environ.get(PASSPHRASE) or (self._ask(f"Passphrase of {origin}: ") if self._ask else "")
        if not passphrase:
            raise IdentityError(f"{origin} is sealed with a passphrase: give it in the environment, as {PASSPHRASE}")
        return passphrase
