"""Replaces a database that holds something, such that the old one is there until the new one is complete.

1. The dump is loaded into ``DB__dumpty_new`` and checked; its code is created there too, to know that it can be.
2. ``DB__dumpty_old`` is made, with the old code's statements in its table ``dumpty_definitions``.
3. The old events and triggers go (a table with triggers cannot change its database), then one RENAME TABLE moves the
   old tables to ``DB__dumpty_old`` and the new ones in; the old views and routines go, the new code is created.
4. Only then are ``DB__dumpty_old`` and ``DB__dumpty_new`` dropped.

A failure puts everything back. A restore that was killed leaves ``DB__dumpty_old``, and the next one refuses to start.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from dumpty import DumptyError, Evidence, Locked, SourceError

from .catalog import Catalog, base_tables, listing
from .code import LOOSE, code_statements
from .connection import connect
from .dump import versions
from .load import Loader, drop
from .names import identifier, literal, relative
from .reading import CatalogReader
from .rights import rights
from .session import Session, StatementError, decode, place

if TYPE_CHECKING:
    from dumpty import Dump, Source

_LONGEST = 64 - len("__dumpty_new")
_DEFINITIONS = "dumpty_definitions"
_WAITED = frozenset({1205, 1213, 3572})


def beside(database: str) -> tuple[str, str]:
    """Return the names of the databases for the new and for the old content, within MySQL's 64 characters."""
    stem = database
    if len(stem) > _LONGEST:
        stem = f"{database[: _LONGEST - 9]}_{hashlib.sha256(database.encode()).hexdigest()[:8]}"
    return f"{stem}__dumpty_new", f"{stem}__dumpty_old"


class Swap:
    """One restore over a database that holds something.

    Args:
        target: the database.
        control: a session without a default database, which holds the lock on this restore.
        database: its name.
        lock_timeout: seconds to wait for tables that are in use.
    """

    def __init__(self, target: Source, control: Session, database: str, *, lock_timeout: int) -> None:
        self._target = target
        self._control = control
        self._database = database
        self._timeout = lock_timeout
        self._new, self._old = beside(database)
        self._before: Catalog
        self._moved: list[str] = []

    def restore(self, dump: Dump) -> Evidence:
        """Load ``dump`` beside, check it, and put it in the old content's place."""
        self._check_neighbours()
        self._before = self._understand()
        self._control.execute(f"CREATE DATABASE {identifier(self._new)}")
        try:
            session = self._connect(self._new)
            try:
                loader = Loader(session, self._target, self._new)
                objects = loader.load(dump)
                loader.run_code(session, skip=("EVENT",))
                triggers = [s.name for s in loader.code if s.kind == "TRIGGER"]
                for name in triggers:
                    session.execute(f"DROP TRIGGER {identifier(name)}")
            except BaseException:
                session.abandon()
                raise
            session.close()
            self._exchange(loader)
        except BaseException:
            self._drop_new()
            raise
        self._drop_new()
        return Evidence(objects=objects, versions=versions(self._control))

    def _connect(self, database: str | None) -> Session:
        session = connect(self._target, database)
        try:
            session.execute(f"SET SESSION lock_wait_timeout={self._timeout}")
        except BaseException:
            session.abandon()
            raise
        return session

    def _check_neighbours(self) -> None:
        rows = self._control.rows(
            "SELECT DISTINCT CONSTRAINT_SCHEMA, TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE "
            f"UNIQUE_CONSTRAINT_SCHEMA={literal(self._database)} AND CONSTRAINT_SCHEMA<>{literal(self._database)}"
        )
        if rows:
            schema, table = (decode(v) for v in rows[0])
            raise SourceError(
                f"table {schema}.{table} refers to tables of {self._database} by foreign key and would lose them: drop "
                "that key, or restore into another name"
            )

    def _understand(self) -> Catalog:
        """Read the old content's definitions, to put them back after a failure: all of them, or nothing is begun."""
        session = self._connect(self._database)
        try:
            held = rights(session, self._database)
            if not held.has("TRIGGER") or not held.has("EVENT") or not held.sees_routines:
                raise SourceError(
                    f"overwriting {self._database} needs the rights TRIGGER and EVENT on it, and to see its routines: "
                    "what is hidden from this account could not be put back after a failure"
                )
            return CatalogReader(session, self._database, listing(session, self._database), ()).read()
        finally:
            session.close()

    def _drop_new(self) -> None:
        session = self._connect(None)
        try:
            session.execute("SET FOREIGN_KEY_CHECKS=0")
            session.execute(f"DROP DATABASE IF EXISTS {identifier(self._new)}")
        finally:
            session.close()

    def _exchange(self, loader: Loader) -> None:
        self._control.execute(f"CREATE DATABASE {identifier(self._old)}")
        try:
            self._keep_definitions()
            self._drop_code(("event", "trigger"))
            self._rename()
            self._drop_code(("view", "package", "function", "procedure"))
            self._take_settings()
            session = self._connect(self._database)
            try:
                self._mend_defaults(session)
                loader.run_code(session)
            finally:
                session.close()
        except BaseException as error:
            self._put_back(error)
            raise
        self._control.execute("SET FOREIGN_KEY_CHECKS=0")
        self._control.execute(f"DROP DATABASE {identifier(self._old)}")

    def _keep_definitions(self) -> None:
        table = f"{identifier(self._old)}.{identifier(_DEFINITIONS)}"
        self._control.execute(f"CREATE TABLE {table} (n INT PRIMARY KEY, statement LONGBLOB NOT NULL) ENGINE=InnoDB")
        for n, statement in enumerate(code_statements(self._before.code, self._before.collation), 1):
            self._control.execute(f"INSERT INTO {table} VALUES ({n}, X'{statement.text.hex()}')")

    def _drop_code(self, kinds: tuple[str, ...]) -> None:
        for kind in kinds:
            for entry in sorted(listing(self._control, self._database)):
                found = "view" if entry[0] == "table" and entry[2] == "VIEW" else entry[0].lower()
                if found == kind and entry[0] != "view":
                    drop(self._control, kind, self._database, entry[1])

    def _movable(self, database: str) -> list[str]:
        entries = listing(self._control, database)
        return base_tables(entries) + sorted(e[1] for e in entries if e[0] == "table" and e[2] == "SEQUENCE")

    def _rename(self) -> None:
        old, new = self._movable(self._database), self._movable(self._new)
        moves = [(self._database, self._old, n) for n in old] + [(self._new, self._database, n) for n in new]
        if not moves:
            return
        try:
            self._control.execute(_renaming(moves))
        except StatementError as error:
            if error.code in _WAITED:
                raise Locked(
                    f"tables of {self._database} on {place(self._target)} are in use, and did not become free in time: "
                    "end those sessions, or wait longer with the option lock_timeout"
                ) from error
            raise
        self._moved = new

    def _take_settings(self) -> None:
        charset, collation = self._control.rows(
            "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA "
            f"WHERE SCHEMA_NAME={literal(self._new)}"
        )[0]
        self._settings(decode(charset), decode(collation))

    def _settings(self, charset: str, collation: str) -> None:
        self._control.execute(
            f"ALTER DATABASE {identifier(self._database)} CHARACTER SET = {charset} COLLATE = {collation}"
        )

    def _mend_defaults(self, session: Session) -> None:
        """Point defaults at the sequences that moved with their tables: the server keeps them under the old name."""
        session.execute(f"SET sql_mode='{LOOSE}'")
        rows = session.rows(
            "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT FROM information_schema.COLUMNS WHERE TABLE_SCHEMA="
            f"{literal(self._database)} AND LOCATE({literal(identifier(self._new) + '.')}, COLUMN_DEFAULT)>0"
        )
        objects = self._movable(self._database)
        for table, column, default in rows:
            text, _ = relative(default or b"", self._new, objects, aliases=False)
            session.execute(
                f"ALTER TABLE {identifier(decode(table))} ALTER COLUMN {identifier(decode(column))} "
                f"SET DEFAULT ({decode(text)})"
            )

    def _put_back(self, error: BaseException) -> None:
        """Undo a swap that failed, over fresh sessions: the old ones may be what failed."""
        try:
            self._control = self._connect(None)
            try:
                self._put_back_all()
            finally:
                self._control.close()
        except DumptyError as second:
            raise SourceError(
                f"overwriting {self._database} failed ({error}), and putting it back failed too ({second}): its old "
                f"tables are in {self._old}, the statements of its views, routines, triggers and events in "
                f"{self._old}.{_DEFINITIONS}; nothing is lost, move them back by hand"
            ) from error

    def _put_back_all(self) -> None:
        kinds = ("event", "trigger", "view", "package", "function", "procedure")
        self._drop_code(kinds)
        old = [n for n in self._movable(self._old) if n != _DEFINITIONS]
        here = self._movable(self._database)
        if old or self._moved:
            moves = [(self._database, self._new, n) for n in here if n in self._moved]
            moves += [(self._old, self._database, n) for n in old]
            self._control.execute(_renaming(moves))
        self._settings(self._before.charset, self._before.collation)
        session = self._connect(self._database)
        try:
            session.execute(f"SET sql_mode='{LOOSE}'")
            for statement in code_statements(self._before.code, self._before.collation):
                session.execute(statement.text)
        finally:
            session.close()
        self._control.execute(f"DROP DATABASE {identifier(self._old)}")


def _renaming(moves: list[tuple[str, str, str]]) -> str:
    parts = (f"{identifier(a)}.{identifier(n)} TO {identifier(b)}.{identifier(n)}" for a, b, n in moves)
    return "RENAME TABLE " + ", ".join(parts)
