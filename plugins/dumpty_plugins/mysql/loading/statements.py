"""Reads a dump back, statement by statement, in constant memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dumpty import IntegrityError
from dumpty_plugins.mysql.dumping.script_writer import MARK, Totals, totals
from dumpty_plugins.mysql.loading.allowlist import INSERT, Allowlist, Statement, outside_strings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Reader

_CHUNK = 1 << 20
_STOP = re.compile(rb"[;'\"`#]|--[\x00-\x20]|/\*")


class StatementReader:
    """Iterates over the statements of a dump; afterwards ``totals`` is what its last line says.

    Raises:
        IntegrityError: the dump ends before its last line, goes on after it, or says what no dump of ours says.
    """

    def __init__(self, stream: Reader) -> None:
        self._stream = stream
        self._buffer = b""
        self._ended = False
        self._outside: bytes | None = None
        self.totals: Totals | None = None
        self.count = 0
        self._allowlist = Allowlist()

    def __iter__(self) -> Iterator[Statement]:
        for text in self._split():
            if self.totals is not None:
                raise IntegrityError("the dump goes on after its last line: it was altered, or two were joined")
            self.count += 1
            yield self._allowlist.validate(text, self._outside)
        if self.totals is None:
            raise IntegrityError("the dump has no last line: it is cut short; take another backup")
        if self.count != self.totals.statements:
            raise IntegrityError(f"the dump holds {self.count} statements, its last line says {self.totals.statements}")

    def _read_more(self, size: int = _CHUNK) -> bool:
        """Append to the buffer; False at the end."""
        block = self._stream.read(max(size, _CHUNK))
        if not block:
            self._ended = True
            return False
        self._buffer += block
        return True

    def _split(self) -> Iterator[bytes]:
        delimiter = b";"
        while True:
            self._buffer = self._buffer.lstrip()
            if not self._fill(16):
                if self._buffer:
                    self._buffer = self._buffer.lstrip()
                if not self._buffer:
                    return
            if self._buffer.startswith(b"--"):
                self._comment()
            elif self._buffer.startswith(b"DELIMITER "):
                line = self._take(self._line_end())
                delimiter = line.split()[-1] if len(line.split()) > 1 else b";"
            else:
                yield self._statement(delimiter)

    def _fill(self, size: int) -> bool:
        while len(self._buffer) < size:
            if not self._read_more():
                return False
            self._buffer = self._buffer.lstrip()
        return True

    def _take(self, size: int) -> bytes:
        piece, self._buffer = self._buffer[:size], self._buffer[size:]
        return piece

    def _line_end(self) -> int:
        while (end := self._buffer.find(b"\n")) < 0:
            if not self._read_more():
                return len(self._buffer)
        return end + 1

    def _comment(self) -> None:
        line = self._take(self._line_end())
        if line.startswith(MARK):
            self.totals = totals(line)

    def _statement(self, delimiter: bytes) -> bytes:
        self._outside = None
        if delimiter != b";":
            delimiter = b"\n" + delimiter + b"\n"
            end = self._find(delimiter, 0)
        elif self._buffer.startswith(b"INSERT INTO"):
            end = self._insert_end()
        else:
            end = self._end()
        text, rest = self._buffer[:end], end + len(delimiter)
        # With the line break, in one step: what is left may be as long again, and each step copies it.
        self._buffer = self._buffer[rest + (self._buffer[rest : rest + 1] == b"\n") :]
        return text

    def _find(self, text: bytes, start: int) -> int:
        while (end := self._buffer.find(text, start)) < 0:
            start = max(start, len(self._buffer) - len(text) + 1)
            if not self._read_more(len(self._buffer)):
                raise IntegrityError("the dump ends in the middle of a statement: it is cut short; take another backup")
        return end

    def _insert_end(self) -> int:
        # Rows hold no line break, so this is the end, and one search finds it. Where somebody has put one into a
        # string after all, the quotes up to it do not pair, and the next one is looked for.
        header = INSERT.match(self._buffer)
        while header is None and len(self._buffer) < _CHUNK and self._read_more():
            header = INSERT.match(self._buffer)
        if header is None:
            return self._end()  # to be refused
        start = header.end()
        while True:
            end = self._find(b";\n", start)
            self._outside = outside_strings(self._buffer[header.end() : end])
            if self._outside is not None:
                return end
            start = end + 1

    def _end(self) -> int:
        """Return where the statement at the front of the buffer ends, minding quotes and comments."""
        position = 0
        while True:
            match = _STOP.search(self._buffer, position)
            if match is None:
                position = max(position, len(self._buffer) - 2)
                if not self._read_more(len(self._buffer)):
                    raise IntegrityError(
                        "the dump ends in the middle of a statement: it is cut short; take another backup"
                    )
                continue
            token, position = match.group(), match.end()
            if token == b";":
                return match.start()
            if token in {b"'", b'"'}:
                position = self._string_end(token, position)
            elif token == b"`":
                position = self._find(b"`", position) + 1
            elif token == b"/*":
                position = self._find(b"*/", position) + 2
            else:
                position = self._find(b"\n", position - 1) + 1

    def _string_end(self, quote: bytes, start: int) -> int:
        position = start
        while True:
            end = self._find(quote, position)
            backslash_start = end
            while backslash_start > start and self._buffer[backslash_start - 1 : backslash_start] == b"\\":
                backslash_start -= 1
            if (end - backslash_start) % 2 == 0:
                return end + 1
            position = end + 1
