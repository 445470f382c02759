"""The content of a table as one short string, the same wherever and however its rows are stored.

Each row is written down exactly (type and bytes of every cell that can be written; generated columns and implicit
rowids left out), hashed with BLAKE2b to 256 bits, and the hashes of all rows are added up modulo 2**256: a sum knows
no order, and counts equal rows as often as they occur. Column names and the number of rows go into the final hash, too.
It tells accidents and single edits; whoever can choose many rows could make two tables of one sum.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

ALGORITHM = "rowsum-blake2b-1"
"""Changes with anything in this module that changes a fingerprint: those of other names are not compared."""

_BITS = 256
_double = struct.Struct(">d").pack


def of_table(database: sqlite3.Connection, name: str, from_clause: str) -> tuple[int, str | None]:
    """Return the rows of a table that was read to its end, and its fingerprint (None: its columns cannot be named).

    ``database`` gives text as bytes, and every collation and function that the table needs is there.
    """
    # Text will come as bytearray, so that it is not taken for a blob.
    text_factory = database.text_factory
    try:
        columns = [
            column.decode()
            for (column,) in database.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", (name,))
        ]
        utf8 = database.execute("PRAGMA encoding").fetchone()[0] == b"UTF-8"
        cells = ", ".join(_cell(column, utf8=utf8) for column in columns)
        database.text_factory = bytearray
        rows, total = _sum_of_digests(database.execute(f"SELECT {cells} FROM {from_clause}"))  # noqa: S608 - quoted
    except UnicodeDecodeError:
        return 0, None
    finally:
        database.text_factory = text_factory
    head = repr((columns, rows)).encode()
    digest = hashlib.blake2b(head + total.to_bytes(_BITS // 8, "big"), digest_size=_BITS // 8)
    return rows, f"{ALGORITHM}:{digest.hexdigest()}"


def _cell(column: str, *, utf8: bool) -> str:
    name = '"' + column.replace('"', '""') + '"'
    # Text comes converted to UTF-8, and what is no valid UTF-16 would be lost in that.
    return name if utf8 else f"CASE typeof({name}) WHEN 'text' THEN hex(CAST({name} AS BLOB)) ELSE {name} END"


def _sum_of_digests(rows: Iterable[tuple[object, ...]]) -> tuple[int, int]:
    count = total = 0
    for row in rows:
        digest = hashlib.blake2b(encode_row(row), digest_size=_BITS // 8).digest()
        total += int.from_bytes(digest, "big")
        count += 1
    return count, total % (1 << _BITS)


def encode_row(row: Iterable[object]) -> bytes:
    """Return a row so that no other row reads the same: each cell with its type and length; text is a bytearray."""
    parts = []
    for cell in row:
        kind = type(cell)
        if kind is int:
            parts.append(b"i%d;" % cell)  # type: ignore[str-format]
        elif kind is bytearray:
            parts.append(b"t%d:%b" % (len(cell), cell))  # type: ignore[arg-type,str-format]
        elif cell is None:
            parts.append(b"n")
        elif kind is float:
            parts.append(b"r" + _double(cell))
        else:
            parts.append(b"b%d:%b" % (len(cell), cell))  # type: ignore[arg-type,str-format]
    return b"".join(parts)
