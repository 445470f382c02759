"""The tables of a database, and how many rows they hold: what the evidence is made of."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import ObjectEvidence, SourceError
from dumpty_plugins.postgres.schema import fingerprint as fingerprints
from dumpty_plugins.postgres.server.connection import rows
from dumpty_plugins.postgres.server.encodings import decode_text, display_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

_TABLES = """
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relkind = 'r' OR c.relkind = 'p', i.inhparent
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhseqno = 1
    WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY n.nspname, c.relname"""

_CONFIGURATION = """
    SELECT c.oid, n.nspname, c.relname, 'x'::"char", true, NULL::oid
    FROM pg_extension e, unnest(e.extconfig) AS t(oid), pg_class c, pg_namespace n
    WHERE c.oid = t.oid AND c.relkind = 'r' AND n.oid = c.relnamespace
      AND has_table_privilege(c.oid, 'SELECT')
    ORDER BY n.nspname, c.relname"""

_FORCED = """
    SELECT c.oid::regclass::text FROM pg_class c
    WHERE c.relrowsecurity AND c.relforcerowsecurity AND c.relkind IN ('r', 'p')
      AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)"""

_BY_ENUM = """
    WITH RECURSIVE by_enum(oid) AS (
        SELECT p.partrelid FROM pg_partitioned_table p WHERE (
            SELECT o.oid FROM pg_opclass o JOIN pg_am h ON h.oid = o.opcmethod
            WHERE o.opcname = 'enum_ops' AND o.opcnamespace = 'pg_catalog'::regnamespace AND h.amname = 'hash'
        ) = ANY (p.partclass)
        UNION SELECT i.inhrelid FROM pg_inherits i JOIN by_enum ON i.inhparent = by_enum.oid
    ) SELECT oid FROM by_enum"""
"""As pg_dump finds out what it loads through the root (``getPartitioningInfo`` in ``pg_dump.c``)."""
_HAS_HASH_PARTITIONS = 110000

LARGE_OBJECTS = "pg_catalog.pg_largeobject"
"""The path of all large objects together; it is there where there are any."""

_NAMES_PER_QUERY = 500
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table.

    ``kind`` is pg_class's: r table or partition, p partitioned, m materialized view; x is a table of an extension
    whose user-made rows are dumped. ``lockable``: LOCK TABLE takes it. ``parent`` is the table whose partition it is,
    or from which it inherits, which is how partitions were made before there were any.

    ``by_enum``: it is partitioned by the hash of an enum, or below a table that is. ``through_root``: it is below one,
    so what it holds is dumped as rows of the outermost table that it is a partition of, and in another database they
    may come into other partitions: the hash is of the number that a label has in that one database.
    """

    oid: int
    schema: str
    name: str
    kind: str
    lockable: bool
    parent: int | None = None
    by_enum: bool = False
    through_root: bool = False

    @property
    def path(self) -> str:
        """``schema.table``, quoted where a name is not plain; the same on every server version."""
        return _path(display_name(self.schema), display_name(self.name))

    @property
    def sql(self) -> str:
        """The name as SQL, always quoted."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"


def identifier(name: str) -> str:
    """Return ``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return ``text`` as an SQL string, right under either setting of standard_conforming_strings."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'" if "\\" not in text else " E'" + escaped.replace("\\", "\\\\") + "'"


def _path(schema: str, name: str) -> str:
    return f"{_quote_if_needed(schema)}.{_quote_if_needed(name)}"


def _quote_if_needed(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else identifier(name)


def list_tables(connection: Connection, *, configuration: bool = False) -> list[Table]:
    """Return the tables that belong to the user, and with ``configuration`` those that extensions have dumped."""
    tables = rows(connection, _TABLES) + (rows(connection, _CONFIGURATION) if configuration else [])
    by_enum: set[int] = set()
    if connection.info.server_version >= _HAS_HASH_PARTITIONS:
        by_enum = {oid for (oid,) in rows(connection, _BY_ENUM)}
    return [
        Table(oid=o, schema=s, name=n, kind=k, lockable=lock, parent=p, by_enum=o in by_enum, through_root=p in by_enum)
        for o, s, n, k, lock, p in tables
    ]


def outermost(tables: Iterable[Table]) -> dict[int, Table]:
    """Return of each table, by its oid, the outermost one that it is a partition of; one that is none is its own."""
    by_oid = {table.oid: table for table in tables}
    roots = {}
    for table in by_oid.values():
        root = table
        while (parent := by_oid.get(root.parent or 0)) is not None:
            root = parent
        roots[table.oid] = root
    return roots


def holders(tables: Iterable[Table]) -> dict[int, list[Table]]:
    """Return, by their oids, the tables under whose names a dump has rows, each with those that hold these rows.

    It is the table itself, or of an outermost table those of its partitions that are dumped as its rows. Of one that
    could have such partitions, or has none at all, these are none.
    """
    found: dict[int, list[Table]] = {}
    roots = outermost(tables)
    full = {roots[table.oid].oid for table in tables if table.kind == "r"}
    for table in tables:
        root = roots[table.oid].oid
        if table.by_enum or (table.kind == "p" and root not in full):
            found.setdefault(root, [])
        if table.kind == "r":
            found.setdefault(root if table.through_root else table.oid, []).append(table)
    return found


def count_rows(
    connection: Connection, oid: int, holding: Sequence[Table], *, fingerprint: bool
) -> tuple[int, str | None]:
    """Return how many rows of the table ``oid`` the tables ``holding`` have, and with ``fingerprint`` theirs."""
    if fingerprint:
        return fingerprints.of_rows(connection, oid, [table.sql for table in holding])
    counts = (rows(connection, f"SELECT count(*) FROM ONLY {table.sql}")[0][0] for table in holding)  # noqa: S608 - quoted
    return sum(map(int, counts)), None


def require_names_now(connection: Connection, tables: Sequence[Table]) -> None:
    """Do as ``require_names``, in a transaction, by what the names are at this moment.

    A session takes note of what others renamed when it gets a lock that it had not; here on some catalog, until the
    savepoint is gone.

    Raises:
        SourceError: one is another table's by now, or nobody's.
    """
    rows(connection, "SAVEPOINT dumpty_names")
    rows(connection, "LOCK TABLE pg_catalog.pg_conversion IN ACCESS SHARE MODE")
    require_names(connection, tables)
    rows(connection, "ROLLBACK TO SAVEPOINT dumpty_names")


def require_names(connection: Connection, tables: Sequence[Table]) -> None:
    """Check that the names of tables are still theirs: renaming their schema waits for no lock on them.

    It goes by what the session knows, which is at least as new as what any earlier statement in it went by.

    Raises:
        SourceError: one is another table's by now, or nobody's.
    """
    for start in range(0, len(tables), _NAMES_PER_QUERY):
        pairs = ", ".join(f"({t.oid}::oid, {literal(t.sql)})" for t in tables[start : start + _NAMES_PER_QUERY])
        sql = f"SELECT n FROM (VALUES {pairs}) AS v(o, n) WHERE to_regclass(n)::oid IS DISTINCT FROM o"  # noqa: S608 - quoted
        if renamed := rows(connection, sql):
            raise SourceError(
                f"{renamed[0][0]} is not the table of that name any more: a schema was renamed while it was read, so "
                "what was read is not of one moment; begin again"
            )


def count(
    connection: Connection, tables: Sequence[Table], *, fingerprint: bool = False, skipped: Collection[int] = ()
) -> tuple[ObjectEvidence, ...]:
    """Count the rows of every table, and the large objects; with ``fingerprint`` take fingerprints of them, too.

    Those whose oid is ``skipped`` are listed without a number, unless a fingerprint is taken of them.
    Partitioned tables that have partitions hold nothing themselves, and a materialized view is computed anew by a
    restore: they are listed without a number. Partitions whose rows are dumped as those of their outermost table are,
    too: it has their number.
    """
    objects = []
    roots, holding = outermost(tables), holders(tables)
    for table in tables:
        if table.kind == "x":
            continue
        row_count = digest = None
        if table.oid in holding and (fingerprint or table.oid not in skipped):
            row_count, digest = count_rows(connection, table.oid, holding[table.oid], fingerprint=fingerprint)
        part_of = None if roots[table.oid] is table else roots[table.oid].path
        objects.append(ObjectEvidence(path=table.path, rows=row_count, fingerprint=digest, part_of=part_of))
    if large_objects := int(rows(connection, "SELECT count(*) FROM pg_largeobject_metadata")[0][0]):
        digest = fingerprints.of_large_objects(connection) if fingerprint else None
        objects.append(ObjectEvidence(path=LARGE_OBJECTS, rows=large_objects, fingerprint=digest))
    return tuple(objects)


@contextlib.contextmanager
def without_forced_row_security(connection: Connection) -> Iterator[None]:
    """Let the owner of tables see every row in the block, though their policies are forced on their owner, too.

    It takes a lock on such tables that nobody shares: only for a database that nobody else uses yet.
    """
    names = [name for (name,) in rows(connection, _FORCED)]
    if not names:
        yield
        return
    in_transaction = connection.info.transaction_status != 0  # in a transaction already
    rows(connection, "SAVEPOINT dumpty_unforced" if in_transaction else "BEGIN")
    for name in names:
        rows(connection, f"ALTER TABLE ONLY {name} NO FORCE ROW LEVEL SECURITY")
    yield
    rows(connection, "ROLLBACK TO SAVEPOINT dumpty_unforced" if in_transaction else "ROLLBACK")


def archived_path(schema: str, name: str, encoding: str) -> str:
    """Return the path (as ``Table.path`` spells it) of a table that an archive in ``encoding`` names."""
    return _path(*(decode_text(n.encode("utf-8", "surrogateescape"), encoding) for n in (schema, name)))


def table_path(copy_table: bytes, encoding: str) -> str:
    """Return the path (as ``Table.path`` spells it) of a table's name in a COPY statement of a dump in ``encoding``."""
    parts = re.findall(r'"(?:[^"]|"")*"|[^."]+', decode_text(copy_table, encoding))
    names = [p[1:-1].replace('""', '"') if p.startswith('"') else p for p in parts]
    return ".".join(_quote_if_needed(n) for n in names)
