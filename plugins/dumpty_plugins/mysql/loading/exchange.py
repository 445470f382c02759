"""Puts a database that was loaded beside another in its place, or everything back.

What may fail comes first, where nothing has been changed yet; what cannot be refused any more comes last:
settings, a lock on every table, views, routines, triggers, events, and one RENAME TABLE for all tables. Only the new
code is made after it, for it must stand in its own database.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty import DumptyError, Locked, SourceError, Unfinished
from dumpty_plugins.mysql.loading.loader import drop, missing_code
from dumpty_plugins.mysql.loading.rollback import Rollback
from dumpty_plugins.mysql.schema.catalog import alter, identity, listing, movable, settings, settings_clause
from dumpty_plugins.mysql.schema.recovery import beside, keep, note_complete, renaming
from dumpty_plugins.mysql.schema.stored_objects import LOOSE
from dumpty_plugins.mysql.server.session import WAITED, StatementError, decode, place
from dumpty_plugins.mysql.server.sql import identifier, literal, relative

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dumpty import Source
    from dumpty_plugins.mysql.loading.loader import Loader
    from dumpty_plugins.mysql.schema.catalog import Catalog
    from dumpty_plugins.mysql.server.privileges import RoutineGrant
    from dumpty_plugins.mysql.server.session import Session

_LOCKED_TABLES = 1192
_ATTEMPTS = 4
"""How often the new code asks for a lock that somebody took on a new table."""


class Exchange:
    """One exchange of the old content for the new.

    Args:
        target: the database.
        control: a session without a default database, whose ``lock_wait_timeout`` is set.
        connect: opens a session like it, its default database as given.
        database: the database's name.
        before: all of its old content.
        grants: rights on single routines of it.
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
        self._new, self._old = beside(database)
        self._before = before
        self._grants = grants
        self._loader = loader
        self._holder: Session | None = None
        self._back = Rollback(connect, target, database, before=before, grants=grants, loader=loader)
        self._back.sessions.append(control)

    def run(self, old: list[str], new: list[str]) -> list[str]:
        """Exchange the tables ``old`` for ``new``, and all code; return notes.

        Raises:
            Locked: tables were in use for too long; everything is as it was.
            SourceError: the server refused something; everything is as it was, or the error says where it is.
        """
        left = Unfinished(
            f"the exchange of {self._database} on {place(self._target)} (the next restore says how to go back)"
        )
        try:
            self._control.execute(f"CREATE DATABASE {identifier(self._old)}{settings_clause(self._before.settings)}")
        except StatementError as error:
            if not error.lost:
                left.settle()
            raise
        try:
            notes = self._exchange(old, new)
        except BaseException as error:
            self._release()
            try:
                self._back.run(error)
            finally:
                left.settle()  # all is back, or the error says what is where
            raise
        left.settle()
        try:
            self._control.execute("SET FOREIGN_KEY_CHECKS=0")
            self._control.execute(f"DROP DATABASE {identifier(self._old)}")
        except DumptyError as error:
            notes.append(f"the restore is complete, but the old content, in {self._old}, could not be dropped: {error}")
        return notes

    def _exchange(self, old: list[str], new: list[str]) -> list[str]:
        keep(self._control, self._before, self._database, old, [s for g in self._grants for s in g.statements])
        wanted = settings(self._control, self._new)
        if wanted != self._before.settings:
            with self._in_time():
                alter(self._control, self._database, wanted)
        self._hold(old, new)
        with self._in_time():
            self._drop_code()
            self._rename(old, new)
        self._release()
        self._back.creating = True
        session = self._connect(self._database)
        self._back.sessions.append(session)
        try:
            with self._in_time():
                self._mend_defaults(session)
                self._loader.run_code(session, attempts=_ATTEMPTS)
            notes = [
                *missing_code(session, self._database, self._loader.code),
                *sorted(self._loader.notes),
            ]
        finally:
            session.close()
        notes += self._grant_again()
        note_complete(self._control, self._old)
        return notes

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            yield
        except StatementError as error:
            if error.code in WAITED:
                raise Locked(
                    f"{self._database} on {place(self._target)} is in use, and did not become free in time: end those "
                    f"sessions, or wait longer with the option lock_timeout ({error})"
                ) from error
            raise

    def _hold(self, old: list[str], new: list[str]) -> None:
        """Lock every table before anything is dropped, where the account may: if one is in use, nothing has happened.

        The new ones too, for a server that can rename what is locked.
        """
        names = [f"{identifier(self._database)}.{identifier(n)}" for n in old]
        names += [f"{identifier(self._new)}.{identifier(n)}" for n in new]
        if not names:
            return
        self._holder = self._connect(None)
        self._back.sessions.append(self._holder)
        with self._in_time():
            try:
                self._holder.execute("LOCK TABLES " + ", ".join(f"{n} WRITE" for n in names))
            except StatementError as error:
                if error.code in WAITED or error.lost:
                    raise
                self._release()  # no right to, or a trigger refers to what is not there

    def _release(self) -> None:
        if self._holder:
            with contextlib.suppress(DumptyError):
                self._holder.execute("UNLOCK TABLES")
            self._holder.close()
            self._holder = None

    def _drop_code(self) -> None:
        """Drop the old code, last what no lock can refuse; triggers backwards, or their order would be another."""
        for kind in ("view", "package", "function", "procedure", "trigger", "event"):
            session = self._holder if self._holder and kind == "trigger" else self._control
            for item in reversed(self._before.code):
                if item.kind == kind:
                    drop(session, kind, self._database, item.name)
        for entry in sorted(listing(self._control, self._database)):
            kind, name = identity(entry)
            if kind != "table":
                raise SourceError(
                    f"somebody made the {kind} {name} in {self._database} just now: nothing was replaced; try again"
                )

    def _rename(self, old: list[str], new: list[str]) -> None:
        moves = [(self._database, self._old, n) for n in old] + [(self._new, self._database, n) for n in new]
        if not moves:
            return
        self._back.planned = new
        session = self._holder or self._control
        try:
            session.execute(renaming(moves))
        except StatementError as error:
            if error.code != _LOCKED_TABLES:
                raise
            # MariaDB renames nothing that is locked.
            session.execute("UNLOCK TABLES")
            session.execute(renaming(moves))

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
            session.insist(
                f"ALTER TABLE {identifier(decode(table))} ALTER COLUMN {identifier(decode(column))} "
                f"SET DEFAULT ({decode(text)})",
                _ATTEMPTS,
            )

    def _grant_again(self) -> list[str]:
        """Give back the grants on single routines, which ended with them, where there is such a routine again."""
        here = {(e[0].upper(), e[1].lower()) for e in listing(self._control, self._database)}
        notes = []
        for grant in self._grants:
            if (grant.kind, grant.routine.lower()) in here:
                try:
                    for statement in grant.statements:
                        self._control.execute(statement)
                except StatementError as error:
                    notes.append(f"a grant could not be given again ({error}): {grant.statement}")
        return notes
