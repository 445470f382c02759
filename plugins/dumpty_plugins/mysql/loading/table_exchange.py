"""Moves tables that were loaded beside a database into it, all at once, or puts everything back.

One RENAME TABLE moves them in, and those that they replace out. What it cannot do comes around it: a table that has
triggers cannot leave its database, so the old ones are dropped right before, and the new ones created right after. How
to go back is written down first, as for an exchange of all (``exchange``, ``rollback``, ``recovery``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import commit_point
from dumpty_plugins.mysql.loading.exchange import Exchange
from dumpty_plugins.mysql.loading.loader import check_stored_objects, drop
from dumpty_plugins.mysql.loading.rollback import ATTEMPTS, Rollback
from dumpty_plugins.mysql.schema.catalog import alter_database, database_settings, listing, movable_names
from dumpty_plugins.mysql.schema.recovery import (
    DEFINITIONS,
    exists,
    note_complete,
    rename_tables_statement,
    save_table_definitions,
)
from dumpty_plugins.mysql.server.session import StatementError
from dumpty_plugins.mysql.server.sql import identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dumpty import Source
    from dumpty_plugins.mysql.loading.table_loader import TableLoader
    from dumpty_plugins.mysql.schema.catalog import Catalog
    from dumpty_plugins.mysql.server.session import Session

_LOCK_ATTEMPTS = 4
_NOT_LOCKED = frozenset({1099, 1100, 1192})
"""What a server says that renames nothing under LOCK TABLES, or wants more tables locked for it."""


class TableExchange(Exchange):
    """One move of tables; the arguments are those of ``Exchange``, and their names.

    Args:
        names: the name in the target of each table, by its name where it was loaded.
        replaces: whether they replace any.
        creates: whether the target is missing.
        before: the triggers of the tables that are replaced.
    """

    def __init__(
        self,
        target: Source,
        control: Session,
        connect: Callable[[str | None], Session],
        database: str,
        *,
        before: Catalog,
        loader: TableLoader,
        names: Mapping[str, str],
        replaces: bool,
        creates: bool,
    ) -> None:
        super().__init__(target, control, connect, database, before=before, grants=(), loader=loader)
        self._names = names
        self._creates = creates
        self._has_triggers = any(s.kind == "TRIGGER" for s in loader.stored_objects)
        self._in_steps = replaces or self._has_triggers
        self._table_loader = loader
        self._moving_back = _MovingBack(connect, target, database, before=before, grants=(), loader=loader)
        self._moving_back.names = names
        self._moving_back.sessions.append(control)
        self._rollback = self._moving_back

    def _create_old(self) -> None:
        if self._in_steps:
            super()._create_old()

    def _exchange(self, old: list[str], new: list[str]) -> list[str]:
        if self._in_steps:
            save_table_definitions(self._control, self._before, self._database, list(self._names.values()), old)
        if self._creates:
            self._moving_back.creates = True
            self._control.execute(f"CREATE DATABASE {identifier(self._database)}")
            alter_database(self._control, self._database, database_settings(self._control, self._new))
        self._table_loader.point_to_target()
        if self._in_steps:
            self._lock_tables(old, new)
        commit_point()  # others see the new tables soon, and write to them: taking them back would lose that
        with self._converting_lock_errors():
            self._drop_stored_objects()
            self._rename(old, new)
        notes = self._create_triggers() if self._has_triggers else []
        self._release_tables()
        if self._in_steps:
            note_complete(self._control, self._old)
        return notes

    def _create_triggers(self) -> list[str]:
        self._rollback.creating = True
        session = self._lock_session
        if session is None:
            session = self._connect(self._database)
            self._rollback.sessions.append(session)
        else:  # nobody writes to the new tables before they have their triggers
            session.execute(f"USE {identifier(self._database)}")
        try:
            with self._converting_lock_errors():
                self._loader.create_stored_objects(session, attempts=_LOCK_ATTEMPTS)
        finally:
            if session is not self._lock_session:
                session.close()
        self._release_tables()
        notes = check_stored_objects(self._control, self._database, self._loader.stored_objects)
        return [*notes, *sorted(self._loader.notes)]

    def _drop_stored_objects(self) -> None:
        """Drop the triggers of the tables that are replaced, backwards, to keep their order."""
        session = self._lock_session or self._control
        for trigger in reversed(self._before.stored_objects):
            drop(session, trigger.kind, self._database, trigger.name)

    def _rename(self, old: list[str], new: list[str]) -> None:
        moves = [((self._database, name), (self._old, name)) for name in old]
        moves += [((self._new, name), (self._database, self._names[name])) for name in new]
        self._rollback.planned = new
        if self._lock_session is not None:
            try:
                self._lock_session.execute(rename_tables_statement(moves))
            except StatementError as error:
                if error.code not in _NOT_LOCKED:
                    raise
                self._release_tables()
            else:
                return
        self._control.execute(rename_tables_statement(moves))


class _MovingBack(Rollback):
    """The way back of one move of tables; ``creates`` once the target may have been created for it."""

    names: Mapping[str, str]
    creates = False

    def _undo(self, control: Session) -> None:
        if not self.creates:
            super()._undo(control)
            return
        if exists(control, self._database):
            self._drop_created(control)
            self._move_back(control)
            if not listing(control, self._database):
                control.execute_retrying(f"DROP DATABASE {identifier(self._database)}", ATTEMPTS)
        control.execute_retrying(f"DROP DATABASE IF EXISTS {identifier(self._old)}", ATTEMPTS)

    def _move_back(self, control: Session) -> None:
        replaced = [name for name in movable_names(control, self._old) if name != DEFINITIONS]
        # The tables moved all at once, even if the connection was lost before we heard of it.
        not_moved = {name.casefold() for name in movable_names(control, self._new)}
        moved = [] if not_moved else self.planned
        moves = [((self._database, self.names[name]), (self._new, name)) for name in moved]
        moves += [((self._old, name), (self._database, name)) for name in replaced]
        if moves:
            control.execute_retrying(rename_tables_statement(moves), ATTEMPTS)
