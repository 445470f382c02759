"""SSH private keys that a passphrase protects: opened in memory, for whoever decrypts with them."""

from __future__ import annotations

import base64
import binascii

from dumpty.errors import DependencyError, IdentityError

__all__ = ["has_passphrase", "without_passphrase"]

_OPENSSH = "-----BEGIN OPENSSH PRIVATE KEY-----"
_OPENSSH_END = "-----END"
_OPEN = b"openssh-key-v1\0\0\0\0\x04none"
"""How a key begins that nothing protects: OpenSSH's PROTOCOL.key"""
_PROTECTED_PEM = ("Proc-Type: 4,ENCRYPTED", "-----BEGIN ENCRYPTED PRIVATE KEY-----")


def has_passphrase(text: str) -> bool:
    """Return whether a passphrase protects the private key in the text of a file."""
    if any(mark in text for mark in _PROTECTED_PEM):
        return True
    _, found, rest = text.partition(_OPENSSH)
    if not found:
        return False
    try:
        data = base64.b64decode("".join(rest.partition(_OPENSSH_END)[0].split()))
    except (binascii.Error, ValueError):
        return False  # whoever takes the key says what is wrong with it
    return not data.startswith(_OPEN)


def without_passphrase(text: str, passphrase: str, origin: str) -> str:
    """Return the text of a private key, which ``origin`` names, as it is without its passphrase.

    Raises:
        IdentityError: the passphrase is another, or the key is damaged or of a kind that is not known.
        DependencyError: a library is not installed.
    """
    try:
        import bcrypt  # noqa: F401 - cryptography reads no protected key without
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise DependencyError(
            'an SSH key with a passphrase needs cryptography and bcrypt: pip install "dumpty[age]"'
        ) from error
    load = serialization.load_ssh_private_key if _OPENSSH in text else serialization.load_pem_private_key
    try:
        key = load(text.strip().encode() + b"\n", passphrase.encode())
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        ).decode()
    except (ValueError, TypeError):  # its text may hold some of the key
        raise IdentityError(f"{origin} is not opened: the passphrase is another, or the key is damaged") from None
    except UnsupportedAlgorithm:
        raise IdentityError(f"{origin} is protected in a way, or of a kind, that is not known here") from None
