"""Commands in RESP, the protocol of Redis: written as a client sends them, read back strictly.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/ (arrays of bulk strings).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Reader

MARK = b"dumpty:restoring"
"""The key that marks a number as being restored into."""

END = b"dumpty: the dump ends here, keys: "

_BLOCK = 1 << 18
_MAX_WORDS = 8
_MAX_WORD = 1 << 32
_MAX_LINE = 16


def command(*words: bytes) -> bytes:
    """Return one command as bytes to send."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def commands(stream: Reader) -> Iterator[list[bytes]]:
    """Yield the commands of a dump, to the verified end of the stream.

    Raises:
        IntegrityError: it is cut off, or holds anything else.
    """
    text = _Text(stream)
    while line := text.line():
        count = _number(line, b"*", _MAX_WORDS)
        words = []
        for _ in range(count):
            words.append(text.exactly(_number(text.line(), b"$", _MAX_WORD)))
            if text.exactly(2) != b"\r\n":
                raise IntegrityError("the dump is damaged: a word is longer than it says")
        yield words


def _number(line: bytes, mark: bytes, most: int) -> int:
    digits = line[1:]
    if line[:1] != mark or not digits.isdigit() or int(digits) > most:
        raise IntegrityError(f"the dump is damaged: {line[:_MAX_LINE]!r} stands where a length should")
    return int(digits)


class _Text:
    def __init__(self, stream: Reader) -> None:
        self._stream = stream
        self._rest = b""

    def line(self) -> bytes:
        """Return the next line without its end; b"" at the end of the stream only."""
        while b"\r\n" not in self._rest:
            more = self._stream.read(_BLOCK) if len(self._rest) <= _MAX_LINE else b""
            if not more:
                if self._rest:
                    raise IntegrityError("the dump ends within a command, or holds what is none")
                return b""
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line or b"?"

    def exactly(self, size: int) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while have < size:
            more = self._stream.read(_BLOCK)
            if not more:
                raise IntegrityError("the dump ends within a command: it is truncated")
            parts.append(more)
            have += len(more)
        data = b"".join(parts) if len(parts) > 1 else self._rest
        self._rest = data[size:]
        return data[:size]
