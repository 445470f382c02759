"""Puts some tables of a dump beside what a database holds: in one transaction, so that it is all or nothing.

What their definitions need, and the database lacks, is found out before any row is loaded: they are run on empty tables
first, and undone.
"""

from __future__ import annotations

import functools
import re
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from dumpty import (
    Evidence,
    IntegrityError,
    ObjectEvidence,
    OptionError,
    SourceError,
    TargetNotEmpty,
    require_same_evidence,
)
from dumpty_plugins.postgres.dumping.script_reader import Script
from dumpty_plugins.postgres.loading.names import Name, name_of_path
from dumpty_plugins.postgres.loading.optional_parts import advice
from dumpty_plugins.postgres.loading.rows import run_statement
from dumpty_plugins.postgres.schema.fingerprint import apply_settings, of_table
from dumpty_plugins.postgres.schema.tables import identifier, literal, table_path
from dumpty_plugins.postgres.server.connection import prepare, psycopg2, rows, version
from dumpty_plugins.postgres.server.encodings import encode_name
from dumpty_plugins.postgres.server.errors import translate_errors, translated_error
from dumpty_plugins.postgres.server.waiting import run_watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty_plugins.postgres.dumping.script_reader import Statement
    from dumpty_plugins.postgres.server.connection import Address

__all__ = ["TableLoader", "names_of"]

_LOCK_TIMEOUT = "60s"
"""How long to wait for those who use a table that is to be replaced."""
_SHOWN = 5
_LACKS = {"42704", "42883", "42P01", "3F000", "42703", "22023", "0A000"}
"""What PostgreSQL says where something that a statement names is not there: an object, a function, a table, a schema, a
column, a tablespace, an access method."""

_EXISTING = """
    SELECT c.oid, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s"""
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
_GRANTED = """
    SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END FROM pg_class c
    CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE c.oid = %s::regclass AND a.grantee <> c.relowner"""

_QUOTED = rb'"(?:[^"]|"")+"'
_NAME = rb"(?:" + _QUOTED + rb"|[A-Za-z_\x80-\xff][\w$\x80-\xff]*)"
_COPY = re.compile(
    rb"COPY (" + _NAME + rb"\." + _NAME + rb") ?( \(" + _NAME + rb"(?:, " + _NAME + rb")*\))? FROM stdin;"
)
_PRIVILEGES = {(b"grant",), (b"revoke",), (b"set", b"session"), (b"reset", b"session")}


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
        names[path] = name
    return names


class TableLoader:
    """Puts tables in place over one session, inside a transaction that somebody has begun, and will end.

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
        self._expected = {entry.path: entry for entry in expected.objects}
        self._given: set[tuple[Name, str]] = set()
        self.notes: list[str] = []

    # -- the target ----------------------------------------------------------------------------------------------

    def require_room(self, *, overwrite: bool) -> None:
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

    def make_room(self, *, overwrite: bool) -> None:
        """Drop the tables that have one of the names, and make schemas that are missing.

        Raises:
            TargetNotEmpty, SourceError: as ``require_room``; or something else in the database needs a table.
            Locked: somebody uses one.
        """
        old, companions = self._existing(overwrite=overwrite)
        if old or companions:
            self._require_whole(old, companions)
            self._note_publications((*old, *companions))
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
                entry = self._expected.get(path)
                (companions if entry is not None and entry.part_of in self._names else old)[oid] = name
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
        for publication, table in rows(self._connection, _PUBLISHED, tuple(oids)):
            statement = f"ALTER PUBLICATION {identifier(publication)} ADD TABLE {table}"
            self.notes.append(f"{table} was in the publication {publication}; to put it there again: {statement}")

    def _drop(self, old: Sequence[str]) -> None:
        tables = ", ".join(old)
        try:
            rows(self._connection, f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
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

    # -- definitions ---------------------------------------------------------------------------------------------

    def require_possible(self, statements: Sequence[Statement]) -> None:
        """Run statements on empty tables, undo it, and say everything that the target lacks for them.

        Raises:
            SourceError: it lacks something, or refuses.
        """
        lacks: dict[str, None] = {}
        rows(self._connection, "SAVEPOINT dumpty_rehearsal")
        for statement in statements:
            if problem := self._problem(statement.text):
                lacks[problem] = None
                if statement.keywords[:2] in {(b"create", b"table"), (b"create", b"unlogged")}:
                    break  # all that follows needs it
        rows(self._connection, "ROLLBACK TO SAVEPOINT dumpty_rehearsal")
        if lacks:
            more = f"; and {len(lacks) - _SHOWN} more" if len(lacks) > _SHOWN else ""
            raise SourceError(
                f"{self._address.label} lacks what the tables need, so nothing was restored: "
                f"{'; '.join(list(lacks)[:_SHOWN])}{more}. Create it there first, restore the tables that they need, "
                "too (--table A,B), or restore all of the backup into a new database"
            )

    def _problem(self, text: bytes) -> str:
        """Run one statement, and return what the target lacks for it; "" where it lacks nothing."""
        connection = self._connection
        rows(connection, "SAVEPOINT dumpty_statement")
        try:
            with closing(connection.cursor()) as cursor:
                run_watched(connection, functools.partial(cursor.execute, text))
        except psycopg2().Error as error:
            if connection.closed or error.pgcode not in _LACKS:
                raise translated_error(self._address, "making the tables in", error) from error
            rows(connection, "ROLLBACK TO SAVEPOINT dumpty_statement")
            return self._address.scrub(error.diag.message_primary or str(error)) + advice(text)
        rows(connection, "RELEASE SAVEPOINT dumpty_statement")
        return ""

    def run(self, statements: Iterable[Statement], *, privileges: bool = False) -> None:
        """Run statements; those that grant privileges only with ``privileges``, and then no others."""
        for statement in statements:
            grants = statement.keywords[:1] in _PRIVILEGES or statement.keywords[:2] in _PRIVILEGES
            is_setting = statement.keywords[:1] in {(b"set",), (b"select",)} and not grants
            if grants == privileges or is_setting:
                run_statement(self._address, self._connection, statement)

    def revoke_defaults(self, sequences: Iterable[str]) -> None:
        """Take away what the target grants on every new table and sequence: the backup says who may do what."""
        for kind, name in (*(("TABLE", n.sql) for n in self._names.values()), *(("SEQUENCE", s) for s in sequences)):
            for (grantee,) in rows(self._connection, _GRANTED, name):
                rows(self._connection, f"REVOKE ALL ON {kind} {name} FROM {grantee}")

    def set_sequences(self, values: Iterable[tuple[str, int, bool]]) -> None:
        """Give sequences the values that they had."""
        for name, last_value, is_called in values:
            rows(self._connection, f"SELECT setval({literal(name)}::regclass, %s, %s)", last_value, is_called)

    # -- rows ----------------------------------------------------------------------------------------------------

    def load_rows(self, read: Callable[[], bytes]) -> None:
        """Load the rows of the tables out of a plain dump; of all else in it, nothing is run.

        Raises:
            IntegrityError: it is cut off, or is none.
            SourceError: the server refuses them.
        """
        script = Script(read)
        for statement in script:
            if not statement.copy:
                continue
            renamed = self.into_target(statement)
            if renamed is None:
                for _ in script.data():
                    pass
            else:
                self._prepare_copy(statement.encoding)
                run_statement(self._address, self._connection, renamed, script.data())
        if not script.complete:
            raise IntegrityError("the dump ends without pg_dump's end marker: it is cut off")

    def reset(self) -> None:
        """Give the session its own settings again, after those of a dump."""
        rows(self._connection, "RESET ALL")
        rows(self._connection, "SET client_encoding = 'UTF8'")
        prepare(self._connection)
        rows(self._connection, "SET search_path = ''")
        rows(self._connection, "SET row_security = off")

    def _prepare_copy(self, encoding: str) -> None:
        for setting in (f"client_encoding = {literal(encoding)}", "xmloption = content", "row_security = off"):
            rows(self._connection, f"SET {setting}")

    def into_target(self, statement: Statement) -> Statement | None:
        """Return a COPY of a dump as one into its table in the target; None where that is none of the tables.

        Raises:
            IntegrityError: it is no COPY of pg_dump's.
            SourceError: the name cannot be said in the dump's encoding.
        """
        path = table_path(statement.copy_table, statement.encoding)
        if path not in self._names:
            return None
        match = _COPY.fullmatch(statement.text)
        if match is None:
            raise IntegrityError(f"what should be rows of {path} is not that: is it forged?")
        name = self._names[path]
        if name == name_of_path(path):
            return statement
        try:
            text = b"COPY " + encode_name(name.sql, statement.encoding) + (match[2] or b"") + b" FROM stdin;"
        except UnicodeError as error:
            raise SourceError(
                f"the name {name} cannot be said in {statement.encoding}, which the rows in the backup are in: give "
                "another one"
            ) from error
        return replace(statement, text=text)

    # -- proof ---------------------------------------------------------------------------------------------------

    def count(self) -> Evidence:
        """Count the rows of the tables, take fingerprints of those of which the backup has some, and compare.

        Returns:
            What is there now, each table under its path in the backup.

        Raises:
            IntegrityError: that is not what was backed up.
        """
        connection = self._connection
        self.reset()
        apply_settings(connection)
        objects = []
        with translate_errors(self._address, "counting rows in"), self._unforced():
            for path, name in self._names.items():
                before = self._expected.get(path, ObjectEvidence(path=path))
                [(oid, kind)] = rows(connection, _EXISTING, *name)
                row_count = digest = None
                if kind == "r" and before.fingerprint is not None:
                    row_count, digest = of_table(connection, oid, name.sql)
                elif kind == "r":
                    [(row_count,)] = rows(connection, f"SELECT count(*) FROM ONLY {name.sql}")  # noqa: S608 - quoted
                entry = ObjectEvidence(path=path, rows=row_count, fingerprint=digest, part_of=before.part_of)
                objects.append(entry)
        versions = {"server": version(connection)[1], "psycopg2": psycopg2().__version__.split()[0]}
        found = Evidence(objects=tuple(objects), versions=versions)
        require_same_evidence(
            expected=Evidence(objects=tuple(self._expected.values())),
            found=found,
            subject="what was loaded",
            advice="the target was left as it was; restore another backup",
        )
        return found

    @contextmanager
    def _unforced(self) -> Iterator[None]:
        """Let the owner of the tables see every row in the block, though their policies are forced on their owner."""
        rows(self._connection, "SAVEPOINT dumpty_unforced")
        for name in self._names.values():
            forced = "SELECT 1 FROM pg_class WHERE oid = %s::regclass AND relforcerowsecurity"
            if rows(self._connection, forced, name.sql):
                rows(self._connection, f"ALTER TABLE ONLY {name.sql} NO FORCE ROW LEVEL SECURITY")
        yield
        rows(self._connection, "ROLLBACK TO SAVEPOINT dumpty_unforced")
