"""What the files of OpenSSH's keys are made of: strings of bytes, each behind its length."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KEY_BYTES", "KIND", "PrivateKeyHead", "fingerprint", "private_key_head", "public_blob", "split_strings"]

KIND = "ssh-ed25519"
KEY_BYTES = 32
_LENGTH_BYTES = 4
_BEGIN, _END = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"


class PrivateKeyHead(Struct, frozen=True, kw_only=True):
    """What a private key's file says without its passphrase: of which kind the key is, and whether it has one."""

    kind: str
    has_passphrase: bool


def fingerprint(key: bytes) -> str:
    """Return what ``ssh-keygen -l`` says of a public key: ``SHA256:…``."""
    digest = hashlib.sha256(public_blob(key)).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def public_blob(key: bytes) -> bytes:
    """Return a public key as its line has it, in base64."""
    return _join_strings([KIND.encode(), key])


def private_key_head(text: str) -> PrivateKeyHead:
    """Return what stands before the secret in the file of a private key.

    Raises:
        ValueError: it is none of OpenSSH's own format, or cut off.
    """
    begin, _, rest = text.strip().partition("\n")
    body, found, _ = rest.partition(_END)
    if begin.strip() != _BEGIN or not found:
        raise ValueError("it does not begin and end as one does")
    try:
        data = base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error:
        raise ValueError("what stands in it is no base64") from None
    if not data.startswith(_MAGIC):
        raise ValueError("what stands in it is no OpenSSH key")
    cipher, _kdf, _options, rest_of_data = split_strings(data[len(_MAGIC) :], 3)
    [public, _] = split_strings(rest_of_data[_LENGTH_BYTES:], 1)  # behind how many there are
    [kind, _] = split_strings(public, 1)
    return PrivateKeyHead(kind=kind.decode("ascii", "replace"), has_passphrase=cipher != b"none")


def split_strings(data: bytes, count: int) -> list[bytes]:
    """Return the first ``count`` strings of ``data``, and, last, what stands behind them.

    Raises:
        ValueError: there are fewer.
    """
    strings: list[bytes] = []
    for _ in range(count):
        length = int.from_bytes(data[:_LENGTH_BYTES], "big")
        end = _LENGTH_BYTES + length
        if len(data) < end:
            raise ValueError("it is cut off")
        strings.append(data[_LENGTH_BYTES:end])
        data = data[end:]
    return [*strings, data]


def _join_strings(strings: Iterable[bytes]) -> bytes:
    return b"".join(len(text).to_bytes(_LENGTH_BYTES, "big") + text for text in strings)
