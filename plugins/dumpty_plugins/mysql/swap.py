"""Replaces a database that holds something, such that the old one is there until the new one is complete.

1. The dump is loaded into ``DB__dumpty_new`` and checked; its code is created there too, to know that it can be.
2. ``DB__dumpty_old`` is made, with the old code's statements in its table ``dumpty_definitions``.
3. The old events and triggers go (a table with triggers cannot change its database), then one RENAME TABLE moves the
   old tables to ``DB__dumpty_old`` and the new ones in; the old views and routines go, the new code is created.
4. Only then are ``DB__dumpty_old`` and ``DB__dumpty_new`` dropped.

A failure puts everything back. What a killed restore leaves is the matter of ``leftovers``.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty import DumptyError, Evidence, Locked, SourceError, Unfinished

from .catalog import Catalog, alter, listing, movable, settings
from .code import LOOSE, code_statements
from .connection import connect
from .dump import versions
from .leftovers import DEFINITIONS, beside, keep, mark, marked, note_complete, renaming
from .load import Loader, drop, missing_code
from .names import identifier, literal, relative
from .reading import CatalogReader
from .rights import RoutineGrant, rights, routine_grants
from .session import Session, StatementError, decode, place

if TYPE_CHECKING:
    from dumpty import Dump, Source

_WAITED = frozenset({1205, 1213, 3572})


class Swap:
    """One restore over a database that holds something.

    Args:
        target: the database.
        control: a session without a default database, which holds the lock on this restore.
        database: its name.
        lock_timeout: seconds to wait for tables that are in use.
        jobs: how many sessions load rows.
    """

    def __init__(self, target: Source, control: Session, database: str, *, lock_timeout: int, jobs: int) -> None:
        self._target = target
        self._control = control
        self._database = database
        self._timeout = lock_timeout
        self._jobs = jobs
        self._new, self._old = beside(database)
        self._token = ""
        self._left: Unfinished
        self._before: Catalog
        self._grants: list[RoutineGrant] = []
        self._planned: list[str] = []
        self._notes: list[str] = []

    def restore(self, dump: Dump) -> Evidence:
        """Load ``dump`` beside, check it, and put it in the old content's place."""
        self._check_neighbours()
        self._understand()  # before the long work, to know that it can be
        self._left = Unfinished(f"the database {self._new} on {place(self._target)} (the next restore clears it)")
        self._control.execute(f"CREATE DATABASE {identifier(self._new)}")
        try:
            self._token = mark(self._control, self._new)
            session = self._connect(self._new)
            try:
                loader = Loader(session, self._target, self._new, jobs=self._jobs)
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
            with contextlib.suppress(DumptyError):  # the failure that led here is the one to report
                self._drop_new()
            raise
        try:
            self._drop_new()
        except DumptyError as error:
            self._notes.append(f"{self._new} could not be dropped, and is of no use any more: {error}")
        return Evidence(objects=objects, versions=versions(self._control), notes=tuple(self._notes))

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

    def _understand(self) -> None:
        """Read the old content's definitions, to put them back after a failure: all of them, or nothing is begun."""
        session = self._connect(self._database)
        try:
            held = rights(session, self._database)
            if not held.has("TRIGGER") or not held.has("EVENT") or not held.sees_routines:
                raise SourceError(
                    f"overwriting {self._database} needs the rights TRIGGER and EVENT on it, and to see its routines: "
                    "what is hidden from this account could not be put back after a failure"
                )
            self._before = CatalogReader(session, self._database, listing(session, self._database), ()).read()
            self._grants, known = routine_grants(session, self._database)
            if not known and any(c.kind in {"procedure", "function"} for c in self._before.code):
                note = "grants on single routines, if any, ended with them: the account may not read mysql.procs_priv"
                self._notes = [note]
        finally:
            session.close()

    def _drop_new(self) -> None:
        session = self._connect(None)
        try:
            session.execute("SET FOREIGN_KEY_CHECKS=0")
            session.execute(f"DROP DATABASE IF EXISTS {identifier(self._new)}")
            self._left.settle()
        finally:
            session.close()

    def _exchange(self, loader: Loader) -> None:
        old, new = movable(self._control, self._database), movable(self._control, self._new)
        loaded = sorted(s.name for s in loader.created)
        if [n.lower() for n in new] != [n.lower() for n in loaded] or marked(self._control, self._new) != self._token:
            raise SourceError(
                f"somebody changed {self._new} while it was being loaded: nothing was replaced; try again"
            )
        self._understand()  # again: loading took its time, and this is what could be put back
        self._control.execute(f"CREATE DATABASE {identifier(self._old)}")
        try:
            keep(self._control, self._before, self._database, old, [s for g in self._grants for s in g.statements])
            self._drop_code(("event", "trigger"))
            self._rename(old, new)
            self._drop_code(("view", "package", "function", "procedure"))
            alter(self._control, self._database, settings(self._control, self._new))
            session = self._connect(self._database)
            try:
                self._mend_defaults(session)
                loader.run_code(session)
                self._notes += missing_code(session, self._database, loader.code)
            finally:
                session.close()
            self._grant_again()
            note_complete(self._control, self._old)
        except BaseException as error:
            self._put_back(error)
            raise
        try:
            self._control.execute("SET FOREIGN_KEY_CHECKS=0")
            self._control.execute(f"DROP DATABASE {identifier(self._old)}")
        except DumptyError as error:
            self._notes.append(
                f"the restore is complete, but the old content, in {self._old}, could not be dropped: {error}"
            )

    def _grant_again(self) -> None:
        """Give back the grants on single routines, which ended with them, where there is such a routine again."""
        here = {(e[0].upper(), e[1].lower()) for e in listing(self._control, self._database)}
        for grant in self._grants:
            if (grant.kind, grant.routine.lower()) in here:
                try:
                    for statement in grant.statements:
                        self._control.execute(statement)
                except StatementError as error:
                    self._notes.append(f"a grant could not be given again ({error}): {grant.statement}")

    def _drop_code(self, kinds: tuple[str, ...]) -> None:
        for kind in kinds:
            for entry in sorted(listing(self._control, self._database)):
                found = "view" if entry[0] == "table" and entry[2] == "VIEW" else entry[0].lower()
                if found == kind and entry[0] != "view":
                    drop(self._control, kind, self._database, entry[1])

    def _rename(self, old: list[str], new: list[str]) -> None:
        moves = [(self._database, self._old, n) for n in old] + [(self._new, self._database, n) for n in new]
        if not moves:
            return
        self._planned = new
        try:
            self._control.execute(renaming(moves))
        except StatementError as error:
            if error.code in _WAITED:
                raise Locked(
                    f"tables of {self._database} on {place(self._target)} are in use, and did not become free in time: "
                    "end those sessions, or wait longer with the option lock_timeout"
                ) from error
            raise

    def _mend_defaults(self, session: Session) -> None:
        """Point defaults at the sequences that moved with their tables: the server keeps them under the old name."""
        session.execute(f"SET sql_mode='{LOOSE}'")
        rows = session.rows(
            "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT FROM information_schema.COLUMNS WHERE TABLE_SCHEMA="
            f"{literal(self._database)} AND LOCATE({literal(identifier(self._new) + '.')}, COLUMN_DEFAULT)>0"
        )
        objects = [n.encode("utf-8", "surrogateescape") for n in movable(session, self._database)]
        for table, column, default in rows:
            text, _ = relative(default or b"", self._new.encode(), objects, aliases=False)
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
                f"{self._old}.{DEFINITIONS}; nothing is lost: run this again, and it says how to go back"
            ) from error

    def _put_back_all(self) -> None:
        kinds = ("event", "trigger", "view", "package", "function", "procedure")
        self._drop_code(kinds)
        old = [n for n in movable(self._control, self._old) if n != DEFINITIONS]
        # The tables moved all at once, even if the connection was lost before we heard of it: where they stand decides.
        waiting = set(movable(self._control, self._new))
        moved = {n.lower() for n in self._planned} if self._planned and not waiting else set()
        moves = [(self._database, self._new, n) for n in movable(self._control, self._database) if n.lower() in moved]
        moves += [(self._old, self._database, n) for n in old]
        if moves:
            self._control.execute(renaming(moves))
        alter(self._control, self._database, self._before.settings)
        session = self._connect(self._database)
        try:
            session.execute(f"SET sql_mode='{LOOSE}'")
            for statement in code_statements(self._before.code, self._before.settings.collation):
                session.execute(statement.text)
        finally:
            session.close()
        self._grant_again()
        self._control.execute(f"DROP DATABASE {identifier(self._old)}")
