"""The header of an age file, read without any key: for whom it is.

https://age-encryption.org/v1: a line with the version, a stanza for each recipient, and a line with the header's
authentication code. A stanza is a line ``-> TYPE ARGUMENT…`` and lines of base64, the last one shorter than 64
characters. Whoever writes may add stanzas that nobody can use, so that readers learn to pass them over ("grease").
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from dumpty.errors import IntegrityError
from dumpty.types import RECIPIENT_KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.types import Buffer, Reader

__all__ = ["MOST_HEADER_BYTES", "Beginning", "payload_length", "require_encrypted"]

_VERSION = b"age-encryption.org/v1"
_COLUMNS = 64
_LIMIT = 1 << 20
"""How long a header may be, in bytes: thousands of recipients."""

_BLOCK = 1 << 14
_END = b"\n---"
_MAC_BYTES = 48
"""How many bytes may stand behind that in the header, at most."""

_NONCE_BYTES, _TAG_BYTES, _CHUNK_BYTES = 16, 16, 1 << 16
MOST_HEADER_BYTES = _LIMIT

_STANZA = re.compile(rb"-> (?P<type>[!-~]+)( [!-~]+)*")
_BODY = re.compile(rb"[A-Za-z0-9+/]*")
_MAC = re.compile(rb"--- [A-Za-z0-9+/]{43}")
_GREASE = "-grease"


class Beginning:
    """Keeps the beginning of what goes by: as long as a header may be."""

    def __init__(self) -> None:
        self._data = bytearray()

    def update(self, data: Buffer, /) -> None:
        """Add bytes."""
        room = _LIMIT - len(self._data)
        if room > 0:
            self._data += memoryview(data)[:room]

    def hexdigest(self) -> str:
        """It is no digest."""
        return ""

    @property
    def is_enough(self) -> bool:
        """Whether a header that begins here would have ended."""
        return len(self._data) >= _LIMIT or _END in self._data[:-_MAC_BYTES]

    def require_encrypted(self, kinds: Sequence[str], label: str, lengths: tuple[int, int] | None = None) -> None:
        """Check what was kept (``require_encrypted``).

        Args:
            kinds: of which kind each recipient is.
            label: names it in messages.
            lengths: of the file, and of what it should hold, in bytes; None where they are not known.

        Raises:
            IntegrityError: it is no age file, for others, or holds more or less.
        """
        data = bytes(self._data)
        _require(_kinds(data, label), kinds, label)
        if lengths is not None:
            length, content = lengths
            header = data.index(b"\n", data.index(_END) + 1) + 1
            if length != header + payload_length(content):
                raise IntegrityError(
                    f"{label} does not hold the {content:,} bytes that were to be encrypted: it has {length:,} bytes, "
                    f"and would have {header + payload_length(content):,}"
                )


def payload_length(content: int) -> int:
    """Return how long what follows the header is, for so many bytes: a nonce, and a tag for each block of 64 KiB."""
    return _NONCE_BYTES + content + _TAG_BYTES * max(1, -(-content // _CHUNK_BYTES))


def require_encrypted(stream: Reader, kinds: Sequence[str], label: str) -> None:
    """Check that what ``stream`` begins with is the header of an age file for recipients of exactly these kinds.

    Raises:
        IntegrityError: it is none, or for others; ``label`` names it.
    """
    beginning = Beginning()
    while not beginning.is_enough and (block := stream.read(_BLOCK)):
        beginning.update(block)
    beginning.require_encrypted(kinds, label)


def _require(found: Sequence[str], kinds: Sequence[str], label: str) -> None:
    if Counter(found) != Counter(kinds):
        raise IntegrityError(
            f"{label} is encrypted to other recipients than those asked for: {_counted(found)}, not {_counted(kinds)}"
        )


def _counted(kinds: Sequence[str]) -> str:
    return ", ".join(f"{kind} ({count})" for kind, count in sorted(Counter(kinds).items())) or "nobody"


def _kinds(data: bytes, label: str) -> list[str]:
    """Return the type of each stanza in the header that ``data`` begins with, but for what nobody can use."""
    header, found, _ = data.partition(_END)
    mac = data[len(header) + 1 :].partition(b"\n")[0] if found else b""
    lines = header.split(b"\n")
    if lines[0] != _VERSION or not _MAC.fullmatch(mac):
        raise IntegrityError(f"{label} does not begin as an age file does, so it is not encrypted as was asked for")
    kinds = []
    in_body = False
    for line in lines[1:]:
        if in_body:
            if len(line) > _COLUMNS or not _BODY.fullmatch(line):
                raise IntegrityError(f"{label} begins as an age file does, and its header is damaged")
            in_body = len(line) == _COLUMNS
        elif match := _STANZA.fullmatch(line):
            kinds.append(match["type"].decode())
            in_body = True
        else:
            raise IntegrityError(f"{label} begins as an age file does, and its header is damaged")
    if in_body:
        raise IntegrityError(f"{label} begins as an age file does, and its header is damaged")
    # Whoever means to smuggle in a reader could call a stanza so, too: this is no defence against a hostile cipher.
    return [kind for kind in kinds if kind in RECIPIENT_KINDS or not kind.endswith(_GREASE)]
