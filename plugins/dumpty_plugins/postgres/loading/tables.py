"""Loads some tables of a dump beside what a database holds: in one transaction, so that it is all or nothing.

What the statements of these tables need, and the database lacks, is found out before any row is loaded: they are run
on empty tables first, and undone. (Of a plain dump only those before its rows: the others stand behind them.)
"""

from __future__ import annotations

import functools
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from dumpty import Evidence, IntegrityError, ObjectEvidence, OptionError, SourceError, TargetNotEmpty
from dumpty.process import BLOCK
from dumpty_plugins.postgres.dumping.script_reader import Script
from dumpty_plugins.postgres.loading.loader import SKIPPABLE
from dumpty_plugins.postgres.loading.optional_parts import advice
from dumpty_plugins.postgres.loading.rows import load_rows, run_statement
from dumpty_plugins.postgres.loading.table_statements import Name, TableStatements, name_of_path
from dumpty_plugins.postgres.schema.fingerprint import apply_settings, of_table
from dumpty_plugins.postgres.schema.tables import identifier, without_forced_row_security
from dumpty_plugins.postgres.server.connection import prepare, psycopg2, rows, version
from dumpty_plugins.postgres.server.errors import translate_errors, translated_error
from dumpty_plugins.postgres.server.waiting import run_watched

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Dump, Options
    from dumpty_plugins.postgres.dumping.script_reader import Statement
    from dumpty_plugins.postgres.loading.archive import ArchiveLoader
    from dumpty_plugins.postgres.loading.optional_parts import Parts
    from dumpty_plugins.postgres.server.connection import Address

__all__ = ["TableLoader", "names_of"]

_LOCK_TIMEOUT = "60s"
"""How long to wait for those who use a table that is to be replaced."""
_SHOWN = 5
_LONGEST_NAME = 63
"""In bytes: what PostgreSQL cuts names to, unless somebody compiled it otherwise."""

_MAKES_TABLE = ((b"create", b"table"), (b"create", b"unlogged"))

_EXISTING = """
    SELECT c.oid, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s"""
_TAKEN = """
    SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"""
_TAKEN_BY_STATISTICS = """
    SELECT 1 FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
    WHERE n.nspname = %s AND s.stxname = %s"""


def names_of(tables: Mapping[str, str], evidence: Evidence) -> dict[str, Name]:
    """Return the names that tables are to have in the target, by their paths in the dump.

    Partitions of a table that is given another name are called after that, too.

    Raises:
        OptionError: what is to be a name is none, or two are to have the same one.
    """
    names: dict[str, Name] = {}
    roots = {entry.path: entry.part_of for entry in evidence.objects if entry.part_of in tables}
    for path, new in tables.items():
        name = _name(new, name_of_path(path).schema)
        root = roots.get(path)
        if root is not None and new == path:
            name = _after(name, name_of_path(root), _name(tables[root], name_of_path(root).schema))
        if len(name.name.encode("utf-8", "surrogateescape")) > _LONGEST_NAME:
            raise OptionError(f"{name.name!r} is too long for a table's name: {_LONGEST_NAME} bytes at most")
        if name in names.values():
            raise OptionError(f"two tables are to be called {name}: give each a name of its own")
        names[path] = name
    return names


def _name(text: str, schema: str) -> Name:
    try:
        return name_of_path(text, schema)
    except ValueError:
        raise OptionError(f"{text!r} is no name for a table: write NAME or SCHEMA.NAME") from None


def _after(partition: Name, root: Name, new: Name) -> Name:
    """Return the name of a partition of a table whose name is a new one."""
    if root == new:
        return partition
    rest = partition.name.removeprefix(root.name)
    name = new.name + (rest if rest != partition.name else f"_{rest}")
    return Name(new.schema if partition.schema == root.schema else partition.schema, name)


class TableLoader:
    """Loads some tables over one session, inside a transaction that somebody has begun, and will end.

    Args:
        address: the target's.
        connection: the session.
        tables: the paths of the tables in the dump, with their names in the target.
        options: those of the restore.
        parts: what is left out.
    """

    def __init__(
        self, address: Address, connection: Connection, tables: Mapping[str, Name], options: Options, parts: Parts
    ) -> None:
        self._address = address
        self._connection = connection
        self._tables = tables
        self._parts = parts
        self._given: set[tuple[Name, bool]] = {(name, False) for name in tables.values()}
        self._chooser = TableStatements(tables, triggers=bool(options["triggers"]), free=self._free_name)
        self._settings = {name.encode() for (name,) in rows(connection, "SELECT name FROM pg_settings")}
        self._notes: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not as it was, in a sentence each."""
        return (*self._notes, *self._chooser.notes, *self._parts.notes)

    # -- the target ----------------------------------------------------------------------------------------------

    def make_room(self, *, overwrite: bool) -> None:
        """See that no table has one of the names, or with ``overwrite`` drop those that do; make missing schemas.

        Raises:
            TargetNotEmpty: there is one, or something that is no table.
            Locked: somebody uses one that is to be dropped.
            SourceError: something else in the database needs it.
        """
        old: list[str] = []
        for name in self._tables.values():
            for _, kind in rows(self._connection, _EXISTING, *name):
                is_table = kind in {"r", "p"}
                where = f"{self._address.label} has {'a table' if is_table else 'something'} called {name} already"
                if not is_table:
                    raise TargetNotEmpty(f"{where}, which is no table: give what is restored another name, TABLE=NEW")
                if not overwrite:
                    raise TargetNotEmpty(
                        f"{where}, so nothing was restored; give what is restored another name, TABLE=NEW, or insist "
                        "on replacing that table: --overwrite (overwrite=True)"
                    )
                old.append(name.sql)
        if old:
            self._drop(old)
        for schema in sorted({name.schema for name in self._tables.values()}):
            if not rows(self._connection, "SELECT 1 FROM pg_namespace WHERE nspname = %s", schema):
                with translate_errors(self._address, f"creating the schema {schema} in"):
                    rows(self._connection, f"CREATE SCHEMA {identifier(schema)}")
                self._notes.append(f"the schema {schema} was created")

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

    def _free_name(self, wanted: Name, statistics: bool) -> Name:
        """Return a name that nothing in the target has: the one that is wanted, else with a number behind it."""
        taken, number, name = _TAKEN_BY_STATISTICS if statistics else _TAKEN, 0, wanted
        while True:
            end = str(number) if number else ""
            bytes_left = _LONGEST_NAME - len(end)
            start = wanted.name.encode("utf-8", "surrogateescape")[:bytes_left].decode("utf-8", "ignore")
            name = Name(wanted.schema, start + end)
            if (name, statistics) not in self._given and not rows(self._connection, taken, *name):
                self._given.add((name, statistics))
                return name
            number += 1

    # -- loading -------------------------------------------------------------------------------------------------

    def load_archive(self, archive: ArchiveLoader) -> None:
        """Load them from what pg_restore reads, and the parts beside it.

        Raises:
            IntegrityError: it is damaged, or a part holds what it should not.
            SourceError: the target lacks something, or refuses; or there is no such table.
        """
        major = version(self._connection)[0]
        before, rest = archive.definitions(major)
        self._chooser.learn([*before, *rest])
        self._require_possible([*before, *rest])
        self._run_all(before)
        archive.load_data(major, self._tables.keys(), self._load_script)
        for part in archive.parts_of(self._tables.keys()):
            load_rows(self._address, self._connection, part, renamed=self._renamed)
        self._run_all(rest)

    def load_plain(self, dump: Dump) -> None:
        """Load them from a plain dump, of which all is read.

        Raises:
            IntegrityError, SourceError: as ``load_archive``.
        """
        with closing(dump.open()) as reader:
            self._load_script(lambda: reader.read(BLOCK), begin=self._begin)

    def _begin(self, before: Sequence[Statement]) -> None:
        """Run what stands before the rows of a plain dump."""
        self._chooser.learn(before)
        self._require_possible(before)
        self._run_all(before)

    def _load_script(
        self, read: Callable[[], bytes], *, begin: Callable[[Sequence[Statement]], None] | None = None
    ) -> None:
        """Run what is chosen of a script; ``begin`` is given what may be of it before its first rows."""
        script, before = Script(read), list["Statement"]()
        for statement in script:
            if statement.copy:
                if begin is not None:
                    begin(before)
                    begin = None
                self._copy(statement, script)
            elif begin is None:
                self._run(statement)
            elif self._chooser.may_choose(statement):
                before.append(statement)
        if begin is not None:
            begin(before)
        if not script.complete:
            raise IntegrityError("the dump ends without pg_dump's end marker: it is cut off")

    def _copy(self, statement: Statement, script: Script) -> None:
        text = self._chooser.choose(statement)
        if text is None:
            for _ in script.data():
                pass
        else:
            run_statement(self._address, self._connection, replace(statement, text=text), script.data())

    def _renamed(self, statement: Statement) -> Statement:
        text = self._chooser.choose(statement)
        return statement if text is None else replace(statement, text=text)

    def _run_all(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            self._run(statement)

    def _run(self, statement: Statement) -> None:
        if (text := self._chosen(statement)) is not None:
            run_statement(self._address, self._connection, replace(statement, text=text))

    def _chosen(self, statement: Statement) -> bytes | None:
        """Return a statement as it is to be run here; None where it is not."""
        if not self._parts.include(statement.text):
            return None
        keywords = statement.keywords
        if keywords[:1] == (b"set",) and keywords[1:2] and keywords[1] in SKIPPABLE - self._settings:
            return None
        return self._chooser.choose(statement)

    # -- what the target lacks -----------------------------------------------------------------------------------

    def _require_possible(self, statements: Sequence[Statement]) -> None:
        """Run statements on empty tables, undo it, and say everything that the target lacks for them.

        Raises:
            SourceError: it lacks something; or a table is not in the dump.
        """
        problems: dict[str, None] = {}
        failed: set[str | None] = set()
        rows(self._connection, "SAVEPOINT dumpty_rehearsal")
        for statement in statements:
            text, table = self._chosen(statement), self._chooser.table_of(statement)
            if text is not None and table not in failed and (problem := self._problem(text)):
                problems[problem] = None
                failed |= {table} if statement.keywords[:2] in _MAKES_TABLE else set()
        rows(self._connection, "ROLLBACK TO SAVEPOINT dumpty_rehearsal")
        self._require_chosen()
        if problems:
            more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise SourceError(
                f"{self._address.label} lacks what the tables need, so nothing was restored: "
                f"{'; '.join(list(problems)[:_SHOWN])}{more}. Create it there first, restore the tables that they "
                "need, too (--table A,B), or restore all of the backup into a new database"
            )

    def _problem(self, text: bytes) -> str:
        """Run one statement, and return why the server refuses it; "" where it does not."""
        connection, library = self._connection, psycopg2()
        rows(connection, "SAVEPOINT dumpty_statement")
        try:
            with closing(connection.cursor()) as cursor:
                run_watched(connection, functools.partial(cursor.execute, text))
        except library.Error as error:
            if connection.closed or not error.pgcode:
                raise
            rows(connection, "ROLLBACK TO SAVEPOINT dumpty_statement")
            return self._address.scrub(error.diag.message_primary or str(error)) + advice(text)
        rows(connection, "RELEASE SAVEPOINT dumpty_statement")
        return ""

    def _require_chosen(self) -> None:
        if unselected := self._chooser.unselected:
            raise OptionError(
                f"a table that is asked for has partitions that are not: {', '.join(sorted(unselected))}; name the "
                "outermost table, whose partitions then come along, or name them, too"
            )
        if missing := sorted(set(self._tables) - self._chooser.created):
            raise SourceError(
                f"the backup has no table {', '.join(missing)} that could be restored alone: views, foreign tables, "
                "large objects and what belongs to extensions come back with all of the backup"
            )

    # -- proof ---------------------------------------------------------------------------------------------------

    def count(self, expected: Evidence) -> Evidence:
        """Count the rows of the tables, and take fingerprints of those of which a backup has some.

        Args:
            expected: what the backup says of these tables.

        Returns:
            The same of what is there now, each table under its path in the backup.
        """
        connection, known = self._connection, {entry.path: entry for entry in expected.objects}
        rows(connection, "RESET ALL")
        rows(connection, "SET client_encoding = 'UTF8'")
        prepare(connection)
        rows(connection, "SET row_security = off")
        apply_settings(connection)
        objects = []
        with translate_errors(self._address, "counting rows in"), without_forced_row_security(connection):
            for path, name in self._tables.items():
                before = known.get(path, ObjectEvidence(path=path))
                [(oid, kind)] = rows(connection, _EXISTING, *name)
                row_count = digest = None
                if kind == "r" and before.fingerprint is not None:
                    row_count, digest = of_table(connection, oid, name.sql)
                elif kind == "r":
                    row_count = int(rows(connection, f"SELECT count(*) FROM ONLY {name.sql}")[0][0])  # noqa: S608 - quoted
                entry = ObjectEvidence(path=path, rows=row_count, fingerprint=digest, part_of=before.part_of)
                objects.append(entry)
        versions = {"server": version(connection)[1], "psycopg2": psycopg2().__version__.split()[0]}
        return Evidence(objects=tuple(objects), versions=versions, notes=self.notes)
