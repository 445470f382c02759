"""A fingerprint of a table's rows, computed by PostgreSQL: the same wherever and however the same rows are stored.

Of each row PostgreSQL makes the text that COPY would write, unambiguous for any values (it quotes, and tells NULL
from empty), under settings that leave nothing to the session: floats to the last bit, bytes in hexadecimal, times in
UTC. The MD5 of each text, as two numbers of 64 bits, goes into two sums: a sum knows no order, and unlike an
exclusive-or it does not lose rows that are there twice. Columns go in the order of their names, because a restored
child of a table may have them in another than the original; generated columns stay out, since no dump holds them.

The fingerprint is for finding what an accident, or somebody's edit, did to a dump. It is no signature.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from dumpty_plugins.postgres.server.connection import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

OLDEST = 12
"""The first version of PostgreSQL that writes floats exactly as every later one does."""

_ALGORITHM = "rows-md5-1"

_SETTINGS = (
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "3"),
    ("lc_monetary", "C"),
    ("quote_all_identifiers", "off"),
    ("search_path", "pg_catalog"),  # names of tables and types, as values, then come with their schemas
    ("xmlbinary", "base64"),
)

_COLUMNS = """
    SELECT attname FROM pg_attribute
    WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"""

_AS_THEY_ARE = {"UTF8", "SQL_ASCII", "MULE_INTERNAL"}
"""Encodings whose text is hashed as it is; from every other it is first converted to UTF-8."""

_SUMS = """
    SELECT count(*), coalesce(sum(('x' || substr(h, 1, 16))::bit(64)::bigint), 0),
           coalesce(sum(('x' || substr(h, 17))::bit(64)::bigint), 0)
    FROM (%s OFFSET 0) AS hashed(h)"""

# No right to read pg_largeobject itself is needed, and no large object is ever in memory as a whole.
_LARGE_OBJECTS = """
    WITH RECURSIVE pieces(oid, at, piece) AS (
        SELECT oid, 0::bigint, lo_get(oid, 0, 1048576) FROM pg_largeobject_metadata
        UNION ALL SELECT oid, at + 1048576, lo_get(oid, at + 1048576, 1048576)
        FROM pieces WHERE length(piece) = 1048576
    ) SELECT md5(oid || ' ' || at || ' ' || md5(piece)) FROM pieces"""


def apply_settings(connection: Connection) -> None:
    """Give the session the settings under which values have one text only."""
    for name, value in _SETTINGS:
        rows(connection, "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s", value, name)


def of_rows(connection: Connection, oid: int, names: Sequence[str]) -> tuple[int, str]:
    """Return how many rows the tables ``names`` (as SQL) hold together, and their fingerprint, in one pass.

    All have the columns of the table ``oid``, in whatever order.
    """
    columns = sorted(column for (column,) in rows(connection, _COLUMNS, oid))
    column_list = ", ".join('"' + column.replace('"', '""') + '"' for column in columns)
    encoding = rows(connection, "SELECT getdatabaseencoding()")[0][0]
    text = f"ROW({column_list})::text"
    hashed = f"md5({text})" if encoding in _AS_THEY_ARE else f"md5(convert_to({text}, 'UTF8'))"
    # One after the other: what reads a thousand tables at once takes gigabytes of the server's memory.
    sums = [_sums(connection, f"SELECT {hashed} FROM ONLY {name}") for name in names]  # noqa: S608 - quoted
    return _fingerprint(sums, columns)


def of_large_objects(connection: Connection) -> str:
    """Return the fingerprint of all large objects."""
    return _fingerprint([_sums(connection, _LARGE_OBJECTS)], ["oid", "data"])[1]


def _sums(connection: Connection, hashes: str) -> tuple[int, int, int]:
    """Return how many hashes a query has, and the sums of their halves."""
    count, first, second = rows(connection, _SUMS.replace("%s", hashes))[0]
    return int(count), int(first), int(second)


def _fingerprint(sums: Sequence[tuple[int, int, int]], columns: Sequence[str]) -> tuple[int, str]:
    count, first, second = (sum(s[place] for s in sums) for place in range(3))
    digest_input = json.dumps([list(columns), count, first % 2**64, second % 2**64])
    return count, f"{_ALGORITHM}:{hashlib.sha256(digest_input.encode()).hexdigest()[:32]}"
