"""The rows of one table, as they are at one moment, each value as a dump has it.

They come by COPY, as in a dump: it calls the output functions of types and nothing else (a cast to text, and what a
planner works out beforehand, may be somebody's own function), reads no view and no foreign table, and says how many
rows it sent. Settings leave nothing to the session. Tables are locked before the snapshot is taken (to an older one a
table that was emptied since is empty), and their names are still theirs when COPY begins and has ended.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, cast

from dumpty import IntegrityError, SourceError
from dumpty_plugins.postgres.schema.fingerprint import OLDEST, apply_settings
from dumpty_plugins.postgres.schema.tables import Table, identifier, list_tables, require_names_now
from dumpty_plugins.postgres.server.connection import prepare, rows
from dumpty_plugins.postgres.server.encodings import UNKNOWN
from dumpty_plugins.postgres.server.errors import translate_errors
from dumpty_plugins.postgres.server.psql import open_psql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import RowValue
    from dumpty_plugins.postgres.server.connection import Address
    from dumpty_plugins.postgres.server.psql import Psql

_COLUMNS = """
    SELECT attnum, attname, atttypid = ANY (ARRAY['int2', 'int4', 'int8']::regtype[]) AS is_number
    FROM pg_attribute
    WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"""

# The primary key first, then what does the same: every row is in it, and none like another, at any moment.
_KEYS = """
    SELECT key FROM (
        SELECT i.indisprimary, i.indexrelid, array_agg(k ORDER BY place) AS key,
               bool_and(coalesce(attnotnull, false)) AS filled
        FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS u(k, place)
             LEFT JOIN pg_attribute ON attrelid = %s AND attnum = k
        WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
          AND place <= i.indnkeyatts
        GROUP BY i.indisprimary, i.indexrelid
    ) AS unique_keys WHERE filled ORDER BY NOT indisprimary, cardinality(key), indexrelid"""

_PARTITIONS = """
    WITH RECURSIVE tree(oid) AS (
        SELECT %s::oid UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid
    ) SELECT c.oid::bigint, n.nspname, c.relname, c.relkind
      FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind <> 'p' ORDER BY c.oid"""

_ESCAPE = re.compile(rb"\\(.)")
_MEANT = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"\\": b"\\"}
_NULL = rb"\N"
_LOCK_SECONDS = 60


class ServerRows:
    """``dumpty.types.TableRows`` of a table, and the tables that hold its rows, locked by ``connection``."""

    def __init__(self, address: Address, connection: Connection, table: Table, holders: list[Table]) -> None:
        self._address = address
        self._connection = connection
        self._holders = holders
        described = rows(connection, _COLUMNS, table.oid)
        names: dict[int, str] = {number: name for number, name, _ in described}
        self._numbers = tuple(place for place, (_, _, is_number) in enumerate(described) if is_number)
        self.columns = tuple(names.values())
        keys = [key for (key,) in rows(connection, _KEYS, table.oid, table.oid) if names.keys() >= set(key)]
        self.key = tuple(names[number] for number in keys[0]) if keys else ()

    def __iter__(self) -> Iterator[tuple[RowValue, ...]]:
        """Return the rows."""
        listed = f" ({', '.join(map(identifier, self.columns))})" if self.columns else ""
        for holder in self._holders:
            count = 0
            for line in self._lines(holder, f"COPY {holder.sql}{listed} TO STDOUT"):
                yield self._row(line)
                count += 1
            sent = cast("Psql", self._connection).rows_copied
            if count != sent:
                raise IntegrityError(
                    f"of {holder.path} of {self._address.label} came {count} rows, and the server says that it sent "
                    f"{sent}; compare again"
                )

    def _lines(self, holder: Table, statement: str) -> Iterator[bytes]:
        """Yield the rows of a table as COPY writes them."""
        held: list[bytes] = []
        with translate_errors(self._address, f"reading {holder.path} of"):
            require_names_now(self._connection, [holder])
            for block in cast("Psql", self._connection).copy_out(statement):
                first, *others = block.split(b"\n")
                held.append(first)
                if others:
                    yield b"".join(held)
                    held = [others.pop()]
                    yield from others
            require_names_now(self._connection, [holder])
        if any(held):
            raise IntegrityError(f"the rows of {holder.path} of {self._address.label} end within one; compare again")

    def _row(self, line: bytes) -> tuple[RowValue, ...]:
        if not self.columns:
            return ()
        fields = line.split(b"\t")
        values: list[RowValue] = [None if field == _NULL else _text(field) for field in fields]
        for place in self._numbers:
            if fields[place] != _NULL:
                values[place] = int(fields[place])
        return tuple(values)


def _text(field: bytes) -> str:
    if b"\\" in field:
        field = _ESCAPE.sub(lambda match: _MEANT[match[1]], field)
    return field.decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def read_table(address: Address, path: str, bindir: str = "") -> Iterator[ServerRows]:
    """Lend the rows of the table of this path; of a partitioned one, those of all its partitions.

    Args:
        address: the database's.
        path: the table's.
        bindir: the directory of the psql to use; "" for the one on the PATH.

    Raises:
        CommandError: there is no psql, or it is too old.
        SourceError: there is no such database or table, or it may not be read.
    """
    with contextlib.closing(open_psql(address, bindir)) as connection:
        with translate_errors(address, "reading the rows of"):
            found = _locked(address, connection, path)
        try:
            yield found
        finally:
            cast("Psql", connection).abandon()  # there may be rows that nobody read


def _locked(address: Address, connection: Connection, path: str) -> ServerRows:
    """Begin a transaction with locks on all that holds rows of the table."""
    prepare(connection)
    major = connection.info.server_version // 10000
    if major < OLDEST:
        raise SourceError(f"rows are compared on PostgreSQL {OLDEST} or newer, and {address.label} is {major}")
    apply_settings(connection)
    encoding = rows(connection, "SELECT getdatabaseencoding()")[0][0]
    rows(connection, f"SET client_encoding = '{UNKNOWN if encoding == UNKNOWN else 'UTF8'}'")
    rows(connection, "SET row_security = off")  # an error instead of a part of the rows
    expected = _find(address, connection, path)
    rows(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    names = ", ".join(f"ONLY {table.sql}" for table in expected)
    rows(connection, f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
    rows(connection, f"LOCK TABLE {names} IN ACCESS SHARE MODE")
    found = _find(address, connection, path)
    if [table.oid for table in found] != [table.oid for table in expected]:
        raise SourceError(f"the table {path} of {address.label} was changed while it was looked at; compare again")
    require_names_now(connection, found)
    table, *holders = found
    return ServerRows(address, connection, table, holders)


def _find(address: Address, connection: Connection, path: str) -> list[Table]:
    """Return the table, and behind it those that hold its rows: itself, or its partitions."""
    tables = list_tables(connection)
    table = next((t for t in tables if t.path == path and t.kind in ("r", "p")), None)
    if table is None:
        raise SourceError(f"{address.label} has no table {path} that holds rows of its own")
    if table.through_root:
        by_oid = {t.oid: t for t in tables}
        whole = table
        while whole.through_root:
            whole = by_oid[whole.parent or 0]
        raise SourceError(
            f"{path} of {address.label} is a partition by the hash of an enum, which holds other rows of {whole.path} "
            f"in each database: compare {whole.path}"
        )
    if table.kind == "r":
        return [table, table]
    holders = [
        Table(oid=oid, schema=schema, name=name, kind=kind, lockable=True)
        for oid, schema, name, kind in rows(connection, _PARTITIONS, table.oid)
    ]
    if foreign := [holder.path for holder in holders if holder.kind != "r"]:
        raise SourceError(
            f"{foreign[0]}, a partition of {path} of {address.label}, is a foreign table, whose rows are in no backup: "
            "compare the other partitions one by one"
        )
    return [table, *holders]
