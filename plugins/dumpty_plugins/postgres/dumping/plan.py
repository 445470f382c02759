"""Which rows of a database come in parts of their own: those of large ordinary tables, cut into ranges of pages.

Everything else stays with pg_dump, in one archive: the tables that it filters (an extension's configuration), or whose
rows are elsewhere (foreign tables), partitions whose rows it has loaded through the root, because in another database
they belong into others (those by the hash of an enum), what is no heap, and what is small.

A range is one of ``ctid``, which PostgreSQL scans by itself since version 14. The row versions that a snapshot sees
stay where they are as long as somebody holds a lock on the table, which keeps away what rewrites it (VACUUM FULL,
CLUSTER); each lies on one page, and the last range has no end. So every row is in exactly one range.
"""

from __future__ import annotations

import heapq
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty_plugins.postgres.schema.tables import identifier
from dumpty_plugins.postgres.server.connection import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty_plugins.postgres.schema.tables import Table

__all__ = ["Plan", "Range", "plan_parts"]

LARGE_BYTES = 8 << 20
"""Of a smaller table pg_dump writes the rows: a part costs some ten milliseconds."""
RANGE_BYTES = (2 << 20, 4 << 30)
"""What a range is meant to have at least, and at most, with what lies in TOAST tables.

The least is little: where each connection is slow, eight jobs are eight times as fast only where each has several
ranges, of a small database, too."""
_RANGES_PER_JOB = 4
"""So that all end at about the same time, though some have longer rows than others."""
_MOST_TABLES = 500
_MOST_LOCKS = 2000
"""Of all sessions together: a server has room for 6,400 by its own settings."""
_LONGEST_COPY = 100_000
_MOST_RANGES = 5000
"""A manifest tells of each."""
_HAS_ACCESS_METHODS, _HAS_RANGES = 12, 14

_TABLES = """
    SELECT c.oid, pg_relation_size(c.oid) / current_setting('block_size')::integer,
           pg_relation_size(c.oid) + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)
    FROM pg_class c JOIN pg_am a ON a.oid = c.relam
    WHERE c.relkind = 'r' AND a.amname = 'heap' AND pg_relation_size(c.oid)
          + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0) >= %s"""

_CHECKING = """
    SELECT EXISTS (
        SELECT FROM pg_depend d
        JOIN pg_constraint c ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid AND c.contype = 'c'
        LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND d.refobjid = o.oid
        JOIN pg_proc p ON p.oid = CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END
        WHERE p.provolatile <> 'i' AND NOT EXISTS (
            SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'))"""
"""Whether a check, of a table or a domain, calls a function that may look into tables; none of the system's does."""

_ROOM = """
    SELECT least(
        current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
            - coalesce(current_setting('reserved_connections', true)::integer, 0)
            - (SELECT sum(numbackends) FROM pg_stat_database),
        (SELECT nullif(b.datconnlimit, -1) - s.numbackends
            FROM pg_database b JOIN pg_stat_database s ON s.datid = b.oid WHERE b.datname = current_database()),
        (SELECT nullif(r.rolconnlimit, -1) - (SELECT count(*) FROM pg_stat_activity WHERE usename = session_user)
            FROM pg_roles r WHERE r.rolname = session_user AND NOT r.rolsuper))::integer"""
"""How many more connections the server lets this user have, whoever else wants some."""

_COLUMNS = """
    SELECT attrelid, attname FROM pg_attribute
    WHERE attrelid IN %s AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attrelid, attnum"""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Some pages of a table, or all of it.

    ``first`` is the first page; ``end`` the first one behind it, or None for no end. ``size`` is about what it has, in
    bytes.
    """

    table: Table
    columns: tuple[str, ...]
    first: int = 0
    end: int | None = None
    size: int = 0

    @property
    def label(self) -> str:
        """Which pages, for people; "" for the whole table."""
        if self.end is None:
            return f"pages from {self.first}" if self.first else ""
        return f"pages {self.first} to {self.end - 1}"

    @property
    def copy_statement(self) -> str:
        """The COPY that writes its rows."""
        columns = ", ".join(map(identifier, self.columns))
        bounds = [f"tableoid = {self.table.oid}"]  # and not of another table, which has this name by now
        bounds += [f"ctid >= '({self.first},0)'"] if self.first else []
        bounds += [] if self.end is None else [f"ctid < '({self.end},0)'"]
        query = f"SELECT {columns} FROM ONLY {self.table.sql} WHERE {' AND '.join(bounds)}"  # noqa: S608 - quoted
        return f"COPY ({query}) TO STDOUT"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The ranges whose rows come in parts, the largest first; ``jobs`` is how many sessions read them."""

    ranges: tuple[Range, ...] = ()
    jobs: int = 1

    @property
    def tables(self) -> tuple[Table, ...]:
        """Their tables, each once."""
        return tuple({r.table.oid: r.table for r in self.ranges}.values())

    @property
    def oids(self) -> frozenset[int]:
        """Those of its tables."""
        return frozenset(r.table.oid for r in self.ranges)


def plan_parts(
    connection: Connection, tables: Sequence[Table], *, jobs: int, asked: bool, encoding: str, part_size: int = 0
) -> Plan:
    """Return which rows of ``tables`` are to come in parts.

    Args:
        connection: a session of the snapshot.
        tables: the database's.
        jobs: how many are written at once, if the server has room for their sessions, and pg_dump's.
        asked: whether somebody said how many; else half of that room is left to others.
        encoding: that of the dump, in which names go to psql and pg_dump.
        part_size: bytes that a table has at least to come in parts, and that one of its ranges has; 0 for what suits.
    """
    major = connection.info.server_version // 10000
    # Of a server that old, everything is in the archive; and where checks may look into other tables, for pg_dump alone
    # knows of an order in which rows may be loaded.
    if major < _HAS_ACCESS_METHODS or rows(connection, _CHECKING)[0][0]:
        return Plan()
    jobs = _with_room(connection, jobs, asked=asked)
    by_oid = {t.oid: t for t in tables if t.kind == "r" and not t.through_root and _can_be_named(t.sql, encoding)}
    sizes = {o: (pages, size) for o, pages, size in rows(connection, _TABLES, part_size or LARGE_BYTES) if o in by_oid}
    most = max(min(_MOST_TABLES, _MOST_LOCKS // jobs), 1)
    largest = heapq.nlargest(most, sizes, key=lambda oid: sizes[oid][1])
    if not largest:
        return Plan()
    columns: dict[int, list[str]] = {}
    for oid, name in rows(connection, _COLUMNS, tuple(largest)):
        columns.setdefault(oid, []).append(name)
    total = sum(sizes[oid][1] for oid in largest)
    range_bytes = part_size or min(max(total // (jobs * _RANGES_PER_JOB), RANGE_BYTES[0]), RANGE_BYTES[1])
    range_bytes = max(range_bytes, total // _MOST_RANGES)
    ranges: list[Range] = []
    for oid in largest:
        names = columns.get(oid, [])
        copyable = names and all(_can_be_named(name, encoding) for name in names)
        if copyable and sum(len(identifier(name)) + 2 for name in names) < _LONGEST_COPY:
            pages, size = sizes[oid]
            count = max(min(round(size / range_bytes), pages), 1) if major >= _HAS_RANGES else 1
            ranges += _cut(by_oid[oid], tuple(names), pages, size, count)
    return Plan(ranges=tuple(sorted(ranges, key=lambda r: -r.size)), jobs=jobs)


def _with_room(connection: Connection, jobs: int, *, asked: bool) -> int:
    """Return how many sessions to open: no application is to find the server full because of a backup."""
    room = max(int(rows(connection, _ROOM)[0][0]), 0)
    return max(min(jobs, room - 1 if asked else room // 2), 1)


def _can_be_named(name: str, encoding: str) -> bool:
    """Return whether psql gets a name in the dump's encoding, and pg_dump as an argument in this machine's."""
    try:
        return name.isascii() or (encoding == "UTF8" and os.fsencode(name) == name.encode())
    except UnicodeError:
        return False


def _cut(table: Table, columns: tuple[str, ...], pages: int, size: int, count: int) -> list[Range]:
    """Return a table in ``count`` ranges of about as many pages; the last one has no end."""
    bounds = [pages * number // count for number in range(count)]
    ends = [*bounds[1:], None]
    return [
        Range(table=table, columns=columns, first=first, end=end, size=size // count)
        for first, end in zip(bounds, ends, strict=True)
    ]
