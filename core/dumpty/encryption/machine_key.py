"""This machine's own key: it opens what is sealed of the manifests that were written here, and no dump.

What a backup holds is sealed to its recipients, and the machine that makes it is none of them. To compare a backup with
the one before, and to show what is in it, that machine needs the counts that it has itself taken: so the sealed part
alone is encrypted to a key of its own, too, made when the first encrypted backup is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import platformdirs

from dumpty.encryption.envelope import decrypt, encrypt
from dumpty.encryption.identities import IdentityReader
from dumpty.encryption.recipients import MOST_BYTES, recipients_in
from dumpty.errors import DumptyError, OptionError
from dumpty.process.owned_directory import open_regular

if TYPE_CHECKING:
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Identity, KeyPair, Recipient

__all__ = ["VARIABLE", "key_text", "machine_identities", "machine_recipients"]

VARIABLE = "DUMPTY_MACHINE_KEY"
"""The environment variable with the path of the key's file, or ``off``."""

_OFF = "off"
_NAME = "machine-key.txt"
_PUBLIC = "# public key: "
_log = logging.getLogger("dumpty")


def machine_recipients(host: Host, cipher: Plugin) -> tuple[Recipient, ...]:
    """Return the recipient of this machine's key, which is made where there is none; () where it is turned off.

    Where it cannot be made, or what it encrypts it does not open, that is logged, and () returned: a backup needs none.
    """
    path = _path()
    if not path:
        return ()
    try:
        text = _read(path)
        if text is None and host.can(cipher, "new_identity"):
            _make(path, key_text(host.new_identity(cipher)))
            text = _read(path)
        return () if text is None else (_tried(host, cipher, text, path),)
    except (OSError, ValueError, DumptyError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        text = "this machine's own key %s cannot be used, so it will not know what is in its backups: %s (or %s=off)"
        _log.warning(text, path, reason, VARIABLE, extra={"event": "no-machine-key"})
        return ()


def machine_identities(host: Host, cipher: Plugin) -> tuple[Identity, ...]:
    """Return the identity of this machine's key; () where there is none, or none that can be used."""
    path = _path()
    try:
        text = _read(path) if path else None
        return () if text is None else _identities(host, cipher, text, path)
    except (OSError, ValueError, DumptyError):
        return ()


def key_text(pair: KeyPair) -> str:
    """Return a new key as the text of a file, as the age program has it."""
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"# created: {created}\n{_PUBLIC}{pair.recipient.text}\n{pair.identity.text}\n"


def _path() -> str:
    """Return the path of the key's file; "" where there is to be none."""
    named = os.environ.get(VARIABLE, "")
    if named.lower() == _OFF:
        return ""
    if named:
        return os.path.expanduser(named)
    try:
        path = os.path.join(platformdirs.user_data_dir("dumpty", appauthor=False), _NAME)
    except RuntimeError:  # an account without a home
        return ""
    return path if os.path.isabs(path) else ""


def _read(path: str) -> str | None:
    """Return the text of the key's file, which must be this user's own; None where there is none.

    Raises:
        OSError: it cannot be read, or somebody else could have written it.
        OptionError: it is another file.
    """
    if not os.path.isabs(path):
        raise OptionError(f"{VARIABLE} is no absolute path")
    try:
        descriptor = open_regular(path, owners=())
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        if os.fstat(descriptor).st_mode & 0o077:
            raise PermissionError(0, f"others may read or write it: chmod 600 {path}", path)
        data = file.read(MOST_BYTES)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise OptionError("it is no text") from None


def _make(path: str, text: str) -> None:
    """Write a key's file, whole or not at all; where another process was faster its key stays.

    Raises:
        OSError: it cannot be written.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
    draft = f"{path}.{secrets.token_hex(8)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            if not os.path.lexists(path):
                os.replace(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def _identities(host: Host, cipher: Plugin, text: str, path: str) -> tuple[Identity, ...]:
    return tuple(IdentityReader(host, lambda: cipher).parse(text.encode(), f"this machine's own key {path}"))


def _tried(host: Host, cipher: Plugin, text: str, path: str) -> Recipient:
    """Return the recipient that stands beside an identity, and is that identity's own.

    Raises:
        OptionError: none does.
        DumptyError: what is encrypted to it that identity does not open.
    """
    for line in text.splitlines():
        if line.startswith(_PUBLIC):
            [recipient] = recipients_in(line.removeprefix(_PUBLIC), f"this machine's own key {path}")
            options = host.options({"encrypt": cipher}, {})["encrypt"]
            data = encrypt(host, cipher, b"", (recipient,), options, "what this machine's own key opens")
            decrypt(host, cipher, data, _identities(host, cipher, text, path), options)
            return recipient
    raise OptionError(f"it names no recipient: a line {_PUBLIC}age1… is expected; remove it, and a new one is made")
