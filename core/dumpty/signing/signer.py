"""Signing and checking with Ed25519: by the library ``cryptography``, which is imported here alone, when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dumpty.errors import DependencyError, OptionError
from dumpty.signing.keys import check_signing_key
from dumpty.types import SigningKey, VerificationKey

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Signer", "is_signature", "new_signing_key", "require_library"]


class Signer:
    """Signs with one key.

    Args:
        key: the private one.

    Raises:
        OptionError: it is none.
        DependencyError: the library is not installed.
    """

    def __init__(self, key: SigningKey) -> None:
        check_signing_key(key)
        serialization, ed25519 = _library()
        try:
            private = serialization.load_ssh_private_key(key.text.strip().encode() + b"\n", password=None)
            if not isinstance(private, ed25519.Ed25519PrivateKey):
                raise TypeError("it is of another type")
        except Exception as error:  # noqa: BLE001 - whatever the library meets: its text may hold some of it
            raise OptionError(
                f"{key.origin} is damaged or cut off ({type(error).__name__}): copy the key once more, whole"
            ) from None
        self._private: Any = private
        self.key = VerificationKey(data=private.public_key().public_bytes_raw())

    def sign(self, statement: bytes) -> bytes:
        """Return the signature of ``statement``."""
        return bytes(self._private.sign(statement))


def is_signature(signature: bytes, key: bytes, statement: bytes) -> bool:
    """Return whether ``signature`` is that of ``statement`` by the holder of the public key ``key``.

    Raises:
        DependencyError: the library is not installed.
    """
    _, ed25519 = _library()
    from cryptography.exceptions import InvalidSignature

    try:
        ed25519.Ed25519PublicKey.from_public_bytes(key).verify(signature, statement)
    except (InvalidSignature, ValueError):
        return False
    return True


def new_signing_key(comment: str) -> tuple[SigningKey, VerificationKey]:
    """Return a new key, without a passphrase, and its public one, which says whose it is.

    Raises:
        DependencyError: the library is not installed.
    """
    serialization, ed25519 = _library()
    private = ed25519.Ed25519PrivateKey.generate()
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()
    public = VerificationKey(data=private.public_key().public_bytes_raw(), comment=comment)
    return SigningKey(text=text, origin="the new signing key"), public


def require_library() -> None:
    """See that signatures can be made and checked here.

    Raises:
        DependencyError: the library is not installed.
    """
    _library()


def _library() -> tuple[ModuleType, ModuleType]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise DependencyError('signatures need cryptography: pip install "dumpty[sign]"') from error
    return serialization, ed25519
