"""Keys as people name them: public ones and files of them, and the files of private ones."""

from __future__ import annotations

import base64
import binascii
import os
from typing import TYPE_CHECKING

from dumpty.errors import OptionError
from dumpty.signing.wire import KEY_BYTES, KIND, fingerprint, private_key_head, public_blob, split_strings
from dumpty.types import SigningKey, VerificationKey

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "check_signing_key",
    "described",
    "public_line",
    "read_signing_key",
    "read_verification_keys",
    "verification_keys_in",
]

_MOST_BYTES = 1 << 20
"""Of a file of keys."""
_SHOWN = 40
"""How many characters of what is no key a message shows."""
_PRIVATE = "-----BEGIN "
_IDENTITY = "AGE-SECRET-KEY-"
_PUBLIC = ("ssh-", "ecdsa-", "sk-")
_NEW = "dumpty keys new --signing, or ssh-keygen -t ed25519, makes one"


def read_verification_keys(
    values: Iterable[str | os.PathLike[str] | VerificationKey] | None,
) -> tuple[VerificationKey, ...]:
    """Return the public keys that ``values`` are or lead to, each once; none for None.

    A value is the line of a public key (``ssh-ed25519 AAAA… whose``), or the path of a file with one in each line,
    beside blank lines and comments (``#``).

    Raises:
        TypeError: ``values`` is one value.
        OptionError: there is none, a value is none of this, or a file cannot be read or holds something else.
    """
    if values is None:
        return ()
    if isinstance(values, (str, os.PathLike, VerificationKey)):
        raise TypeError("the keys of which a signature is required are several, not one: [key]")
    found: dict[bytes, VerificationKey] = {}
    for value in values:
        for key in [value] if isinstance(value, VerificationKey) else _read_public(value):
            found.setdefault(key.data, key)
    if not found:
        raise OptionError("a signature is required, and of no key: name one, ssh-ed25519 … or a file of such lines")
    return tuple(found.values())


def verification_keys_in(text: str, origin: str) -> list[VerificationKey]:
    """Return the public keys in the text of a file, which ``origin`` names.

    Raises:
        OptionError: it holds something else, or none.
    """
    _refuse_secret(text, origin)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    found = [_parse(line, f"{origin}, line {number},") for number, line in lines if line and not line.startswith("#")]
    if not found:
        raise OptionError(f"{origin} holds no public key: one in each line is expected, {KIND} …")
    return found


def read_signing_key(value: str | os.PathLike[str] | SigningKey) -> SigningKey:
    """Return the private key that ``value`` is, or leads to: the content of its file, or the path of that.

    Raises:
        OptionError: it is none that signs, or cannot be read.
    """
    if isinstance(value, SigningKey):
        key = value
    elif isinstance(value, str) and (_PRIVATE in value or _is_public(value)):
        key = SigningKey(text=value)
    else:
        path = os.fspath(value)
        label = f"the file of the signing key {path}"
        key = SigningKey(text=_read_text(path, label, "no signing key"), origin=label)
    check_signing_key(key)
    return key


def check_signing_key(key: SigningKey) -> None:
    """See that a signing key may be one, as far as its file says without a library.

    Raises:
        OptionError: it is not; nothing secret is in the text.
    """
    origin, text = key.origin, key.text.strip()
    if any(_is_public(line) for line in text.splitlines()):
        raise OptionError(
            f"{origin} is a public key, which signs nothing: name the private key that belongs to it (its file has no "
            ".pub at its end)"
        )
    if _IDENTITY in text.upper():
        raise OptionError(f"{origin} is an identity of age, which opens backups and signs none: {_NEW}")
    if _PRIVATE not in text:
        raise OptionError(f"{origin} is no SSH private key: {_NEW}")
    try:
        head = private_key_head(text)
    except ValueError as error:
        raise OptionError(f"{origin} is no private key of OpenSSH's format ({error}): {_NEW}") from None
    if head.kind != KIND:
        raise OptionError(f"{origin} is of the type {head.kind[:_SHOWN]}, and only {KIND} signs backups: {_NEW}")
    if head.has_passphrase:
        raise OptionError(
            f"{origin} has a passphrase, which cannot be asked for: take it from a copy that only this account can "
            "read (ssh-keygen -p -N '' -f COPY), or sign with another key (dumpty keys new --signing)"
        )


def public_line(key: VerificationKey) -> str:
    """Return the line of a public key, as the file beside its private key has it."""
    return f"{KIND} {base64.b64encode(public_blob(key.data)).decode()} {key.comment}".rstrip()


def described(key: VerificationKey) -> str:
    """Return a key as messages name it: its fingerprint, and whose it is."""
    return fingerprint(key.data) + (f" ({key.comment})" if key.comment else "")


def _read_public(value: str | os.PathLike[str]) -> list[VerificationKey]:
    if isinstance(value, str) and (_is_public(value) or _PRIVATE in value or _IDENTITY in value.upper()):
        return verification_keys_in(value, "the key")
    path = os.fspath(value)
    label = f"the file of public keys {path}"
    return verification_keys_in(_read_text(path, label, f"no public key ({KIND} …)"), label)


def _read_text(path: str, label: str, otherwise: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise OptionError(f"{label} is longer than {_MOST_BYTES:,} bytes: it is another one")
        return data.decode()
    except OSError as error:
        raise OptionError(f"{path!r} is {otherwise}, and no file is read there: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise OptionError(f"{label} is no text, so it holds no key") from None


def _parse(line: str, label: str) -> VerificationKey:
    kind, *rest = line.split(None, 2)
    if not kind.startswith(_PUBLIC):
        raise OptionError(f"{label} {line[:_SHOWN]!r} is no public key: {KIND} AAAA… is expected")
    if kind != KIND:
        raise OptionError(f"{label} is of the type {kind[:_SHOWN]}, and backups are signed with {KIND} alone")
    try:
        data = base64.b64decode(rest[0] if rest else "", validate=True)
        inner_kind, key, remainder = split_strings(data, 2)
    except (binascii.Error, ValueError):
        inner_kind, key, remainder = b"", b"", b""
    if inner_kind != KIND.encode() or len(key) != KEY_BYTES or remainder:
        raise OptionError(f"{label} is mistyped or cut off: copy the key once more, whole, from where it was made")
    return VerificationKey(data=key, comment=" ".join(rest[1].split()) if rest[1:] else "")


def _refuse_secret(text: str, origin: str) -> None:
    if _PRIVATE in text or _IDENTITY in text.upper():
        raise OptionError(
            f"{origin} is a private key, which is secret, and shows nobody who signed: name the public one that "
            "belongs to it (ssh-keygen -y -f FILE prints it)"
        )


def _is_public(text: str) -> bool:
    """Return whether ``text`` begins as the line of a public key does, and not as a path: ``ssh-keys/mine.pub``."""
    kind, *rest = text.split(None, 1) or [""]
    return kind.startswith(_PUBLIC) and bool(rest)
