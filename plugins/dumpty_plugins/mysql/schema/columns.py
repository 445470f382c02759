"""How each type of column is written so that it comes back to the bit, on the server and in the client.

Texts in Unicode or Latin-1 (which MySQL maps to Unicode one to one) are quoted UTF-8; every other character set is
written as the bytes that are stored, in hexadecimal after its introducer: a way through Unicode would change some of
them (in sjis two codes mean one character). FLOAT prints rounded to six digits, so it is printed as a DOUBLE;
quoted, because a bare -0 is an integer and loses its sign. ENUM, SET and BIT are their numbers: 0, an ENUM's error
value, has no text, and members may be equal under their collation. (Plus zero, a SET of 54 or more is a DOUBLE.)
Spatial values are their stored form, SRID and WKB. MySQL gives a JSON value whose text is longer than
``max_allowed_packet`` as an empty text, which is no JSON: that is refused.

Long texts are an exception to the rule that the server writes finished rows (``raw_columns``): it takes three times as
long to escape one as to send it, so it sends them as they are, and the client escapes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dumpty import SourceError
from dumpty_plugins.mysql.server.sql import identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dumpty_plugins.mysql.server.session import Row

Form = Literal["bare", "plain", "text", "hex"]
"""bare: as it prints; plain: between quotes, nothing to escape; text: quoted and escaped; hex: X'…'."""

END = b"\x1a"
"""Ends a row in a block. No literal holds this byte: QUOTE() writes it as a backslash and a Z."""

_NUMBERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "decimal"})
_TIMES = frozenset({"date", "datetime", "timestamp", "time", "year"})
_PLAIN_TEXTS = frozenset({"uuid", "inet4", "inet6"})
_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"})
_SPATIAL = frozenset(
    [
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
        "geomcollection",
    ]
)
_UNICODE = frozenset({"utf8mb4", "utf8mb3", "utf8", "latin1"})
_GENERATED = re.compile(r"\b(VIRTUAL|STORED|PERSISTENT) GENERATED\b", re.IGNORECASE)
_STORED = re.compile(r"\b(STORED|PERSISTENT) GENERATED\b", re.IGNORECASE)
_LISTED = frozenset({"enum", "set"})
_LONG_TEXTS = frozenset({"text", "mediumtext", "longtext"})
LONG_ROW_BYTES = 1000
"""From this length on of an average row, long texts are worth some work for each row in the client."""
_KEY_TYPES = _NUMBERS | {"char", "varchar", "binary", "varbinary", "date", "datetime", "timestamp"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column that a dump carries.

    ``value`` is SQL for its bytes; ``form`` says how the client writes them, after ``introducer``; ``literal`` is
    SQL for the finished literal, and ``short_literal``, if any, the same of a value that is surely shorter than
    ``max_allowed_packet``; ``octets`` is how many bytes one may have at most, 0 where nobody knows. ``members`` is the
    type of an ENUM or SET, whose numbers mean what it lists.
    """

    name: str
    type: str
    charset: str
    form: Form
    value: str
    literal: str
    introducer: str = ""
    short_literal: str = ""
    octets: int = 0
    members: str = ""

    def literal_within(self, packet: int) -> str:
        """Return SQL for the literal on a server that makes no longer values than ``packet``."""
        return self.short_literal if self.short_literal and 0 < self.octets < packet else self.literal

    @property
    def integer(self) -> bool:
        """Whether its values are whole numbers."""
        return self.type in _NUMBERS and self.type != "decimal"

    @property
    def rangeable(self) -> bool:
        """Whether a range of its values can be asked for by literals."""
        return self.type in _KEY_TYPES

    @property
    def boundary(self) -> str:
        """SQL for a literal of a value that compares with the column as the value itself does."""
        if self.type in _TEXTS:
            return f"CONCAT('_{self.charset} X''',HEX({identifier(self.name)}),'''')"
        return self.literal


def is_generated(extra: str) -> bool:
    """Return whether a column with this EXTRA is computed, and so is no part of a dump's rows."""
    return bool(_GENERATED.search(extra))


def is_stored(extra: str) -> bool:
    """Return whether a column with this EXTRA is computed when a row is written, and stored."""
    return bool(_STORED.search(extra))


def column(table: str, name: str, type: str, charset: str, *, nullable: bool = True, octets: int = 0) -> Column:
    """Return how to write the column ``name`` of ``table``.

    Of one that is not ``nullable`` a NULL is a value that was too long, and makes a NULL of the row, which is missed.

    Raises:
        SourceError: the type is not known; guessing how to write it could lose data.
    """
    quoted = identifier(name)
    form: Form
    value, introducer, literal, short_literal = quoted, "", "", ""
    if type in _NUMBERS:
        form = "bare"
    elif type == "double":
        # As it stands: MySQL writes what it calculated in 22 characters at most, and may need 24.
        form = "plain"
    elif type == "float":
        # A negative number that was too small became a negative zero, which MariaDB prints as 0: write such a number.
        form, value = "plain", f"IF({quoted}=0 AND ATAN2({quoted},-1)<0,'-1e-46',{quoted}*1e0)"
    elif type in {"bit", "enum", "set"}:
        form, value = "bare", f"CAST({quoted} AS UNSIGNED)"
    elif type in _TIMES or type in _PLAIN_TEXTS:
        form = "plain"
    elif type == "json" or (type in _TEXTS and charset in _UNICODE):
        form = "text"
        value, literal = _text(quoted, type, charset)
        if type != "json" and charset != "latin1":
            short_literal = f"QUOTE(CAST({quoted} AS BINARY))"
    elif type in _TEXTS:
        form, introducer = "hex", f"_{charset} "
    elif type in _BYTES or type in _SPATIAL:
        form = "hex"
    else:
        raise SourceError(
            f"column {table}.{name} is of type {type}, which this driver cannot write without loss; leave the table "
            "out of the database or convert the column"
        )
    return Column(
        name=name,
        type=type,
        charset=charset,
        form=form,
        value=value,
        literal=literal or _on_server(form, value, introducer, nullable=nullable),
        introducer=introducer,
        short_literal=short_literal,
        octets=octets,
    )


def described_column(table: str, facts: Mapping[str, str]) -> Column:
    """Return how to write a column of ``table``; ``facts`` is its row of information_schema.COLUMNS.

    Raises:
        SourceError: as ``column``.
    """
    described = column(
        table,
        facts["COLUMN_NAME"],
        facts["DATA_TYPE"].lower(),
        facts["CHARACTER_SET_NAME"],
        nullable=facts["IS_NULLABLE"] != "NO",
        octets=int(facts["CHARACTER_OCTET_LENGTH"] or 0),
    )
    return replace(described, members=facts["COLUMN_TYPE"]) if described.type in _LISTED else described


def _text(quoted: str, type: str, charset: str) -> tuple[str, str]:
    """Return SQL for the UTF-8 of a text in ``_UNICODE``, and for its literal."""
    if charset == "latin1":
        # The other way round, a value too long for CONVERT would be NULL, and QUOTE would write it as the word.
        return f"CONVERT({quoted} USING utf8mb4)", f"CONVERT(QUOTE({quoted}) USING utf8mb4)"
    if type == "json":
        return quoted, f"NULLIF(QUOTE({quoted}),\"''\")"
    # As bytes: what QUOTE escapes is ASCII, which is no part of another character, and to look for characters takes as
    # long again. CAST makes NULL of a longer value, of which QUOTE would make the word.
    return quoted, f"IF(LENGTH({quoted})>=@@max_allowed_packet,NULL,QUOTE(CAST({quoted} AS BINARY)))"


def _on_server(form: Form, value: str, introducer: str, *, nullable: bool) -> str:
    # A function whose result would be longer than max_allowed_packet returns NULL: only a value that is NULL itself may
    # become the word, or such a value would be lost. QUOTE makes the word of NULL alone.
    if form == "text":
        return f"QUOTE({value})"
    if form == "hex":
        literal = f"CONCAT('{introducer}X''',HEX({value}),'''')"
        return f"IF({value} IS NULL,'NULL',{literal})" if nullable else literal
    literal = value if form == "bare" else f"CONCAT('''',{value},'''')"
    return f"IFNULL({literal},'NULL')" if nullable else literal


def raw_columns(columns: Sequence[Column], row_bytes: int) -> tuple[Column, ...]:
    """Return the columns whose texts the server is to send as they are, of a table with such an average row."""
    if row_bytes < LONG_ROW_BYTES:
        return ()
    return tuple(c for c in columns if c.type in _LONG_TEXTS and c.charset in _UNICODE and c.charset != "latin1")


def row_on_server(columns: Sequence[Column], packet: int = 0, raw: Sequence[Column] = ()) -> str:
    """Return SQL for one finished row, ``END`` after it; with ``raw`` columns, for what ``finish_rows`` makes one of.

    Args:
        columns: those of the row.
        packet: the server's ``max_allowed_packet``; 0 where it is not known.
        raw: those of them whose texts come as they are.
    """
    # CAST, for a mere literal lets the server take all of it for text, and look at every character.
    parts = ",',',".join("CAST(X'1a' AS BINARY)" if c in raw else c.literal_within(packet) for c in columns)
    row = f"'(',{parts + ',' if parts else ''}')',CAST(X'1a' AS BINARY)"
    if not raw:
        return f"CONCAT({row})"
    lengths = ",',',".join(f"IFNULL(LENGTH({c.value}),'N')" for c in raw)
    texts = ",".join(f"IFNULL({c.value},'')" for c in raw)
    return f"CONCAT({lengths},':',{row},{texts})"


def finish_rows(block: bytes, raw: int) -> tuple[int, bytes] | None:
    """Return how many rows are in ``block``, and the rows, each finished; None where it ends within one.

    A row with ``raw`` texts that came as they are is the length of each, or N for NULL; the row, with ``END`` in the
    place of each text and behind it; then the texts.
    """
    pieces: list[bytes] = []
    position = rows = 0
    try:
        while position < len(block):
            colon = block.index(b":", position)
            lengths, position = block[position:colon].split(b","), colon + 1
            around = []
            for _ in range(raw + 1):
                end = block.index(END, position)
                around.append(block[position:end])
                position = end + 1
            for before, length in zip(around[:-1], lengths, strict=True):
                text = b"NULL"
                if length != b"N":
                    start, position = position, position + int(length)
                    text = quote(block[start:position])
                pieces += (before, text)
            pieces += (around[-1], END)
            rows += 1
    except ValueError:  # its end is not there
        return None
    return (rows, b"".join(pieces)) if position == len(block) else None


def row_in_client(columns: Sequence[Column]) -> Callable[[Row], bytes]:
    """Return a function that writes a row of the columns' ``value`` as ``row_on_server`` does, without ``END``."""
    writers = [_writer(c) for c in columns]

    def write(row: Row) -> bytes:
        return b"(" + b",".join([b"NULL" if v is None else w(v) for w, v in zip(writers, row)]) + b")"  # noqa: B905 - strict costs

    return write


def _writer(column: Column) -> Callable[[bytes], bytes]:
    if column.form == "bare":
        return bytes
    if column.form == "plain":
        return lambda v: b"'" + v + b"'"
    if column.type == "json":
        return lambda v: quote(require_json(v, column))
    if column.form == "text":
        return quote
    before = column.introducer.encode() + b"X'"
    return lambda v: before + v.hex().upper().encode() + b"'"


def require_json(value: bytes, column: Column) -> bytes:
    """Return the text of a JSON value.

    Raises:
        SourceError: it is empty, which none is.
    """
    if value:
        return value
    raise SourceError(
        f"a JSON value in column {column.name} is longer as text than the server's max_allowed_packet, and it gives an "
        "empty text instead: SET GLOBAL max_allowed_packet=1073741824 there, then run this again"
    )


def quote(value: bytes) -> bytes:
    """Return UTF-8 text as a string literal: what QUOTE() does, and ``escape_breaks``."""
    if b"\\" in value:
        value = value.replace(b"\\", b"\\\\")
    value = value.replace(b"'", b"\\'")
    if b"\0" in value:
        value = value.replace(b"\0", b"\\0")
    if END in value:
        value = value.replace(END, b"\\Z")
    return b"'" + escape_breaks(value) + b"'"


def escape_breaks(text: bytes) -> bytes:
    """Return finished literals with their line breaks as escapes.

    The client program drops a carriage return before a newline, inside strings too; and a newline that stands
    nowhere else can end a row.
    """
    if b"\n" in text:
        text = text.replace(b"\n", b"\\n")
    if b"\r" in text:
        text = text.replace(b"\r", b"\\r")
    return text
