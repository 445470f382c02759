"""Accepts only what a dump of this driver may say.

A dump is untrusted: whoever can write one must not be able to reach another database, an account or a file through
the privileges of whoever restores it. (The bodies of routines, triggers and events belong to the database itself and
are taken as they are; they run with the privileges of their definers, as with the database's own client.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dumpty import IntegrityError
from dumpty_plugins.mysql.server.sql import TOKEN, UNSAFE_CHARSETS
from dumpty_plugins.mysql.server.sql_modes import LOOSE, STRICT

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = rb"`(?:[^`]|``)+`"
INSERT = re.compile(rb"INSERT INTO (" + _NAME + rb") \((?:" + _NAME + rb"(?:," + _NAME + rb")*)?\) VALUES\n")
_INTRODUCER = re.compile(rb"_[a-z0-9]+ X'")
_SETTING = re.compile(
    rb"SET (?:NAMES utf8mb4|(?:time_zone|sql_mode)='[^'\\]*'|(?:character_set_client|collation_connection)=\w+"
    rb"|(?:FOREIGN_KEY_CHECKS|UNIQUE_CHECKS|check_constraint_checks|innodb_strict_mode|system_versioning_insert_history)=[01])"
)
_DATABASE = re.compile(
    rb"ALTER DATABASE (?:CHARACTER SET = \w+ )?COLLATE = \w+(?: COMMENT = '[^'\\]*(?:\\.[^'\\]*)*')?", re.DOTALL
)
_SETVAL = re.compile(rb"DO SETVAL\((" + _NAME + rb"), -?\d+, 0, \d+\)")
STORED_OBJECTS = frozenset({"VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "PACKAGE", "PACKAGE BODY"})
_MODES = frozenset(f"'{mode}'".encode() for mode in (LOOSE, STRICT))
_SHOWN_CHARACTERS = 60
_EXECUTED = re.compile(rb"/\*M?!\d*(.*?)(?:\*/)?\Z", re.DOTALL)
_WORDS_BEFORE_KIND = {b"OR": 1, b"REPLACE": 1, b"SQL": 1, b"AGGREGATE": 1, b"ALGORITHM": 3, b"SECURITY": 2}
"""What may stand between CREATE and the kind, and how many words it takes up."""


@dataclass(frozen=True)
class Statement:
    """One validated statement: its text, what it is (``INSERT``, ``SET``, ``TABLE``, ``VIEW``, …) and what it names.

    A stored object may be written in a ``charset`` of its own: then the bytes of its ``name`` are in that, and stand
    for themselves.
    """

    text: bytes
    kind: str
    name: str = ""
    charset: str = ""

    @property
    def creates_stored_object(self) -> bool:
        """Whether it creates a view, routine, trigger or event."""
        return self.kind in STORED_OBJECTS


class Allowlist:
    """Validates the statements of one dump, in their order.

    What a statement means depends on settings before it: with NO_BACKSLASH_ESCAPES, or in GBK, a string may end where
    no reader of ours expects it. So rows and tables are accepted only in the session that our dumps set for them, and
    nothing but stored objects after a stored object.
    """

    def __init__(self) -> None:
        self._unusual_settings: dict[bytes, bytes] = {}
        self._stored_objects_begun = False

    def validate(self, text: bytes, outside: bytes | None = None) -> Statement:
        """Return what ``text`` is; ``outside``, of an INSERT, is what ``outside_strings`` says of it.

        Raises:
            IntegrityError: no dump of ours says this, or not here.
        """
        statement = validate_statement(text, outside)
        if statement.kind == "SET":
            self._set(text)
        elif statement.creates_stored_object:
            self._stored_objects_begun = True
            charset = self._unusual_settings.get(b"character_set_client", b"").decode()
            if charset in UNSAFE_CHARSETS and not text.isascii():
                raise _refusal(text)
            statement = replace(statement, charset=charset)
        elif statement.kind != "DATABASE" and (self._stored_objects_begun or self._unusual_settings):
            raise _refusal(text)
        return statement

    def _set(self, text: bytes) -> None:
        name, _, value = text[len(b"SET ") :].partition(b"=")
        if name == b"NAMES utf8mb4":
            self._unusual_settings.pop(b"character_set_client", None)
        elif name == b"character_set_client" or (name == b"sql_mode" and value not in _MODES):
            self._unusual_settings[name] = value.lower()
        elif name == b"sql_mode":
            self._unusual_settings.pop(name, None)


def validate_statement(text: bytes, outside: bytes | None = None) -> Statement:
    """Return what ``text`` is, whatever came before it; ``outside`` as ``Allowlist.validate`` has it.

    Raises:
        IntegrityError: no dump of ours says this.
    """
    if text.startswith(b"INSERT INTO "):
        return _insert(text, outside)
    if text.startswith(b"CREATE "):
        return _create(text)
    if _SETTING.fullmatch(text):
        return Statement(text, "SET")
    if _DATABASE.fullmatch(text):
        return Statement(text, "DATABASE")
    match = _SETVAL.fullmatch(text)
    if match:
        return Statement(text, "SETVAL", _unquoted(match[1]))
    raise _refusal(text)


def _refusal(text: bytes) -> IntegrityError:
    start = " ".join(text[:_SHOWN_CHARACTERS].decode("utf-8", "replace").split())
    return IntegrityError(
        f"the dump says «{start}…», which no dump by this driver says: it was altered, or made by another program; "
        "load it with the mariadb client if you trust it"
    )


def _unquoted(quoted: bytes) -> str:
    return quoted[1:-1].replace(b"``", b"`").decode("utf-8", "surrogateescape")


def outside_strings(literals: bytes) -> bytes | None:
    """Return literals with one quote in the place of each string, or None where a string does not end.

    In a few passes over the whole block, for it is done to every row of a dump.
    """
    if b"\\" in literals:
        # Pairs of backslashes first: what is left of a run of them escapes the quote after it.
        literals = literals.replace(b"\\\\", b"").replace(b"\\'", b"")
    parts = literals.split(b"'")
    return b"'".join(parts[::2]) if len(parts) % 2 else None


def _insert(text: bytes, rest: bytes | None) -> Statement:
    header = INSERT.match(text)
    if header is None:
        raise _refusal(text)
    if rest is None:
        rest = outside_strings(text[header.end() :])
    if rest is None:
        raise _refusal(text)
    if b"_" in rest:
        rest = _INTRODUCER.sub(b"", rest)
    if rest.replace(b"NULL", b"").replace(b"X'", b"").translate(None, b"0123456789+-.eE(), \n'"):
        raise _refusal(text)
    return Statement(text, "INSERT", _unquoted(header[1]))


def sql_words(text: bytes) -> Iterator[bytes]:
    """Yield the words of a statement; a comment that the server executes is no comment."""
    for match in TOKEN.finditer(text):
        if match.lastgroup == "comment":
            executed = _EXECUTED.match(match.group())
            if executed:
                yield from sql_words(executed[1])
        elif match.lastgroup != "space":
            yield match.group()


def _create(text: bytes) -> Statement:
    """Accept CREATE [OR REPLACE] [attributes] KIND [IF NOT EXISTS] name, the name without a database."""
    kind, rest = _kind(list(sql_words(text)))
    if [w.upper() for w in rest[:3]] == [b"IF", b"NOT", b"EXISTS"]:
        rest = rest[3:]
    reaches_out = not rest or rest[1:2] == [b"."]
    if kind == "TRIGGER":
        upper = [w.upper() for w in rest]
        on_position = upper.index(b"ON") if b"ON" in upper else len(upper)
        reaches_out = reaches_out or upper[on_position + 2 : on_position + 3] == [b"."]
    elif kind == "TABLE":
        reaches_out = reaches_out or _copies_from_elsewhere(rest[1:])
    elif kind == "FUNCTION":  # one that a library of the server's file system has
        reaches_out = reaches_out or [w.upper() for w in rest[3:4]] == [b"SONAME"]
    if not kind or reaches_out:
        raise _refusal(text)
    name = rest[0]
    if name.startswith(b'"'):  # of a routine that was written with ANSI_QUOTES
        name = b"`" + name[1:-1].replace(b'""', b'"').replace(b"`", b"``") + b"`"
    return Statement(text, kind, _unquoted(name) if name.startswith(b"`") else name.decode("utf-8", "surrogateescape"))


def _kind(sql_words: list[bytes]) -> tuple[str, list[bytes]]:
    """Return what a CREATE statement creates, "" where it may not, and the words from its name on."""
    position = 1
    while position < len(sql_words):
        word = sql_words[position].upper()
        if word == b"DEFINER":
            position += 5 if sql_words[position + 3 : position + 4] == [b"@"] else 3
        elif word in _WORDS_BEFORE_KIND:
            position += _WORDS_BEFORE_KIND[word]
        else:
            break
    kind = b"".join(sql_words[position : position + 1]).upper().decode("ascii", "replace")
    rest = sql_words[position + 1 :]
    if kind == "PACKAGE" and rest and rest[0].upper() == b"BODY":
        return "PACKAGE BODY", rest[1:]
    return (kind, rest) if kind in STORED_OBJECTS | {"TABLE", "SEQUENCE"} else ("", rest)


def _copies_from_elsewhere(sql_words: list[bytes]) -> bool:
    """Return whether a table's definition takes rows or columns from elsewhere."""
    depth = 0
    union = False  # the list of tables that a MERGE table is made of comes last but for other options
    for word in sql_words:
        if word == b"(":
            depth += 1
        elif word == b")":
            depth -= 1
        elif depth == 0 and word.upper() == b"UNION":
            union = True
        elif (
            word.upper() in {b"SELECT", b"CONNECTION"}
            or (depth == 0 and word.upper() in {b"LIKE", b"AS"})
            or (union and word == b".")
        ):
            return True
    return sql_words[:1] != [b"("]
