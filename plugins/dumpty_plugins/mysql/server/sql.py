"""Words of SQL: quoting, a lexer for the server's own texts, and names made relative to their database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

TOKEN = re.compile(
    rb"""
    (?P<space>\s+)
  | (?P<comment>--(?:[\x00-\x20][^\n]*|(?=\n)|\Z)|\#[^\n]*|/\*.*?(?:\*/|\Z))
  | (?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
  | (?P<quoted>`(?:[^`]|``)*`)
  | (?P<word>[0-9A-Za-z_$\x80-\xff]+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
"""Tokens of MySQL's SQL with backslash escapes in strings, in any character set that extends ASCII safely."""

_WITHOUT_ESCAPES = re.compile(
    TOKEN.pattern.replace(rb"(?:[^'\\]|\\.|'')*", rb"(?:[^']|'')*").replace(rb'(?:[^"\\]|\\.|"")*', rb'(?:[^"]|"")*'),
    re.VERBOSE | re.DOTALL,
)
"""The same where the mode NO_BACKSLASH_ESCAPES reads strings."""

UNSAFE_CHARSETS = frozenset({"sjis", "cp932", "big5", "gbk", "gb18030"})
"""A second byte of a character may be a quote or a backslash in these: no lexer of bytes can read them."""


def identifier(name: str) -> str:
    """Return ``name`` as a quoted identifier."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """Return ``text`` as a string literal, right under every ``sql_mode``."""
    if "\\" in text or "\0" in text:
        return f"CONVERT(X'{text.encode().hex()}' USING utf8mb4)"
    return "'" + text.replace("'", "''") + "'"


def tokens(sql: bytes, sql_mode: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield ``(kind, text)`` of every token of ``sql``, spaces and comments included, as ``sql_mode`` reads strings."""
    pattern = _WITHOUT_ESCAPES if "NO_BACKSLASH_ESCAPES" in sql_mode.split(",") else TOKEN
    for match in pattern.finditer(sql):
        yield str(match.lastgroup), match.group()


def _name(kind: str, text: bytes) -> bytes | None:
    if kind == "quoted":
        return text[1:-1].replace(b"``", b"`")
    return text if kind == "word" else None


_BEFORE_OBJECT = frozenset(b"TRIGGER FROM JOIN INTO TABLE VIEW PROCEDURE FUNCTION EVENT CALL".split())
"""After these words comes an object's name, never a column's."""
_BEFORE_ON = frozenset(b"INSERT UPDATE DELETE".split())


def unqualify(
    sql: bytes,
    database: bytes,
    objects: Collection[bytes],
    *,
    fold: bool = False,
    aliases: bool = True,
    sql_mode: str = "",
) -> tuple[bytes, bool]:
    """Return ``sql`` with ``database`` taken out of its qualified names, and whether it may still be named.

    The server qualifies names in some texts (views over two databases, defaults from sequences), and people do in
    the bodies of routines, where a plain name means the routine's own database anyway. ``database.object.column``
    loses its first part; so does ``database.object`` for one of ``objects``, but where the database's name may
    also be a table or an alias, only in places where no column can stand. ``aliases``: the text may have aliases.
    ``fold``: the server ignores case in names of databases and tables. All names are in the character set of ``sql``.
    ``sql_mode``: decides what backslashes mean in it.
    """
    database_name = _folded(database, fold)
    object_names = {_folded(o, fold) for o in objects}
    pieces = list(tokens(sql, sql_mode))
    significant = [i for i, (kind, _) in enumerate(pieces) if kind not in {"space", "comment"}]
    certain: set[int] = set()
    likely: set[int] = set()
    ambiguous = aliases and database_name in object_names
    still_named = False
    for position, index in enumerate(significant):
        before = pieces[significant[position - 1]][1].upper() if position else b""
        first_name = _name(*pieces[index])
        if first_name is None or _folded(first_name, fold) != database_name or before == b".":
            continue
        after = [pieces[i] for i in significant[position + 1 : position + 4]]
        if not after or after[0][1] != b".":
            ambiguous = ambiguous or aliases
            continue
        second = _name(*after[1]) if len(after) > 1 else None
        pair = {index, significant[position + 1]}
        if second is not None and len(after) > 2 and after[2][1] == b".":  # noqa: PLR2004 - a second dot
            certain |= pair
        elif second is None or _folded(second, fold) not in object_names:
            still_named = True
        elif before in _BEFORE_OBJECT or (
            before == b"ON" and pieces[significant[position - 2]][1].upper() in _BEFORE_ON
        ):
            certain |= pair
        else:
            likely |= pair
    if ambiguous:
        still_named = still_named or bool(likely)
    else:
        certain |= likely
    return b"".join(text for i, (_, text) in enumerate(pieces) if i not in certain), still_named


def _folded(name: bytes, fold: bool) -> bytes:
    return name.decode("utf-8", "surrogateescape").casefold().encode("utf-8", "surrogateescape") if fold else name
