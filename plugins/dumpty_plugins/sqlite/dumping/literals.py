"""SQL expressions that write a cell as an SQL literal, inside SQLite, so that it reads back equal.

``quote()`` alone does not: it ends text at a NUL, prints infinity as ``Inf``, loses the sign of -0.0, and 0.3 % of
random doubles read back different; of those that SQLite 3.51 printed, 3.40 reads every fifth different. The sqlite3
program drops the CR of every CR LF it reads, in literals too. Text that is not valid in its encoding, which SQLite
stores without complaint, is no text for anybody else.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_STEP_BITS = 60
_MANTISSA_BITS = 53
_DECIMALS = 10**11
"""From here on a number with four places may have more than 15 digits."""
_SCALES = (("1", "1024", 1 << 52), ("1024", "1048576", 1 << 42), ("0.0009765625", "1", 1 << 62))
"""From, below, and the power of two that makes every double in between an integer of at most 62 bits."""
CODECS = {"UTF-8": "utf-8", "UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}
"""Python's names of SQLite's encodings."""

NOT_THROUGH_UTF16 = ("\ufeff", "\ufffe", "\uffff")
"""SQLite's own conversion from UTF-8 replaces or drops these."""


def register(database: sqlite3.Connection) -> None:
    """Add to ``database`` the functions that the expressions of this module call."""
    encoding = database.execute("PRAGMA encoding").fetchone()[0].decode()
    database.create_function("dumpty_real", 1, exact_real, deterministic=True)
    database.create_function("dumpty_text", 1, lambda data: exact_text(data, encoding), deterministic=True)


def row_expression(columns: list[str], *, careful: bool) -> str:
    """Return the expression of one row, ``(1,'a',X'00')``; ``columns`` are quoted identifiers.

    Not ``careful`` is right unless the text holds CR LF or invalid UTF-8, which the caller sees in the output, and
    in databases encoded in UTF-16, where it would not.
    """
    return f"'(' || {_joined([_cell(column, careful=careful) for column in columns])} || ')'"


def _joined(parts: list[str]) -> str:
    # As a balanced tree: SQLite refuses expressions deeper than 1000, and a table may have 2000 columns.
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({_joined(parts[:middle])} || ',' || {_joined(parts[middle:])})"


def _cell(column: str, *, careful: bool) -> str:
    text = f"dumpty_text(CAST({column} AS BLOB))" if careful else f"quote({column})"
    return (
        f"CASE typeof({column})"
        f" WHEN 'text' THEN CASE WHEN instr({column}, char(0))"
        f" THEN 'CAST(' || quote(CAST({column} AS BLOB)) || ' AS TEXT)' ELSE {text} END"
        f" WHEN 'real' THEN {_real(column)}"
        f" ELSE quote({column}) END"
    )


def _real(column: str) -> str:
    # Decimals only up to four places and 15 digits, which quote() itself has found to read back: then the nearest
    # double is so much nearer than any other that every way of dividing in use finds it (one rounding to 53 bits, 64
    # and then 53, or two doubles). All others are written as an integer over a power of two, which is exact (a literal
    # of at most 19 digits and no decimals is read as an integer first), and for usual magnitudes SQLite's own work.
    scaled = "".join(
        f" WHEN abs({column}) >= {low} AND abs({column}) < {high}"
        f" THEN CAST({column} * {scale} AS INTEGER) || '/{scale}e0'"
        for low, high, scale in _SCALES
    )
    return (
        f"CASE WHEN {column} = 0 OR abs({column}) >= {_DECIMALS} THEN dumpty_real({column})"
        f" WHEN quote({column}) NOT GLOB '*.?????*' THEN quote({column})"
        f"{scaled} ELSE dumpty_real({column}) END"
    )


def exact_real(value: float) -> str:
    """Return an SQL expression that is ``value``, bit by bit, on every version of SQLite.

    Its integer mantissa, scaled by powers of two: each step is exact, and none depends on reading decimals.
    """
    if math.isinf(value):
        return "9e999" if value > 0 else "-9e999"
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    fraction, exponent = math.frexp(value)
    mantissa = int(fraction * (1 << _MANTISSA_BITS))
    exponent -= _MANTISSA_BITS
    while not mantissa & 1:
        mantissa >>= 1
        exponent += 1
    operator = "*" if exponent > 0 else "/"
    steps, remaining_bits = divmod(abs(exponent), _STEP_BITS)
    return (
        f"{mantissa}*1.0"
        + f"{operator}{1 << _STEP_BITS}" * steps
        + f"{operator}{1 << remaining_bits}" * bool(remaining_bits)
    )


def exact_text(data: bytes, encoding: str) -> str:
    """Return an SQL expression that is the text stored as ``data`` in a database of ``encoding``."""
    as_bytes = f"CAST(X'{data.hex()}' AS TEXT)"
    try:
        text = data.decode(CODECS[encoding])
    except UnicodeDecodeError:
        return as_bytes
    if "\0" in text or (encoding != "UTF-8" and any(c in text for c in NOT_THROUGH_UTF16)):
        return as_bytes
    literal = text.replace("'", "''")
    if "\r\n" not in literal:
        return f"'{literal}'"
    mark = "\\r"
    while mark in literal:
        mark += "r"
    return f"replace('{literal.replace(chr(13), mark)}','{mark}',char(13))"
