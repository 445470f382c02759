"""Room for tables in a database: nothing may have their names, or what does is dropped, and nothing else with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import OptionError, SourceError, TargetNotEmpty
from dumpty_plugins.postgres.loading.names import OWNED_SEQUENCES, Name, name_of_path
from dumpty_plugins.postgres.schema.tables import identifier
from dumpty_plugins.postgres.server.connection import psycopg2, rows
from dumpty_plugins.postgres.server.errors import translate_errors, translated_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Evidence
    from dumpty_plugins.postgres.server.connection import Address

__all__ = ["Room", "names_of"]

_LOCK_TIMEOUT = "60s"
"""How long to wait for those who use a table that is to be replaced."""
_EXISTING = """
    SELECT c.oid, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s"""
"""A relation by its name."""
_TYPE = "SELECT 1 FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = %s AND t.typname = %s"
_TAKEN = {
    "pg_class": f"SELECT 1 FROM ({_EXISTING}) AS c UNION ALL SELECT 1 FROM ({_TYPE}) AS t",  # noqa: S608 - constants
    "pg_statistic_ext": """
        SELECT 1 FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
        WHERE n.nspname = %s AND s.stxname = %s AND %s || %s <> ''""",
}
_FAMILY = """
    WITH RECURSIVE family(oid, partition) AS (
        SELECT inhrelid, relispartition FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent IN %s
        UNION SELECT i.inhrelid, c.relispartition FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        JOIN family f ON i.inhparent = f.oid
    ) SELECT f.oid, n.nspname, c.relname, f.partition FROM family f JOIN pg_class c ON c.oid = f.oid
    JOIN pg_namespace n ON n.oid = c.relnamespace"""
_PARENT = """
    SELECT i.inhrelid::regclass::text, i.inhparent::regclass::text FROM pg_inherits i
    WHERE i.inhrelid IN %s AND i.inhparent NOT IN %s LIMIT 1"""
_PUBLISHED = """
    SELECT p.pubname, r.prrelid::regclass::text FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
    WHERE r.prrelid IN %s ORDER BY 1, 2"""
_PUBLISHED_IN_PART = """
    SELECT p.pubname, r.prrelid::regclass || coalesce((
               SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')' FROM pg_attribute a
               WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs::smallint[])
           ), '') || coalesce(' WHERE (' || pg_get_expr(r.prqual, r.prrelid) || ')', '')
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid IN %s ORDER BY 1, 2"""
_HAS_FILTERS = 150000


def names_of(tables: Mapping[str, str], evidence: Evidence) -> dict[str, Name]:
    """Return the names that tables are to have in the target, by their paths in the dump.

    Raises:
        OptionError: what is to be a name is none, or two are to have the same one.
        SourceError: the backup does not know a table's own name.
    """
    names: dict[str, Name] = {}
    for path, new in tables.items():
        if "***" in path or (evidence.properties.get("encoding") == "SQL_ASCII" and "\\x" in path):
            raise SourceError(
                f"{path} is not the table's whole name, which holds a secret, or bytes that no encoding explains: it "
                "comes back with all of the backup"
            )
        try:
            own_schema = name_of_path(path).schema
        except ValueError:
            raise OptionError(f"{path!r} is no table's path: write SCHEMA.NAME, as dumpty show lists it") from None
        try:
            name = name_of_path(new, own_schema)
        except ValueError:
            raise OptionError(f"{new!r} is no name for a table: write NAME or SCHEMA.NAME") from None
        if name in names.values():
            raise OptionError(f"two tables are to be called {name}: give each a name of its own")
        if name.schema.startswith("pg_") or name.schema == "information_schema":
            raise OptionError(f"{name} is in a schema of PostgreSQL's own: give another one")
        names[path] = name
    return names


class Room:
    """Makes room for tables over one session, inside a transaction that somebody has begun, and will end.

    ``notes`` says what is not as it was.

    Args:
        address: the target's.
        connection: the session.
        names: the tables' paths in the dump, with their names in the target.
        expected: what the backup says of these tables.
    """

    def __init__(self, address: Address, connection: Connection, names: Mapping[str, Name], expected: Evidence) -> None:
        self._address = address
        self._connection = connection
        self._names = names
        self._part_of = {entry.path: entry.part_of for entry in expected.objects}
        self._given: set[tuple[Name, str]] = set()
        self._sequences: list[str] = []
        self.notes: list[str] = []

    def require(self, *, overwrite: bool) -> None:
        """See that nothing has one of the names, or with ``overwrite`` that the tables which do can be replaced.

        Raises:
            OptionError: a name is longer than PostgreSQL's may be.
            TargetNotEmpty: there is one, or something that is no table.
            SourceError: something would be lost with it.
        """
        rows(self._connection, "SET search_path = ''")
        for name in self._names.values():
            self._require_length(name)
        old, companions = self._existing(overwrite=overwrite)
        if old or companions:
            self._require_whole(old, companions)

    def make(self, *, overwrite: bool) -> None:
        """Drop the tables that have one of the names, and make schemas that are missing.

        Raises:
            TargetNotEmpty, SourceError: as ``require``; or something else in the database needs a table.
            Locked: somebody uses one.
        """
        old, companions = self._existing(overwrite=overwrite)
        if old or companions:
            # Only what is looked at under the lock stays as it was seen: a partition may have come while we waited.
            self._lock([name.sql for name in (*old.values(), *companions.values())])
            old, companions = self._existing(overwrite=overwrite)
            self._require_whole(old, companions)
            self._note_publications((*old, *companions))
            self._sequences = [name for (name,) in rows(self._connection, OWNED_SEQUENCES, (*old, *companions))]
            self._drop([name.sql for name in (*old.values(), *companions.values())])
        for schema in sorted({name.schema for name in self._names.values()}):
            if not rows(self._connection, "SELECT 1 FROM pg_namespace WHERE nspname = %s", schema):
                with translate_errors(self._address, f"creating the schema {schema} in"):
                    rows(self._connection, f"CREATE SCHEMA {identifier(schema)}")
                self.notes.append(f"the schema {schema} was created")

    def _existing(self, *, overwrite: bool) -> tuple[dict[int, Name], dict[int, Name]]:
        """Return the tables that have one of the names, by their oids: those that are asked for, and their partitions.

        Raises:
            TargetNotEmpty: there is one, without ``overwrite``, or it is no table.
        """
        old: dict[int, Name] = {}
        companions: dict[int, Name] = {}
        for path, name in self._names.items():
            self._given.add((name, "pg_class"))
            for oid, kind in rows(self._connection, _EXISTING, *name):
                self._require_replaceable(name, kind, overwrite=overwrite)
                (companions if self._part_of.get(path) in self._names else old)[oid] = name
        return old, companions

    def _require_length(self, name: Name) -> None:
        for text in name:
            if rows(self._connection, "SELECT %s::name::text", text)[0][0] != text:
                raise OptionError(f"{text!r} is too long for a name in {self._address.label}: 63 bytes at most")

    def _require_replaceable(self, name: Name, kind: str, *, overwrite: bool) -> None:
        is_table = kind in {"r", "p"}
        where = f"{self._address.label} has {'a table' if is_table else 'something'} called {name} already"
        if not is_table:
            raise TargetNotEmpty(f"{where}, which is no table: give what is restored another name, TABLE=NEW")
        if not overwrite:
            raise TargetNotEmpty(
                f"{where}, so nothing was restored; give what is restored another name, TABLE=NEW, or insist on "
                "replacing that table: --overwrite (overwrite=True)"
            )

    def _require_whole(self, old: Mapping[int, Name], companions: Mapping[int, Name]) -> None:
        """Check that tables, with their partitions, can be dropped, and nothing goes with them that does not return.

        Raises:
            TargetNotEmpty: one that only comes along is no partition of those that are asked for.
            SourceError: they have more partitions, or are part of another table.
        """
        label, instead = self._address.label, "give what is restored another name, TABLE=NEW"
        family = {oid: (Name(s, n), p) for oid, s, n, p in rows(self._connection, _FAMILY, tuple(old) or (0,))}
        for stranger in (name for oid, name in companions.items() if oid not in family):
            raise TargetNotEmpty(
                f"{label} has a table called {stranger} already, which is no partition of what is to be replaced: "
                f"{instead}"
            )
        left_behind = [
            str(name)
            for oid, (name, partition) in family.items()
            if oid not in old and not (partition and oid in companions)
        ]
        if left_behind:
            raise SourceError(
                f"{', '.join(map(str, old.values()))} of {label} cannot be replaced, for it has partitions, or tables "
                f"that inherit from it, which would be lost: {', '.join(left_behind)}; {instead}"
            )
        dropped = (*old, *companions)
        for child, parent in rows(self._connection, _PARENT, dropped, dropped):
            raise SourceError(
                f"{child} of {label} cannot be replaced, for it is part of {parent}, which would lose its rows: "
                f"{instead}, or restore {parent} with it"
            )

    def _note_publications(self, oids: Sequence[int]) -> None:
        in_part = self._connection.info.server_version >= _HAS_FILTERS
        for publication, table in rows(self._connection, _PUBLISHED_IN_PART if in_part else _PUBLISHED, tuple(oids)):
            statement = f"ALTER PUBLICATION {identifier(publication)} ADD TABLE {table}"
            self.notes.append(f"a table was in the publication {publication}; to put it there again: {statement}")

    def _lock(self, old: Sequence[str]) -> None:
        tables = ", ".join(old)
        with translate_errors(self._address, f"locking {tables} in"):
            rows(self._connection, f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            rows(self._connection, f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")

    def _drop(self, old: Sequence[str]) -> None:
        tables = ", ".join(old)
        try:
            rows(self._connection, f"DROP TABLE {tables}")
            rows(self._connection, "SET LOCAL lock_timeout = 0")
        except psycopg2().errors.DependentObjectsStillExist as error:
            needing = " ".join((error.diag.message_detail or "").split())
            raise SourceError(
                f"{tables} of {self._address.label} cannot be replaced, for something else needs it ({needing}): give "
                "what is restored another name, TABLE=NEW, and take from there what you need"
            ) from error
        except psycopg2().Error as error:
            raise translated_error(self._address, f"dropping {tables} in", error) from error

    def require_sequences(self) -> None:
        """Check that the sequences which belonged to the tables that were dropped are there again.

        Raises:
            SourceError: one is not: the backup does not have it.
        """
        for name in self._sequences:
            if rows(self._connection, "SELECT to_regclass(%s)", name)[0][0] is None:
                raise SourceError(
                    f"the sequence {name} of {self._address.label} belongs to a table that is to be replaced, and "
                    f"would be lost, for the backup does not have it: ALTER SEQUENCE {name} OWNED BY NONE, and again"
                )

    def free_name(self, wanted: Name, catalog: str) -> Name:
        """Return a name that nothing in the target has, of a catalog: the one that is wanted, or with a number."""
        number = 0
        while True:
            end = str(number) if number else ""
            [(start,)] = rows(self._connection, "SELECT %s::name::text", wanted.name)
            while end and rows(self._connection, "SELECT %s::name::text", start + end)[0][0] != start + end:
                start = start[:-1]
            name = Name(wanted.schema, start + end)
            if (name, catalog) not in self._given and not rows(self._connection, _TAKEN[catalog], *name, *name):
                self._given.add((name, catalog))
                return name
            number += 1
