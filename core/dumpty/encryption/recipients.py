"""Recipients as people name them: public keys, and files of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dumpty.errors import OptionError
from dumpty.types import Recipient

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KEY_LENGTH", "MOST_BYTES", "read_recipients", "recipients_in"]

MOST_BYTES = 1 << 20
"""Of a file of keys."""
KEY_LENGTH = 62
"""Characters of an X25519 recipient."""
_SSH = ("ssh-ed25519", "ssh-rsa")
_SECRET = ("AGE-SECRET-KEY-", "-----BEGIN", "AGE-PLUGIN-")


def read_recipients(values: Iterable[str | os.PathLike[str] | Recipient]) -> tuple[Recipient, ...]:
    """Return the recipients that ``values`` are or lead to, each once.

    A value is a public key (``age1…``, ``ssh-ed25519 …``, ``ssh-rsa …``), or the path of a file with one in each line,
    beside blank lines and comments (``#``).

    Raises:
        TypeError: ``values`` is one value.
        OptionError: a value is none of this, or a file cannot be read or holds something else.
    """
    if isinstance(values, (str, os.PathLike, Recipient)):
        raise TypeError("recipients are several, not one: [recipient]")
    found: dict[Recipient, None] = {}
    for value in values:
        if isinstance(value, Recipient):
            if value.kind == "scrypt":
                raise OptionError("a passphrase protects a key, and never a backup: encrypt to a recipient")
            found[value] = None
        else:
            found |= dict.fromkeys(_read(value))
    if not found:
        raise OptionError("a backup cannot be encrypted to nobody: name a recipient")
    return tuple(found)


def recipients_in(text: str, origin: str) -> list[Recipient]:
    """Return the recipients in the text of a file, which ``origin`` names.

    Raises:
        OptionError: it holds something else, or none.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    found = [_parse(line, f"{origin}, line {number},") for number, line in lines if line and not line.startswith("#")]
    if not found:
        raise OptionError(f"{origin} holds no recipient: one public key in each line is expected, age1… or ssh-…")
    return found


def _read(value: str | os.PathLike[str]) -> list[Recipient]:
    if isinstance(value, str) and value.strip().lower().startswith(("age1", "ssh-", *map(str.lower, _SECRET))):
        return [_parse(value.strip(), "the recipient")]
    path = os.fspath(value)
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise OptionError(f"the file of recipients {path} is longer than {MOST_BYTES:,} bytes: it is another one")
        return recipients_in(data.decode(), f"the file of recipients {path}")
    except OSError as error:
        reason = error.strerror or error
        raise OptionError(
            f"{path!r} is no recipient (age1…, ssh-ed25519 …, ssh-rsa …), and no file of them is there: {reason}"
        ) from None
    except UnicodeDecodeError:
        raise OptionError(f"the file of recipients {path} is no text") from None


def _parse(text: str, label: str) -> Recipient:
    """Return the recipient that one line is; whether the key in it is whole, the cipher says."""
    if text.upper().startswith(_SECRET):
        raise OptionError(
            f"{label} is an identity, which is secret, and reads backups: encrypt to its recipient, which stands "
            "beside it as a comment (# public key: age1…)"
        )
    if text.startswith("age1"):
        if len(text) != KEY_LENGTH or not text.isalnum():
            raise OptionError(
                f"{label} {text[:KEY_LENGTH]!r} has {len(text)} characters, and an X25519 key has {KEY_LENGTH}: it is "
                "cut off, mistyped, or a key of another kind (of a plugin, or post-quantum), which is not taken here"
            )
        return Recipient(kind="X25519", text=text)
    kind, *rest = text.split()
    for known in _SSH:
        if kind == known and rest:
            return Recipient(kind=known, text=f"{kind} {rest[0]}")  # type: ignore[arg-type]
    raise OptionError(
        f"{label} {text[:KEY_LENGTH]!r} is none that is known: age1…, ssh-ed25519 … and ssh-rsa … are; of other SSH "
        "keys age has no use"
    )
