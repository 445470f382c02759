"""Reads a dump back, statement by statement, in constant memory, and admits only what a dump of ours may say.

A dump is untrusted: whoever can write one must not be able to reach another database, an account or a file through
the rights of whoever restores it. (The bodies of routines, triggers and events are code of the database itself and
are taken as they are; they run with the rights of their definers, as the database's own client would have it.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import IntegrityError

from .names import TOKEN
from .script import MARK, Totals, totals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Reader

_CHUNK = 1 << 20
_STOP = re.compile(rb"[;'\"`#]|--[\x00-\x20]|/\*")
_STRING = re.compile(rb"'[^'\\]*(?:\\.[^'\\]*)*'", re.DOTALL)
_NAME = rb"`(?:[^`]|``)+`"
_INSERT = re.compile(rb"INSERT INTO (" + _NAME + rb") \((?:" + _NAME + rb"(?:," + _NAME + rb")*)?\) VALUES\n")
_LITERALS = re.compile(rb"NULL|(?:_[a-z0-9]+ )?X'|'")
_SETTING = re.compile(
    rb"SET (?:NAMES utf8mb4|(?:time_zone|sql_mode)='[^'\\]*'|(?:character_set_client|collation_connection)=\w+"
    rb"|(?:FOREIGN_KEY_CHECKS|UNIQUE_CHECKS|check_constraint_checks|system_versioning_insert_history)=[01])"
)
_DATABASE = re.compile(
    rb"ALTER DATABASE (?:CHARACTER SET = \w+ )?COLLATE = \w+(?: COMMENT = '[^'\\]*(?:\\.[^'\\]*)*')?", re.DOTALL
)
_SETVAL = re.compile(rb"DO SETVAL\((" + _NAME + rb"), -?\d+, 0, \d+\)")
_CODE = frozenset({"VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "PACKAGE", "PACKAGE BODY"})
_SHOWN = 60


@dataclass(frozen=True)
class Statement:
    """One admitted statement: its text, what it is (``INSERT``, ``SET``, ``TABLE``, ``VIEW``, …) and what it names."""

    text: bytes
    kind: str
    name: str = ""

    @property
    def code(self) -> bool:
        """Whether it creates a view, routine, trigger or event."""
        return self.kind in _CODE


class StatementReader:
    """Iterates over the statements of a dump; afterwards ``totals`` is what its last line says.

    Raises:
        IntegrityError: the dump ends before its last line, goes on after it, or says what no dump of ours says.
    """

    def __init__(self, stream: Reader) -> None:
        self._stream = stream
        self._buffer = b""
        self._ended = False
        self.totals: Totals | None = None
        self.count = 0

    def __iter__(self) -> Iterator[Statement]:
        for text in self._split():
            if self.totals is not None:
                raise IntegrityError("the dump goes on after its last line: it was altered, or two were joined")
            self.count += 1
            yield admit(text)
        if self.totals is None:
            raise IntegrityError("the dump has no last line: it is cut short; take another backup")
        if self.count != self.totals.statements:
            raise IntegrityError(f"the dump holds {self.count} statements, its last line says {self.totals.statements}")

    def _more(self, wanted: int = _CHUNK) -> bool:
        """Append to the buffer; False at the end."""
        block = self._stream.read(max(wanted, _CHUNK))
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
            if not self._more():
                return False
            self._buffer = self._buffer.lstrip()
        return True

    def _take(self, size: int) -> bytes:
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _line_end(self) -> int:
        while (end := self._buffer.find(b"\n")) < 0:
            if not self._more():
                return len(self._buffer)
        return end + 1

    def _comment(self) -> None:
        line = self._take(self._line_end())
        if line.startswith(MARK):
            self.totals = totals(line)

    def _statement(self, delimiter: bytes) -> bytes:
        if delimiter != b";":
            delimiter = b"\n" + delimiter + b"\n"
            end = self._find(delimiter, 0)
        elif self._buffer.startswith(b"INSERT INTO"):
            end = self._insert_end()
        else:
            end = self._end()
        text = self._take(end)
        self._take(len(delimiter))
        return text

    def _find(self, text: bytes, start: int) -> int:
        while (end := self._buffer.find(text, start)) < 0:
            start = max(start, len(self._buffer) - len(text) + 1)
            if not self._more(len(self._buffer)):
                raise IntegrityError("the dump ends in the middle of a statement: it is cut short; take another backup")
        return end

    def _insert_end(self) -> int:
        # Rows hold no line break, so this is the end, and one search finds it. Where somebody has put one into a
        # string after all, the quotes up to it do not pair, and the next one is looked for.
        start = 0
        while True:
            end = self._find(b";\n", start)
            header = _INSERT.match(self._buffer)
            rest = self._buffer[header.end() if header else 0 : end]
            if b"'" not in _STRING.sub(b"", rest):
                return end
            start = end + 1

    def _end(self) -> int:
        """Return where the statement at the front of the buffer ends, minding quotes and comments."""
        place = 0
        while True:
            match = _STOP.search(self._buffer, place)
            if match is None:
                place = max(place, len(self._buffer) - 2)
                if not self._more(len(self._buffer)):
                    raise IntegrityError(
                        "the dump ends in the middle of a statement: it is cut short; take another backup"
                    )
                continue
            found, place = match.group(), match.end()
            if found == b";":
                return match.start()
            if found in {b"'", b'"'}:
                place = self._string_end(found, place)
            elif found == b"`":
                place = self._find(b"`", place) + 1
            elif found == b"/*":
                place = self._find(b"*/", place) + 2
            else:
                place = self._find(b"\n", place - 1) + 1

    def _string_end(self, quote: bytes, start: int) -> int:
        place = start
        while True:
            end = self._find(quote, place)
            before = end
            while before > start and self._buffer[before - 1 : before] == b"\\":
                before -= 1
            if (end - before) % 2 == 0:
                return end + 1
            place = end + 1


def admit(text: bytes) -> Statement:
    """Return what ``text`` is.

    Raises:
        IntegrityError: no dump of ours says this.
    """
    if text.startswith(b"INSERT INTO "):
        return _insert(text)
    if text.startswith(b"CREATE "):
        return _create(text)
    if _SETTING.fullmatch(text):
        return Statement(text, "SET")
    if _DATABASE.fullmatch(text):
        return Statement(text, "DATABASE")
    match = _SETVAL.fullmatch(text)
    if match:
        return Statement(text, "SETVAL", _plain(match[1]))
    raise _refusal(text)


def _refusal(text: bytes) -> IntegrityError:
    start = " ".join(text[:_SHOWN].decode("utf-8", "replace").split())
    return IntegrityError(
        f"the dump says «{start}…», which no dump by this driver says: it was altered, or made by another program; "
        "load it with the mariadb client if you trust it"
    )


def _plain(quoted: bytes) -> str:
    return quoted[1:-1].replace(b"``", b"`").decode("utf-8", "surrogateescape")


def _insert(text: bytes) -> Statement:
    header = _INSERT.match(text)
    if header is None:
        raise _refusal(text)
    rest = _LITERALS.sub(b"", _STRING.sub(b"'", text[header.end() :]))
    if rest.translate(None, b"0123456789+-.eE(), \n"):
        raise _refusal(text)
    return Statement(text, "INSERT", _plain(header[1]))


_EXECUTED = re.compile(rb"/\*M?!\d*(.*?)(?:\*/)?\Z", re.DOTALL)


def _words(text: bytes) -> Iterator[bytes]:
    """Yield the words of a statement; a comment that the server executes is no comment."""
    for match in TOKEN.finditer(text):
        if match.lastgroup == "comment":
            hidden = _EXECUTED.match(match.group())
            if hidden:
                yield from _words(hidden[1])
        elif match.lastgroup != "space":
            yield match.group()


_SKIP_VALUE = {b"ALGORITHM": 2, b"SECURITY": 1}


def _create(text: bytes) -> Statement:
    """Admit CREATE [OR REPLACE] [attributes] KIND [IF NOT EXISTS] name, the name without a database."""
    words = list(_words(text))
    place, kind = 1, ""
    while place < len(words) and not kind:
        word = words[place].upper()
        if word == b"DEFINER":
            place += 3 if words[place + 3 : place + 4] != [b"@"] else 5
        elif word in _SKIP_VALUE:
            place += 1 + _SKIP_VALUE[word]
        elif word in {b"OR", b"REPLACE", b"SQL", b"AGGREGATE"}:
            place += 1
        elif word.decode("ascii", "replace") in _CODE | {"TABLE", "SEQUENCE"}:
            kind = word.decode()
            place += 1
        else:
            raise _refusal(text)
    if kind == "PACKAGE" and words[place : place + 1] and words[place].upper() == b"BODY":
        kind, place = "PACKAGE BODY", place + 1
    if [w.upper() for w in words[place : place + 3]] == [b"IF", b"NOT", b"EXISTS"]:
        place += 3
    if place >= len(words) or words[place + 1 : place + 2] == [b"."]:
        raise _refusal(text)
    if kind == "TRIGGER":
        upper = [w.upper() for w in words[place:]]
        on = upper.index(b"ON") if b"ON" in upper else len(upper)
        if upper[on + 2 : on + 3] == [b"."]:
            raise _refusal(text)
    if kind == "TABLE" and _copies(words[place + 1 :]):
        raise _refusal(text)
    name = words[place]
    return Statement(text, kind, _plain(name) if name.startswith(b"`") else name.decode("utf-8", "surrogateescape"))


def _copies(words: list[bytes]) -> bool:
    """Return whether a table's definition takes rows or columns from elsewhere."""
    depth = 0
    for word in words:
        if word == b"(":
            depth += 1
        elif word == b")":
            depth -= 1
        elif (depth == 0 and word.upper() in {b"LIKE", b"AS"}) or word.upper() in {b"SELECT", b"CONNECTION"}:
            return True
    return words[:1] != [b"("]
