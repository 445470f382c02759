"""The cipher ``age``: https://age-encryption.org/v1, by pyrage (the Rust implementation, rage)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dumpty import (
    DependencyError,
    Identity,
    IdentityError,
    IntegrityError,
    KeyPair,
    OptionError,
    PluginInfo,
    Recipient,
    TransformingReader,
    TransformingWriter,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty import ByteSink, Reader, Writer

_NAME = "dumpty-age"
_MOST_BY_PASSPHRASE = 1 << 20
"""Bytes of a file that is sealed with a passphrase: it holds keys, and is read as a whole."""
_NO_MATCH = "No matching keys found"
_WRONG = "Decryption failed"
_EXCESSIVE = "Excessive work"
_SCRYPT = re.compile(rb"\n-> scrypt [!-~]+ ([0-9]+)\n")
_LEAST_WORK = 16
"""The logarithm of how often scrypt goes round: what is made with less can be guessed too fast."""
_TRIES = 12


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(kind="cipher", summary="age: X25519 and SSH keys", suffix=".age", requires="dumpty[age]")


@hookimpl
def encrypt(sink: ByteSink, recipients: Sequence[Recipient]) -> Writer:
    """Return a writer of one age file.

    Raises:
        OptionError: a recipient is mistyped, or there is none.
    """
    library = _library()
    if not recipients:
        raise OptionError("nothing can be encrypted to nobody: name a recipient")
    if recipients[0].kind == "scrypt":
        return TransformingWriter(sink, lambda source, target: _seal(library, source, target, recipients), _NAME)
    keys = [_public_key(library, recipient) for recipient in recipients]
    return TransformingWriter(sink, lambda source, target: library.encrypt_io(source, target, keys), _NAME)


@hookimpl
def decrypt(stream: Reader, identities: Sequence[Identity]) -> Reader:
    """Return a reader of an age file.

    Raises:
        IdentityError: an identity is none, or (from ``read``) none opens it.
        IntegrityError: from ``read``, where the data is no age file, is truncated, damaged, or followed by other bytes.
    """
    library = _library()
    if any(identity.kind == "scrypt" for identity in identities):
        return TransformingReader(stream, lambda source, target: _unseal(library, source, target, identities), _NAME)
    keys = [_private_key(library, identity) for identity in identities]

    def transform(source: Any, target: ByteSink) -> None:
        try:
            library.decrypt_io(source, target, keys)
        except (library.DecryptError, OSError) as error:
            raise _failure(error, identities) from error

    return TransformingReader(stream, transform, _NAME)


@hookimpl
def new_identity() -> KeyPair:
    """Make an X25519 identity."""
    identity = _library().x25519.Identity.generate()
    return KeyPair(
        recipient=Recipient(kind="X25519", text=str(identity.to_public())),
        identity=Identity(kind="X25519", text=str(identity), origin="the new identity"),
    )


def _library() -> Any:
    try:
        import pyrage
    except ImportError as error:
        raise DependencyError('encryption with age needs pyrage: pip install "dumpty[age]"') from error
    return pyrage


def _public_key(library: Any, recipient: Recipient) -> Any:
    kind = library.x25519.Recipient if recipient.kind == "X25519" else library.ssh.Recipient
    try:
        return kind.from_str(recipient.text)
    except library.RecipientError as error:
        raise OptionError(
            f"the recipient {recipient.text[:72]!r} is mistyped or cut off ({_reason(error)}): copy it once more, "
            "whole, from where the key was made"
        ) from error


def _private_key(library: Any, identity: Identity) -> Any:
    try:
        if identity.kind == "ssh":
            return library.ssh.Identity.from_buffer(identity.text.encode())
        return library.x25519.Identity.from_str(identity.text)
    except library.IdentityError as error:
        if "must be decrypted first" in str(error):
            raise IdentityError(
                f"{identity.origin} is an SSH key with a passphrase, which cannot be asked for: take the passphrase "
                "from a copy of it (ssh-keygen -p -N '' -f COPY), or encrypt to a key of `dumpty keys new`, too"
            ) from error
        raise IdentityError(
            f"{identity.origin} is mistyped, cut off, or of a kind that age does not take ({_reason(error)})"
        ) from error


def _failure(error: Exception, identities: Sequence[Identity]) -> Exception:
    """Return what to say of an error of the library's: whose file it is, or that it is damaged."""
    if _NO_MATCH in str(error):
        names = list(dict.fromkeys(identity.origin for identity in identities))
        text = f"{' and '.join(names)} {'belongs' if len(names) == 1 else 'belong'}" if names else "no identity belongs"
        return IdentityError(f"{text} to none of those whom it is encrypted to")
    return IntegrityError(f"the age file is damaged or cut off: {_reason(error)}")


def _seal(library: Any, source: Any, target: ByteSink, recipients: Sequence[Recipient]) -> None:
    if len(recipients) > 1:
        raise OptionError("a passphrase stands alone: what it seals has no other recipient")
    content = _read_small(source)
    best = b""
    for _ in range(_TRIES):
        data = library.passphrase.encrypt(content, recipients[0].text)
        # The library measures for a moment how fast this machine is, and a busy one seems slow then.
        best = max(best, data, key=_work)
        if _work(best) >= _LEAST_WORK:
            break
    target.write(best)


def _work(data: bytes) -> int:
    """Return how much work an age file asks of whoever tries a passphrase."""
    found = _SCRYPT.search(data[: 1 << 10])
    return int(found[1]) if found else 0


def _unseal(library: Any, source: Any, target: ByteSink, identities: Sequence[Identity]) -> None:
    if len(identities) > 1:
        raise IdentityError("a passphrase stands alone: what it seals has no other recipient")
    content = _read_small(source)
    for tries_left in reversed(range(_TRIES)):
        try:
            target.write(library.passphrase.decrypt(content, identities[0].text))
        except library.DecryptError as error:
            # As above: a busy machine seems too slow for what it can do.
            if _EXCESSIVE not in str(error) or not tries_left:
                raise _not_unsealed(error) from error
        else:
            return


def _not_unsealed(error: Exception) -> Exception:
    """Return what to say of an error of the library's about what a passphrase seals."""
    if _WRONG in str(error):
        return IdentityError("the passphrase is not the one that it was sealed with")
    if _NO_MATCH in str(error):
        return IdentityError("it is not sealed with a passphrase, but encrypted to keys")
    if _EXCESSIVE in str(error):
        return IdentityError(
            "it was sealed on a machine so much faster that this one would need more than a quarter of a minute to try "
            "the passphrase: try again when it is less busy, or let `age -d` open the file"
        )
    return IntegrityError(f"the age file is damaged or cut off: {_reason(error)}")


def _read_small(source: Any) -> bytes:
    content = bytearray()
    while block := source.read(_MOST_BY_PASSPHRASE):
        content += block
        if len(content) > _MOST_BY_PASSPHRASE:
            raise OptionError("a passphrase seals keys alone: this is more than 1 MiB")
    return bytes(content)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
