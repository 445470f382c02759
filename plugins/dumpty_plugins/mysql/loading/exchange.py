"""Puts a database that was loaded beside another in its place, or everything back.

What may fail comes first, where nothing has been changed yet; what cannot be refused any more comes last:
settings, a lock on every table, views, routines, triggers, events, and one RENAME TABLE for all tables. Only the new
stored objects are created after it, for they must stand in their own database.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty import DumptyError, Locked, SourceError, Unfinished, commit_point
from dumpty_plugins.mysql.loading.loader import check_stored_objects, drop
from dumpty_plugins.mysql.loading.rollback import Rollback
from dumpty_plugins.mysql.schema.catalog import (
    alter_database,
    database_settings,
    entry_identity,
    listing,
    movable_names,
    settings_clause,
)
from dumpty_plugins.mysql.schema.recovery import note_complete, rename_statement, save_definitions, side_databases
from dumpty_plugins.mysql.server.session import LOCK_ERRORS, StatementError, address, decode
from dumpty_plugins.mysql.server.sql import identifier, literal, unqualify
from dumpty_plugins.mysql.server.sql_modes import LOOSE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dumpty import Source
    from dumpty_plugins.mysql.loading.loader import Loader
    from dumpty_plugins.mysql.schema.catalog import Catalog
    from dumpty_plugins.mysql.server.privileges import RoutineGrant
    from dumpty_plugins.mysql.server.session import Session

_LOCKED_TABLES = 1192
_LOCK_ATTEMPTS = 4
"""How often a lock is asked for that somebody took on a new table, to create the new stored objects."""


class Exchange:
    """One exchange of the old content for the new.

    Args:
        target: the database.
        control: a session without a default database, whose ``lock_wait_timeout`` is set.
        connect: opens a session like it, its default database as given.
        database: the database's name.
        before: all of its old content.
        grants: privileges on single routines of it.
        loader: what loaded the new content.
    """

    def __init__(
        self,
        target: Source,
        control: Session,
        connect: Callable[[str | None], Session],
        database: str,
        *,
        before: Catalog,
        grants: Sequence[RoutineGrant],
        loader: Loader,
    ) -> None:
        self._target = target
        self._control = control
        self._connect = connect
        self._database = database
        self._new, self._old = side_databases(database)
        self._before = before
        self._grants = grants
        self._loader = loader
        self._lock_session: Session | None = None
        self._rollback = Rollback(connect, target, database, before=before, grants=grants, loader=loader)
        self._rollback.sessions.append(control)

    def run(self, old: list[str], new: list[str]) -> list[str]:
        """Exchange the tables ``old`` for ``new``, and all stored objects; return notes.

        Raises:
            Locked: tables were in use for too long; everything is as it was.
            SourceError: the server refused something; everything is as it was, or the error says where it is.
        """
        unfinished = Unfinished(
            f"the exchange of {self._database} on {address(self._target)} (the next restore says how to go back)"
        )
        try:
            self._create_old()
        except StatementError as error:
            if not error.lost:
                unfinished.settle()
            raise
        try:
            notes = self._exchange(old, new)
        except BaseException as error:
            self._release_tables()
            try:
                self._rollback.run(error)
            finally:
                unfinished.settle()  # all is back, or the error says what is where
            raise
        unfinished.settle()
        try:
            self._control.execute("SET FOREIGN_KEY_CHECKS=0")
            self._control.execute(f"DROP DATABASE IF EXISTS {identifier(self._old)}")
        except DumptyError as error:
            notes.append(f"the restore is complete, but the old content, in {self._old}, could not be dropped: {error}")
        return notes

    def _create_old(self) -> None:
        self._control.execute(f"CREATE DATABASE {identifier(self._old)}{settings_clause(self._before.settings)}")

    def _exchange(self, old: list[str], new: list[str]) -> list[str]:
        save_definitions(
            self._control, self._before, self._database, old, [s for g in self._grants for s in g.statements]
        )
        new_settings = database_settings(self._control, self._new)
        if new_settings != self._before.settings:
            with self._converting_lock_errors():
                alter_database(self._control, self._database, new_settings)
        self._lock_tables(old, new)
        commit_point()  # others see the new tables soon, and write to them: taking them back would lose that
        with self._converting_lock_errors():
            self._drop_stored_objects()
            self._rename(old, new)
        self._release_tables()
        self._rollback.creating = True
        session = self._connect(self._database)
        self._rollback.sessions.append(session)
        try:
            with self._converting_lock_errors():
                self._mend_defaults(session)
                self._loader.create_stored_objects(session, attempts=_LOCK_ATTEMPTS)
            notes = [
                *check_stored_objects(session, self._database, self._loader.stored_objects),
                *sorted(self._loader.notes),
            ]
        finally:
            session.close()
        notes += self._grant_again()
        note_complete(self._control, self._old)
        return notes

    @contextlib.contextmanager
    def _converting_lock_errors(self) -> Iterator[None]:
        try:
            yield
        except StatementError as error:
            if error.code in LOCK_ERRORS:
                raise Locked(
                    f"{self._database} on {address(self._target)} is in use, and did not become free in time: end "
                    f"those sessions, or wait longer with the option lock_timeout ({error})"
                ) from error
            raise

    def _lock_tables(self, old: list[str], new: list[str]) -> None:
        """Lock every table before anything is dropped, where the account may: if one is in use, nothing has happened.

        The new ones too, for a server that can rename what is locked.
        """
        names = [f"{identifier(self._database)}.{identifier(n)}" for n in old]
        names += [f"{identifier(self._new)}.{identifier(n)}" for n in new]
        if not names:
            return
        self._lock_session = self._connect(None)
        self._rollback.sessions.append(self._lock_session)
        with self._converting_lock_errors():
            try:
                self._lock_session.execute("LOCK TABLES " + ", ".join(f"{n} WRITE" for n in names))
            except StatementError as error:
                if error.code in LOCK_ERRORS or error.lost:
                    raise
                self._release_tables()  # no privilege to, or a trigger refers to what is not there

    def _release_tables(self) -> None:
        if self._lock_session:
            with contextlib.suppress(DumptyError):
                self._lock_session.execute("UNLOCK TABLES")
            self._lock_session.close()
            self._lock_session = None

    def _drop_stored_objects(self) -> None:
        """Drop the old stored objects, last what no lock can refuse; triggers backwards, to keep their order."""
        for kind in ("view", "package", "function", "procedure", "trigger", "event"):
            session = self._lock_session if self._lock_session and kind == "trigger" else self._control
            for stored_object in reversed(self._before.stored_objects):
                if stored_object.kind == kind:
                    drop(session, kind, self._database, stored_object.name)
        for entry in sorted(listing(self._control, self._database)):
            kind, name = entry_identity(entry)
            if kind != "table":
                raise SourceError(
                    f"somebody made the {kind} {name} in {self._database} just now: nothing was replaced; try again"
                )

    def _rename(self, old: list[str], new: list[str]) -> None:
        moves = [(self._database, self._old, n) for n in old] + [(self._new, self._database, n) for n in new]
        if not moves:
            return
        self._rollback.planned = new
        session = self._lock_session or self._control
        try:
            session.execute(rename_statement(moves))
        except StatementError as error:
            if error.code != _LOCKED_TABLES:
                raise
            # MariaDB renames nothing that is locked.
            session.execute("UNLOCK TABLES")
            session.execute(rename_statement(moves))

    def _mend_defaults(self, session: Session) -> None:
        """Point defaults at the sequences that moved with their tables: the server keeps them under the old name."""
        session.execute(f"SET sql_mode='{LOOSE}'")
        rows = session.rows(
            "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT FROM information_schema.COLUMNS WHERE TABLE_SCHEMA="
            f"{literal(self._database)} AND LOCATE({literal(identifier(self._new) + '.')}, COLUMN_DEFAULT)>0"
        )
        objects = [n.encode("utf-8", "surrogateescape") for n in movable_names(session, self._database)]
        for table, column, default in rows:
            text, _ = unqualify(default or b"", self._new.encode(), objects, aliases=False)
            session.execute_retrying(
                f"ALTER TABLE {identifier(decode(table))} ALTER COLUMN {identifier(decode(column))} "
                f"SET DEFAULT ({decode(text)})",
                _LOCK_ATTEMPTS,
            )

    def _grant_again(self) -> list[str]:
        """Give back the grants on single routines, which ended with them, where there is such a routine again."""
        routines = {(e[0].upper(), e[1].lower()) for e in listing(self._control, self._database)}
        notes = []
        for grant in self._grants:
            if (grant.kind, grant.routine.lower()) in routines:
                try:
                    for statement in grant.statements:
                        self._control.execute(statement)
                except StatementError as error:
                    notes.append(f"a grant could not be given again ({error}): {grant.statement}")
        return notes
