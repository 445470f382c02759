"""Replaces a database that holds something, such that the old one is there until the new one is complete.

1. The old stored objects are created once more in ``DB__dumpty_new``, to know that they could be put back
   (``rehearsal``).
2. The dump is loaded there and checked; its stored objects are created there too, to know that they can be.
3. ``DB__dumpty_old`` is made, with the statements of the old stored objects in its table ``dumpty_definitions``.
4. Every table is locked; the old stored objects are dropped; then one RENAME TABLE moves the old tables to
   ``DB__dumpty_old`` and the new ones in; the new stored objects are created (``exchange``).
5. Only then are ``DB__dumpty_old`` and ``DB__dumpty_new`` dropped.

A failure puts everything back (``rollback``). What a killed restore leaves is the matter of ``recovery``.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty import DumptyError, Evidence, SourceError, Unfinished
from dumpty_plugins.mysql.loading.exchange import Exchange
from dumpty_plugins.mysql.loading.loader import Loader, accept_any_table
from dumpty_plugins.mysql.loading.rehearsal import rehearse
from dumpty_plugins.mysql.schema.catalog import Catalog, listing, movable_names, settings_clause
from dumpty_plugins.mysql.schema.catalog_reader import CatalogReader
from dumpty_plugins.mysql.schema.recovery import mark_unfinished, read_mark, side_databases
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.privileges import RoutineGrant, account, held_privileges, routine_grants
from dumpty_plugins.mysql.server.session import Session, StatementError, address, decode, versions
from dumpty_plugins.mysql.server.sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty import Dump, Source

_ROUTINES = frozenset({"procedure", "function", "package", "package body"})


class Swap:
    """One restore over a database that holds something.

    Args:
        target: the database.
        control: a session without a default database, which holds the lock on this restore.
        database: its name.
        lock_timeout: seconds to wait for tables that are in use.
        jobs: how many sessions load rows.
        keep_definers: whether stored objects keep the definers that the dump names.
    """

    def __init__(
        self, target: Source, control: Session, database: str, *, lock_timeout: int, jobs: int, keep_definers: bool
    ) -> None:
        self._target = target
        self._control = control
        self._database = database
        self._lock_timeout = lock_timeout
        self._jobs = jobs
        self._keep_definers = keep_definers
        self._new, self._old = side_databases(database)
        self._token = ""
        self._unfinished: Unfinished
        self._before: Catalog
        self._grants: list[RoutineGrant] = []
        self._notes: list[str] = []
        accept_any_table(control)

    def restore(self, dump: Dump) -> Evidence:
        """Load ``dump`` beside, check it, and put it in the old content's place."""
        self._check_references_from_outside()
        self._read_old_content()  # before the long work, to know that it can be
        self._check_privileges([c.kind for c in self._before.stored_objects])
        self._create_new()
        try:
            self._rehearse()
            session = self._connect(self._new)
            try:
                loader = self._loader(session)
                objects = loader.load(dump)
                loader.create_stored_objects(session, events_disabled=True)
                triggers = [s.name for s in loader.stored_objects if s.kind == "TRIGGER"]
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

    def _loader(self, session: Session) -> Loader:
        return Loader(session, self._target, self._new, jobs=self._jobs, keep_definers=self._keep_definers)

    def _create_new(self) -> None:
        self._unfinished = Unfinished(
            f"the database {self._new} on {address(self._target)} (the next restore clears it)"
        )
        try:
            self._control.execute(f"CREATE DATABASE {identifier(self._new)}{settings_clause(self._before.settings)}")
        except StatementError as error:
            if not error.lost:
                self._unfinished.settle()
            raise
        self._token = mark_unfinished(self._control, self._new)

    def _rehearse(self) -> None:
        if not self._before.stored_objects:
            return
        new_session, old_session = self._connect(self._new), self._connect(self._database)
        try:
            rehearse(new_session, old_session, self._before, self._database, self._new)
        finally:
            new_session.close()
            old_session.close()
        self._drop_new()
        self._create_new()

    def _connect(self, database: str | None) -> Session:
        session = connect(self._target, database)
        try:
            session.execute(f"SET SESSION lock_wait_timeout={self._lock_timeout}")
            accept_any_table(session)
        except BaseException:
            session.abandon()
            raise
        return session

    def _check_references_from_outside(self) -> None:
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

    def _read_old_content(self) -> None:
        """Read the old content's definitions, to put them back after a failure: all of them, or nothing is begun."""
        session = self._connect(self._database)
        try:
            privileges = held_privileges(session, self._database)
            if not privileges.has("TRIGGER") or not privileges.has("EVENT") or not privileges.sees_routines:
                raise SourceError(
                    f"overwriting {self._database} needs the rights TRIGGER and EVENT on it, and to see its routines: "
                    "what is hidden from this account could not be put back after a failure"
                )
            self._before = CatalogReader(session, self._database, listing(session, self._database), ()).read()
            self._grants, readable = routine_grants(session, self._database)
            if not readable and any(c.kind in {"procedure", "function"} for c in self._before.stored_objects):
                note = "grants on single routines, if any, ended with them: the account may not read mysql.procs_priv"
                self._notes = [note]
        finally:
            session.close()

    def _drop_new(self) -> None:
        session = self._connect(None)
        try:
            session.execute("SET FOREIGN_KEY_CHECKS=0")
            session.execute(f"DROP DATABASE IF EXISTS {identifier(self._new)}")
            self._unfinished.settle()
        finally:
            session.close()

    def _check_privileges(self, kinds: Iterable[str]) -> None:
        """See that the account may do all that an exchange does, and undo it.

        Raises:
            SourceError: it may not; what it lacks is named.
        """
        object_kinds = set(kinds)
        needed = ["CREATE", "DROP", "ALTER", "INSERT"]
        needed += ["CREATE VIEW"] if "view" in object_kinds else []
        needed += ["CREATE ROUTINE", "ALTER ROUTINE"] if object_kinds & _ROUTINES else []
        for database, names in ((self._database, needed), (self._old, ["SELECT", *needed[:4]])):
            privileges = held_privileges(self._control, database)
            missing = ", ".join(name for name in names if not privileges.has(name))
            if missing:
                raise SourceError(
                    f"overwriting {self._database} needs more rights than the account has: GRANT {missing} ON "
                    f"{identifier(database)}.* TO {account(self._control)}; nothing was changed"
                )

    def _exchange(self, loader: Loader) -> None:
        old, new = movable_names(self._control, self._database), movable_names(self._control, self._new)
        loaded = sorted(s.name for s in loader.created_tables)
        if [n.lower() for n in new] != [n.lower() for n in loaded] or read_mark(
            self._control, self._new
        ) != self._token:
            raise SourceError(
                f"somebody changed {self._new} while it was being loaded: nothing was replaced; try again"
            )
        self._read_old_content()  # again: loading took its time, and this is what could be put back
        self._check_privileges(
            [
                *(c.kind for c in self._before.stored_objects),
                *(s.kind.lower() for s in loader.stored_objects if s.creates_stored_object),
            ]
        )
        self._notes += Exchange(
            self._target,
            self._control,
            self._connect,
            self._database,
            before=self._before,
            grants=self._grants,
            loader=loader,
        ).run(old, new)
