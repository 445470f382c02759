"""A fingerprint of a table's rows, computed by the server, that the restored table can be asked for again.

Each row becomes one text: numbers, times and the like as the dump writes them (to the bit), texts and bytes as the
SHA-256 of their stored bytes, NULL as a word that no value is. The first 128 bits of that text's SHA-256 are a number,
and the fingerprint the sum of all of them in two halves: the order of rows does not matter, and rows that are there
twice count twice. The names of the columns are in every text, and the members of an ENUM or SET, which is its number.
Generated columns that are stored count like any other: the server computes them anew when a row is loaded, perhaps
otherwise. Virtual ones do not: nothing of them is stored.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from dumpty import SourceError
from dumpty_plugins.mysql.server.sql import identifier

if TYPE_CHECKING:
    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.schema.columns import Column
    from dumpty_plugins.mysql.server.session import Session

ALGORITHM = "rowsha2-2"
"""MySQL has no MD5() from 9.6 on. Whatever changes what is summed changes this name: other names are not compared."""
_HALF = 1 << 64
_LONGEST_PIECE = 400
"""No number, time or digest needs more characters."""


def _piece(column: Column) -> str:
    if column.form in {"bare", "plain"}:
        return column.literal
    # SHA2 needs no room for a copy, whatever max_allowed_packet says.
    return f"IFNULL(SHA2({identifier(column.name)},256),'NULL')"


def fingerprint(session: Session, table: Table) -> tuple[int, str]:
    """Return how many rows ``table`` has, and their fingerprint.

    Raises:
        SourceError: the connection was lost, or there are more columns than the server could take at once.
    """
    columns = (*table.columns, *table.stored)
    names = hashlib.sha256("\0".join(f"{c.name}\0{c.members}" for c in columns).encode()).hexdigest()
    pieces = ",".join(f"',',{_piece(c)}" for c in columns)
    row = f"SHA2(CONCAT('{names}'{',' if pieces else ''}{pieces}),256)"
    # Longer than this, and the row's text would be NULL, which no sum would show.
    if session.number("SELECT @@max_allowed_packet") < _LONGEST_PIECE * (1 + len(columns)):
        raise SourceError(f"table {table.name} has too many columns for a fingerprint: raise max_allowed_packet")
    half = "SUM(CAST(CONV(SUBSTR(" + row + ",{},16),16,10) AS UNSIGNED))"
    ((rows, high, low),) = session.rows(f"SELECT COUNT(*), {half.format(1)}, {half.format(17)} FROM {table.rows_from}")
    sums = (int(part or 0) % _HALF for part in (high, low))
    return int(rows or 0), f"{ALGORITHM}:" + "".join(f"{part:016x}" for part in sums)
