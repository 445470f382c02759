"""Keys: whom a backup is encrypted to, and what opens it again; what it is signed with, and what shows who did."""

from __future__ import annotations

from typing import Any, Literal, get_args

from msgspec import Struct

from dumpty.types.partly_shown import PartlyShown

RecipientKind = Literal["X25519", "ssh-ed25519", "ssh-rsa", "scrypt"]
"""What a recipient is, in the words of the age format, whose header has one stanza of this type for each."""

IdentityKind = Literal["X25519", "ssh", "scrypt"]
"""What an identity is: the key of an X25519 or an SSH recipient, or a passphrase."""

RECIPIENT_KINDS: tuple[RecipientKind, ...] = get_args(RecipientKind)


class Recipient(PartlyShown, frozen=True, kw_only=True):
    """Somebody whom a file is encrypted to.

    ``kind`` is that of a public key, which ``text`` then is: ``age1…``, or ``ssh-ed25519 …`` without a comment. Or it
    is ``scrypt``, and ``text`` a passphrase: that is for a file of keys, never for a backup, and for nobody beside it.
    """

    kind: RecipientKind
    text: str

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("kind", self.kind), *([("text", self.text)] if self.kind != "scrypt" else [])]


class Identity(PartlyShown, frozen=True, kw_only=True):
    """The secret that opens what was encrypted to its recipient.

    ``kind`` is ``X25519``, and ``text`` one key, ``AGE-SECRET-KEY-1…``; or ``ssh``, and ``text`` the content of a
    private key's file; or ``scrypt``, and ``text`` a passphrase, alone. ``origin`` says in messages where it is from.
    """

    kind: IdentityKind
    text: str
    origin: str = "the identity"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("kind", self.kind), ("origin", self.origin)]

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never appear anywhere."""
        return tuple(line for line in self.text.splitlines() if line and not line.startswith("-----"))


class KeyPair(Struct, frozen=True, kw_only=True):
    """A new identity, and its recipient."""

    recipient: Recipient
    identity: Identity


class SigningKey(PartlyShown, frozen=True, kw_only=True):
    """The secret that backups are signed with.

    ``text`` is the content of an OpenSSH private key's file (Ed25519). ``origin`` says in messages where it is from.
    """

    text: str
    origin: str = "the signing key"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("origin", self.origin)]

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never appear anywhere."""
        return tuple(line for line in self.text.splitlines() if line and not line.startswith("-----"))


class VerificationKey(Struct, frozen=True, kw_only=True):
    """The public key (Ed25519) of somebody who signs backups.

    ``data`` is its 32 bytes; ``comment`` says in messages whose it is.
    """

    data: bytes
    comment: str = ""
