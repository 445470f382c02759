"""The character set of stored objects: each text as one whole in the character set of the client that wrote it.

A server keeps the body of a routine, trigger or event as the bytes that its author's client sent, and must be given
those bytes in that client's character set again. Around them it shows what it keeps in UTF-8: comments, the types that
functions return, names and definers of events, the definers of triggers and a table that was renamed meanwhile. What is
shown is thus a text in two character sets, which nothing reads as it was meant. Here those parts are found and brought
into the character set of the rest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dumpty import SourceError
from dumpty_plugins.mysql.server.session import decode
from dumpty_plugins.mysql.server.sql import tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from dumpty_plugins.mysql.server.session import Session

    Encode = Callable[[bytes, str], bytes]
    """Takes UTF-8, and what it is in words; returns it in the character set of a text."""

_UTF8_CHARSETS = frozenset({"utf8", "utf8mb3", "utf8mb4", "binary"})
"""The character sets in which the server reads names as UTF-8."""
_TEXTS_PER_QUERY = 200
_STRING = rb"'(?:[^'\\]|\\.|'')*'"
_LITERAL = re.compile(_STRING, re.DOTALL)
_CHARACTERISTICS = re.compile(
    rb"(\s+(?:(?:NO SQL|CONTAINS SQL|READS SQL DATA|MODIFIES SQL DATA|DETERMINISTIC|SQL SECURITY \w+)\s+)*COMMENT )"
    rb"(" + _STRING + rb")\n",
    re.DOTALL,
)
_EVENT = re.compile(
    rb"(CREATE DEFINER=`(?:[^`]|``)*`@`(?:[^`]|``)*` EVENT `(?:[^`]|``)*` ON SCHEDULE [^`]*?)"
    rb"(?:(COMMENT )(" + _STRING + rb") )?(DO )",
    re.DOTALL,
)
_ESCAPED = re.compile(rb"\\(.)|''", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"0": b"\0", b"Z": b"\x1a", b"t": b"\t", b"b": b"\b"}


class CharacterSets:
    """Brings names and comments into the character sets of texts, and back: the server converts, for it reads them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._encoded: dict[tuple[str, bytes], bytes | None] = {}

    def encode(self, text: bytes, charset: str) -> bytes | None:
        """Return the UTF-8 ``text`` in ``charset``, None where that lacks one of its characters."""
        return self.encode_all([text], charset)[0]

    def encode_all(self, texts: Collection[bytes], charset: str) -> list[bytes | None]:
        """Return each of ``texts`` as ``encode`` does."""
        if charset.lower() in _UTF8_CHARSETS:
            return list(texts)
        missing = [t for t in texts if not t.isascii() and (charset, t) not in self._encoded]
        for start in range(0, len(missing), _TEXTS_PER_QUERY):
            batch = missing[start : start + _TEXTS_PER_QUERY]
            columns = [f"CONVERT(CONVERT(X'{t.hex()}' USING utf8mb4) USING {charset})" for t in batch]
            pairs = ",".join(f"HEX({c}),HEX(CONVERT({c} USING utf8mb4))" for c in columns)
            (row,) = self._session.rows(f"SELECT {pairs}")
            for text, encoded, decoded in zip(batch, row[::2], row[1::2], strict=True):
                lossless = bytes.fromhex(decode(decoded)) == text
                self._encoded[charset, text] = bytes.fromhex(decode(encoded)) if lossless else None
        return [t if t.isascii() else self._encoded[charset, t] for t in texts]

    def decode(self, text: bytes, charset: str) -> str:
        """Return ``text``, which is in ``charset`` (UTF-8 where that is empty), as the server understands it."""
        if not charset or charset.lower() in _UTF8_CHARSETS or text.isascii():
            return text.decode("utf-8", "surrogateescape")
        return self._session.text(f"SELECT CONVERT(CONVERT(X'{text.hex()}' USING {charset}) USING utf8mb4)")


def encoder(sets: CharacterSets, charset: str, label: str) -> Encode:
    """Return a function that brings parts of the stored text ``label`` into its ``charset``.

    It raises:
        SourceError: the character set lacks a character, so that nobody could write that text again.
    """

    def encode(text: bytes, part: str) -> bytes:
        encoded = sets.encode(text, charset)
        if encoded is None:
            raise SourceError(
                f"{label} was written in the character set {charset}, which cannot say its {part} "
                f"({text.decode('utf-8', 'replace')}), and so it could not be restored: create it again from a session "
                "in utf8mb4"
            )
        return encoded

    return encode


def check_readable(create: bytes, charset: str, sql_mode: str, label: str) -> None:
    """See that the names in a text in UTF-8 are UTF-8: an ALTER from another client relabels what it leaves as it is.

    Raises:
        SourceError: one is not, so that no server takes the text, and the one that has it cannot run it.
    """
    if create.isascii() or charset.lower() not in _UTF8_CHARSETS:
        return
    ansi_quotes = "ANSI_QUOTES" in sql_mode.split(",")
    for kind, text in tokens(create, sql_mode):
        if kind in {"quoted", "word"} or (ansi_quotes and kind == "string" and text.startswith(b'"')):
            try:
                text.decode()
            except UnicodeDecodeError:
                raise SourceError(
                    f"{label} is kept in {charset}, but its text is in another character set: the server cannot run "
                    "it, and it could not be restored; create it again, or drop it"
                ) from None


def in_one_charset(
    kind: str,
    create: bytes,
    sql_mode: str,
    encode: Encode,
    *,
    name: bytes,
    definer: bytes,
    table: bytes,
    utf8_names: bool,
) -> bytes:
    """Return the statement that creates a routine, trigger or event, every part of it in one character set.

    Args:
        kind: what it creates.
        create: as the server shows it.
        sql_mode: the mode that it is created in.
        encode: brings UTF-8 into the character set of the text.
        name: of a trigger, in UTF-8.
        definer: of a trigger, as ``user@host`` in UTF-8.
        table: of a trigger, in UTF-8.
        utf8_names: whether the server shows a routine's name and definer in UTF-8, as MySQL does.
    """
    if kind == "trigger":
        return _trigger(create, sql_mode, encode, name, definer, table) if not create.isascii() else create
    if kind == "view":
        return create
    no_escapes = "NO_BACKSLASH_ESCAPES" in sql_mode.split(",")

    def encode_shown(literal: bytes, part: str) -> bytes:
        # The server always shows backslashes as escapes, whether or not this mode would read them so.
        return encode(_LITERAL.sub(lambda m: _without_escapes(m[0]), literal) if no_escapes else literal, part)

    if kind == "event":
        match = _EVENT.match(create)
        if match is None:
            return create
        head = encode(match[1], "name or definer")
        comment = match[2] + encode_shown(match[3], "comment") + b" " if match[3] is not None else b""
        return head + comment + match[4] + create[match.end() :]
    return _routine(create, sql_mode, encode_shown, utf8_names=utf8_names)


def _without_escapes(shown: bytes) -> bytes:
    """Return a literal with escapes as one that is read without."""
    text = _ESCAPED.sub(lambda m: _ESCAPES.get(m[1], m[1]) if m[1] is not None else b"'", shown[1:-1])
    return b"'" + text.replace(b"'", b"''") + b"'"


def _routine(create: bytes, sql_mode: str, encode_shown: Encode, *, utf8_names: bool) -> bytes:
    front, returns, end = _head(create, sql_mode)
    match = _CHARACTERISTICS.match(create, end)
    comment = match[1] + encode_shown(match[2], "comment") + b"\n" if match else b""
    name = encode_shown(create[:front], "name or definer") if utf8_names else create[:front]
    head = name + create[front:returns] + encode_shown(create[returns:end], "type")
    return head + comment + create[match.end() if match else end :]


def _head(create: bytes, sql_mode: str) -> tuple[int, int, int]:
    """Return where a routine's name ends, where its type begins, and where its type or parameters end."""
    position = depth = name_end = type_start = 0
    stage = "kind"
    for kind, text in tokens(create, sql_mode):
        word = text.upper() if kind == "word" else b""
        if stage == "kind" and word in {b"PROCEDURE", b"FUNCTION", b"PACKAGE"}:
            stage = "package" if word == b"PACKAGE" else "name"
        elif stage in {"name", "package"} and kind != "space" and word != b"BODY":
            name_end = position + len(text)
            if stage == "package":  # it has no parameters
                return name_end, name_end, name_end
            stage = "parameters"
        elif stage == "parameters":
            if kind == "space" and b"\n" in text and depth == 0:
                break
            depth += {b"(": 1, b")": -1}.get(text, 0)
            if depth == 0 and word in {b"RETURNS", b"RETURN"} and not type_start:
                type_start = position
        position += len(text)
    return name_end or position, type_start or position, position


def _trigger(create: bytes, sql_mode: str, encode: Encode, name: bytes, definer: bytes, table: bytes) -> bytes:
    pieces = list(tokens(create, sql_mode))
    significant = [i for i, (kind, _) in enumerate(pieces) if kind not in {"space", "comment"}]
    upper = [pieces[i][1].upper() for i in significant]

    def replace(position: int, name: bytes, part: str) -> None:
        if not name.isascii():
            pieces[significant[position]] = ("quoted", encode(b"`" + name.replace(b"`", b"``") + b"`", part))

    kind_position = upper.index(b"TRIGGER")
    replace(kind_position + 1, name, "name")  # as MariaDB shows it already, and MySQL does not
    if b"DEFINER" in upper[:kind_position]:
        position = upper.index(b"DEFINER")
        user, _, host = definer.rpartition(b"@")
        replace(position + 2, user, "definer")
        if upper[position + 3] == b"@":  # a role has no host
            replace(position + 4, host, "definer")
    moment = next(i for i in range(kind_position, len(upper)) if upper[i] in {b"BEFORE", b"AFTER"})
    on_position = upper.index(b"ON", moment)
    replace(on_position + 3 if upper[on_position + 2] == b"." else on_position + 1, table, "table")
    return b"".join(text for _, text in pieces)
