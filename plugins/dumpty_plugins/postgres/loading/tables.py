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
    SourceError,
    require_same_evidence,
)
from dumpty_plugins.postgres.dumping.script_reader import Script
from dumpty_plugins.postgres.loading.names import Name, name_of_path
from dumpty_plugins.postgres.loading.optional_parts import advice
from dumpty_plugins.postgres.loading.rows import run_statement
from dumpty_plugins.postgres.loading.types import facts
from dumpty_plugins.postgres.schema.fingerprint import apply_settings
from dumpty_plugins.postgres.schema.tables import count_rows, holders, list_tables, literal, table_path
from dumpty_plugins.postgres.server.connection import prepare, psycopg2, rows, version
from dumpty_plugins.postgres.server.encodings import encode_name
from dumpty_plugins.postgres.server.errors import translate_errors, translated_error
from dumpty_plugins.postgres.server.waiting import run_watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty_plugins.postgres.dumping.script_reader import Statement
    from dumpty_plugins.postgres.server.connection import Address

__all__ = ["TableLoader"]

_SHOWN = 5
_LACKS = {"42704", "42883", "42P01", "3F000", "42703", "22023", "0A000"}
"""What PostgreSQL says where something that a statement names is not there: an object, a function, a table, a schema, a
column, a tablespace, an access method."""

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

    def require_same_types(self, expected: Mapping[str, str]) -> None:
        """Check that the tables have the columns and types that they had, down to the last label and digit.

        Args:
            expected: what ``facts`` said of them where they were put together.

        Raises:
            SourceError: a type of the target's is another one of the same name: values would change.
        """
        found = facts(self._connection, [name.sql for name in self._names.values()])
        if different := sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name)):
            name = different[0]
            raise SourceError(
                f"{', '.join(different)} of {self._address.label} is not what it is in the backup, so values could "
                f"change: {name} is {found.get(name, 'not used')} there, and {expected.get(name, 'not used')} in the "
                "backup; restore all of it into a new database"
            )

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
        rows(self._connection, "SET array_nulls = on")  # or a NULL in an array would become a word

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
            tables = list_tables(connection)
            oids, holding = {Name(t.schema, t.name): t.oid for t in tables}, holders(tables)
            for path, name in self._names.items():
                before = self._expected.get(path, ObjectEvidence(path=path))
                row_count = digest = None
                if oids[name] in holding:
                    oid, has_print = oids[name], before.fingerprint is not None
                    row_count, digest = count_rows(connection, oid, holding[oid], fingerprint=has_print)
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
