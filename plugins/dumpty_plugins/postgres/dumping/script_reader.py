r"""Reads a plain dump as psql would: statements, the data of COPY, the end marker; and nothing that psql would *run*.

A dump is not to be trusted: psql's meta-commands (``\! rm -rf ~``) run on the machine that restores, and its own
guard against them (``\restrict``) was passed by in CVE-2026-18408. So dumpty never gives a dump to psql. The rules
for where a statement ends are those of PostgreSQL's ``src/fe_utils/psqlscan.l``: quotes of all kinds, comments,
parentheses, and the BEGIN ATOMIC ... END of SQL-standard function bodies.

The server's encodings all leave ASCII bytes alone, and pg_dump writes in the database's encoding: bytes will do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

END_MARKER = b"-- PostgreSQL database dump complete"
ROWS_END = b"-- End of the rows"
"""What ends a script of dumpty's own (``dumpty_plugins.postgres.dumping.rows_script``)."""
_VERSION_COMMENT = re.compile(rb"-- Dumped (from database|by pg_dump) version ([0-9][^\n]*)")
_END_OF_COPY = b"\n\\.\n"

_ESCAPED = rb"'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'(?!')"
_TOKENS = rb"""
    (?P<comment>--[^\n]*\n?)
  | (?P<block>/\*)
  | (?P<string>[eE]%(escaped)s|%(plain)s|"[^"]*")
  | (?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)
  | (?P<open>[eE]?'|")
  | (?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)
  | (?P<number>[0-9][A-Za-z0-9_$.]*)
  | (?P<mark>[();\\])
  | (?P<other>[-/]|\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?)
"""


def _compile(plain: bytes) -> re.Pattern[bytes]:
    return re.compile(_TOKENS % {b"escaped": _ESCAPED, b"plain": plain}, re.VERBOSE | re.DOTALL)


# Two adjacent quotes inside a string make it look like two strings: that ends statements at the same places.
_STANDARD = _compile(rb"'[^']*'")
_BACKSLASHES = _compile(_ESCAPED)  # for dumps of databases with standard_conforming_strings off
_BLOCK_COMMENT = re.compile(rb"/\*|\*/")
_META_COMMAND = re.compile(rb"\\(un)?restrict ([0-9A-Za-z]+)[ \t]*\r?\n")
_ENCODING = re.compile(rb"SET client_encoding = '(\w+)'")
_LARGE_OBJECT = re.compile(rb"SELECT pg_catalog\.lo_create\('?[0-9]+'?\);")
_COPY_NAME = re.compile(rb"COPY ((?:[^\s\"(]|\"(?:[^\"]|\"\")*\")+) ")


@dataclass(frozen=True)
class Statement:
    """One statement with its semicolon, and without the comments before it.

    ``keywords`` are its unquoted words, lower case: the first four and the last two. ``copy``: its data follows.
    ``encoding`` is PostgreSQL's name of the one that it is in.
    """

    text: bytes
    keywords: tuple[bytes, ...]
    copy: bool
    encoding: str = "UTF8"

    @property
    def makes_large_object(self) -> bool:
        """Whether it creates one large object."""
        return _LARGE_OBJECT.fullmatch(self.text) is not None

    @property
    def copy_table(self) -> bytes:
        """The table that a COPY statement names, quoted as there."""
        match = _COPY_NAME.match(self.text)
        return match[1] if match else b""


class _Pending:
    """The statement that is being read: its keywords so far, and whether a semicolon would end it."""

    def __init__(self) -> None:
        self.started = False
        self.keywords: list[bytes] = []
        self._parentheses = 0
        self._atomic = 0

    @property
    def may_end(self) -> bool:
        return self._parentheses <= 0 and not self._atomic

    def add(self, token: re.Match[bytes]) -> None:
        self.started = True
        if token.lastgroup == "mark":
            self._parentheses += {b"(": 1, b")": -1}.get(token[0], 0)
        elif token.lastgroup == "word":
            word = token[0].lower()
            self._follow_body(word)
            self.keywords.append(word)
            del self.keywords[4:-2]

    def _follow_body(self, word: bytes) -> None:
        """Keep track of BEGIN ATOMIC ... END in CREATE FUNCTION and PROCEDURE, by psql's own rule."""
        keywords = self.keywords
        created = keywords[3:4] if keywords[1:3] == [b"or", b"replace"] else keywords[1:2]
        if keywords[:1] != [b"create"] or created not in ([b"function"], [b"procedure"]) or self._parentheses:
            return
        if word == b"begin" or (word == b"case" and self._atomic):
            self._atomic += 1
        elif word == b"end" and self._atomic:
            self._atomic -= 1


class Script:
    """A plain dump, read block by block.

    Args:
        read: returns the next block, b"" at the end.

    Iterating yields statements; after one with ``copy`` its data must be read to the end with ``data()`` first.
    ``complete`` tells, after the last one, whether the end marker was seen and nothing stood behind it; ``ended``
    whether everything was read; ``versions`` those of server and pg_dump, as the dump's head has them; ``encoding`` is
    the client encoding that was set last.
    """

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._buffer = b""
        self._at = 0
        self._tokens = _STANDARD
        self.ended = False
        self._end_marker_read = self._rows_end_read = False
        self._restriction_key = b""
        self.versions: dict[str, str] = {}
        self.encoding = "UTF8"

    @property
    def complete(self) -> bool:
        """Whether the end marker was the last thing, and a restriction of psql's was lifted again behind it."""
        return self._end_marker_read and not self._restriction_key

    @property
    def rows_ended(self) -> bool:
        """Whether the end mark of a script of rows was the last thing."""
        return self._rows_end_read

    def __iter__(self) -> Iterator[Statement]:
        """Yield every statement.

        Raises:
            IntegrityError: the script ends inside a statement, or holds a command that only psql would run.
        """
        while True:
            statement = self._statement()
            if statement is None:
                return
            self._end_marker_read = self._rows_end_read = False
            if statement.keywords[:2] == (b"set", b"standard_conforming_strings"):
                off = re.search(rb"=\s*'?off", statement.text)
                self._tokens = _BACKSLASHES if off else _STANDARD
            elif match := _ENCODING.match(statement.text):
                self.encoding = match[1].decode("ascii")
            yield statement

    def data(self) -> Iterator[bytes]:
        """Yield the data that follows a COPY statement, in blocks that end with a line's end or not.

        Raises:
            IntegrityError: the script ends inside the data.
        """
        while not self._has_buffered(1):
            self._require_more("the data of a table")
        if self._buffer.startswith(b"\r\n", self._at):
            self._at += 1
        self._at += self._buffer.startswith(b"\n", self._at)
        while len(self._buffer) - self._at < len(_END_OF_COPY) - 1:
            self._require_more("the data of a table")
        if self._buffer.startswith(_END_OF_COPY[1:], self._at):
            self._at += len(_END_OF_COPY) - 1
            return
        while True:
            end = self._buffer.find(_END_OF_COPY, self._at)
            if end >= 0:
                yield self._buffer[self._at : end + 1]
                self._at = end + len(_END_OF_COPY)
                return
            # What may be the beginning of the end stays.
            keep = max(self._at, len(self._buffer) - len(_END_OF_COPY) + 1)
            if keep > self._at:
                yield self._buffer[self._at : keep]
                self._at = keep
            self._require_more("the data of a table")

    def _has_buffered(self, count: int) -> bool:
        return len(self._buffer) - self._at >= count

    def _read_more(self) -> bool:
        """Add a block (or, for a long token, as much as there is already); False at the end."""
        if self.ended:
            return False
        minimum = len(self._buffer) - self._at
        blocks = [self._buffer[self._at :]]
        bytes_read = 0
        while bytes_read == 0 or bytes_read < minimum:
            block = self._read()
            if not block:
                self.ended = True
                break
            blocks.append(block)
            bytes_read += len(block)
        self._buffer = b"".join(blocks)
        self._at = 0
        return bytes_read > 0

    def _require_more(self, construct: str) -> None:
        if not self._read_more():
            raise IntegrityError(f"the dump ends in the middle of {construct}: it is cut off")

    def _next_token(self, at: int) -> tuple[int, re.Match[bytes] | None]:
        """Return the next whole token behind ``at``, and where ``at`` is now; None at the script's end."""
        while True:
            match = self._tokens.search(self._buffer, at)
            complete_token = match is not None and not match["open"]
            # A token that reaches the end of the buffer may go on behind it; an open quote surely does.
            if match is not None and complete_token and (self.ended or match.end() < len(self._buffer)):
                return at, match
            offset = at - self._at
            grown = self._read_more()
            at = self._at + offset
            if not grown and not complete_token:
                return at, None

    def _statement(self) -> Statement | None:
        pending = _Pending()
        at = self._at
        while True:
            at, match = self._next_token(at)
            if match is None:
                if pending.started or self._buffer[at:].strip():
                    raise IntegrityError("the dump ends in the middle of a statement: it is cut off")
                return None
            pending.started |= bool(self._buffer[at : match.start()].strip())
            if match[0] == b";" and pending.may_end:
                return self._finish(match.end(), pending)
            if match.lastgroup not in ("comment", "block") and match[0] != b"\\":
                pending.add(match)
            at = self._token_end(match, started=pending.started)
            if not pending.started:
                self._at = at  # what was read so far belongs to no statement

    def _token_end(self, match: re.Match[bytes], *, started: bool) -> int:
        """Return where a token ends, reading on where the pattern saw only its beginning."""
        if match.lastgroup == "block":
            return self._comment_end(match.end())
        if match.lastgroup == "dollar":
            return self._dollar_end(match[0], match.end())
        if match[0] == b"\\":
            return self._meta_command(match.start(), started=started)
        if match.lastgroup == "comment" and not started:
            self._comment(match[0])
        return match.end()

    def _comment(self, text: bytes) -> None:
        self._end_marker_read = self._end_marker_read or text.rstrip() == END_MARKER
        self._rows_end_read = self._rows_end_read or text.rstrip() == ROWS_END
        if match := _VERSION_COMMENT.match(text):
            name = "server" if match[1].startswith(b"from") else "pg_dump"
            self.versions.setdefault(name, match[2].decode("ascii", "replace").strip())

    def _finish(self, end: int, pending: _Pending) -> Statement:
        text, keywords = self._buffer[self._at : end].lstrip(), pending.keywords
        self._at = end
        copy = keywords[:1] == [b"copy"] and keywords[-2:] == [b"from", b"stdin"]
        return Statement(text, tuple(keywords), copy, self.encoding)

    def _comment_end(self, at: int) -> int:
        level = 1
        while level:
            match = _BLOCK_COMMENT.search(self._buffer, at)
            if match is None:
                offset = max(at, len(self._buffer) - 1) - self._at
                self._require_more("a comment")
                at = self._at + offset
                continue
            level += 1 if match[0] == b"/*" else -1
            at = match.end()
        return at

    def _dollar_end(self, tag: bytes, at: int) -> int:
        while (end := self._buffer.find(tag, at)) < 0:
            offset = max(at, len(self._buffer) - len(tag) + 1) - self._at
            self._require_more("a quoted body")
            at = self._at + offset
        return end + len(tag)

    def _meta_command(self, begin: int, *, started: bool) -> int:
        offset = begin - self._at
        while b"\n" not in self._buffer[self._at + offset :]:
            if not self._read_more():
                break
        begin = self._at + offset
        match = _META_COMMAND.match(self._buffer, begin)
        if match is None or started:
            if b"\n" not in self._buffer[begin:]:
                raise IntegrityError("the dump ends in the middle of a line: it is cut off")
            line = self._buffer[begin : begin + 40].split(b"\n")[0].decode("ascii", "replace")
            raise IntegrityError(
                f"the dump holds a command for psql, {line!r}, which dumpty does not run: is it forged?"
            )
        if not match[1]:
            self._restriction_key = match[2]
        elif match[2] == self._restriction_key:
            self._restriction_key = b""
        self._at = match.end()
        return match.end()
