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
_MAX_ARGUMENTS = 8
_MAX_ARGUMENT = 1 << 32
_MAX_LINE = 16


def command(*arguments: bytes) -> bytes:
    """Return one command as bytes to send."""
    return b"*%d\r\n" % len(arguments) + b"".join(
        b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments
    )


def commands(stream: Reader) -> Iterator[list[bytes]]:
    """Yield the commands of a dump, to the verified end of the stream.

    Raises:
        IntegrityError: it is cut off, or holds anything else.
    """
    text = _Text(stream)
    while line := text.line():
        count = _number(line, b"*", _MAX_ARGUMENTS)
        arguments = []
        for _ in range(count):
            arguments.append(text.exactly(_number(text.line(), b"$", _MAX_ARGUMENT)))
            if text.exactly(2) != b"\r\n":
                raise IntegrityError("the dump is damaged: a word is longer than it says")
        yield arguments


def _number(line: bytes, mark: bytes, maximum: int) -> int:
    digits = line[1:]
    if line[:1] != mark or not digits.isdigit() or int(digits) > maximum:
        raise IntegrityError(f"the dump is damaged: {line[:_MAX_LINE]!r} stands where a length should")
    return int(digits)


class _Text:
    def __init__(self, stream: Reader) -> None:
        self._stream = stream
        self._unread = b""

    def line(self) -> bytes:
        """Return the next line without its end; b"" at the end of the stream only."""
        while b"\r\n" not in self._unread:
            block = self._stream.read(_BLOCK) if len(self._unread) <= _MAX_LINE else b""
            if not block:
                if self._unread:
                    raise IntegrityError("the dump ends within a command, or holds what is none")
                return b""
            self._unread += block
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line or b"?"

    def exactly(self, size: int) -> bytes:
        blocks, length = [self._unread], len(self._unread)
        while length < size:
            block = self._stream.read(_BLOCK)
            if not block:
                raise IntegrityError("the dump ends within a command: it is truncated")
            blocks.append(block)
            length += len(block)
        data = b"".join(blocks) if len(blocks) > 1 else self._unread
        self._unread = data[size:]
        return data[:size]
