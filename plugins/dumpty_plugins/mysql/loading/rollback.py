"""Undoes an exchange that failed: over fresh sessions, for the old ones may be what failed.

What stands where decides, not what was heard of: a connection may have been lost after a statement was done. Only what
is missing is made again, and what somebody holds a lock on is asked for again and again for a while. A statement
whose connection was lost may still wait on the server, which need not know of that: it is ended first.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from dumpty import DumptyError, SourceError
from dumpty_plugins.mysql.loading.loader import drop
from dumpty_plugins.mysql.schema.catalog import (
    alter_database,
    database_settings,
    entry_identity,
    listing,
    movable_names,
)
from dumpty_plugins.mysql.schema.recovery import (
    DEFINITIONS,
    describe_state,
    lock_name,
    rename_statement,
    side_databases,
)
from dumpty_plugins.mysql.schema.stored_objects import stored_object_statements
from dumpty_plugins.mysql.server.session import StatementError, decode
from dumpty_plugins.mysql.server.sql import identifier, literal
from dumpty_plugins.mysql.server.sql_modes import LOOSE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dumpty import Source
    from dumpty_plugins.mysql.loading.loader import Loader
    from dumpty_plugins.mysql.schema.catalog import Catalog
    from dumpty_plugins.mysql.server.privileges import RoutineGrant
    from dumpty_plugins.mysql.server.session import Session

ATTEMPTS = 6
_KILL_CHECKS, _KILL_PAUSE_SECONDS = 600, 0.1
"""How often a session that was ended is looked for, and the seconds between."""


class Rollback:
    """The way back of one exchange; its arguments are those of ``exchange.Exchange``.

    ``planned`` are the new tables, once a RENAME may have moved them; ``creating`` whether there may be new stored
    objects; ``sessions`` what the exchange worked over.
    """

    def __init__(
        self,
        connect: Callable[[str | None], Session],
        target: Source,
        database: str,
        *,
        before: Catalog,
        grants: Sequence[RoutineGrant],
        loader: Loader,
    ) -> None:
        self._connect = connect
        self._target = target
        self._database = database
        self._new, self._old = side_databases(database)
        self._before = before
        self._grants = grants
        self._loader = loader
        self._failures: list[StatementError] = []
        self.sessions: list[Session] = []
        self.planned: list[str] = []
        self.creating = False

    def run(self, error: BaseException) -> None:
        """Bring everything back.

        Raises:
            SourceError: that failed too; it says what is where.
        """
        try:
            control = self._connect(None)
            try:
                self._kill_lost_sessions(control)
                self._undo(control)
            finally:
                control.close()
        except DumptyError as rollback_error:
            raise SourceError(
                f"overwriting {self._database} failed ({error}), and putting it back failed too ({rollback_error}); "
                f"nothing is lost: {self._advice()}"
            ) from error

    def _advice(self) -> str:
        with contextlib.suppress(DumptyError):
            control = self._connect(None)
            try:
                return describe_state(control, self._target, self._database)
            finally:
                control.close()
        return (
            f"its old tables are in {self._database} or in {self._old}, the statements of its views, routines, "
            f"triggers and events in {self._old}.{DEFINITIONS}: run this again when the server answers, and it says "
            "how to go back"
        )

    def _kill_lost_sessions(self, control: Session) -> None:
        """End sessions that were lost: what one of them still waits for would happen after we looked.

        Raises:
            SourceError: one does not end.
        """
        for session in self.sessions:
            connection_id = session.connection_id
            if session.closed and self._is_at_work(control, connection_id):
                with contextlib.suppress(StatementError):  # it ended by itself
                    control.execute(f"KILL {connection_id}")
                for _ in range(_KILL_CHECKS):
                    if not self._is_at_work(control, connection_id):
                        break
                    time.sleep(_KILL_PAUSE_SECONDS)
                else:
                    raise SourceError(f"connection {connection_id}, which was lost, still works on it")

    def _is_at_work(self, control: Session, connection_id: int) -> bool:
        """Whether a session of this number works here: behind a proxy it may be a stranger's."""
        lock = control.text(f"SELECT IS_USED_LOCK({literal(lock_name(self._database))})")
        for row in control.rows("SHOW FULL PROCESSLIST"):
            if int(row[0] or 0) == connection_id:
                names_in_use = (decode(row[3]), *decode(row[7]).split("`"))
                return lock == str(connection_id) or self._database.casefold() in (n.casefold() for n in names_in_use)
        return False

    def _undo(self, control: Session) -> None:
        self._drop_created(control)
        self._move_back(control)
        if database_settings(control, self._database) != self._before.settings:
            with self._collecting_failures():
                alter_database(control, self._database, self._before.settings, attempts=ATTEMPTS)
        self._create_again(control)
        if self._failures:
            raise self._failures[0]
        if set(movable_names(control, self._old)) - {DEFINITIONS}:
            raise SourceError(f"tables are in {self._old} again")
        control.execute_retrying(f"DROP DATABASE IF EXISTS {identifier(self._old)}", ATTEMPTS)

    def _drop_created(self, control: Session) -> None:
        if not self.creating:
            return
        existing = {entry_identity(e) for e in listing(control, self._database)}
        for statement in reversed(self._loader.created_objects):
            if statement.creates_stored_object and (statement.kind.lower(), statement.name.lower()) in existing:
                drop(control, statement.kind, self._database, statement.name, attempts=ATTEMPTS)

    def _move_back(self, control: Session) -> None:
        old = [n for n in movable_names(control, self._old) if n != DEFINITIONS]
        # The tables moved all at once, even if the connection was lost before we heard of it.
        not_moved = set(movable_names(control, self._new))
        moved = {n.lower() for n in self.planned} if self.planned and not not_moved else set()
        moves = [(self._database, self._new, n) for n in movable_names(control, self._database) if n.lower() in moved]
        moves += [(self._old, self._database, n) for n in old]
        if moves:
            control.execute_retrying(rename_statement(moves), ATTEMPTS)

    def _create_again(self, control: Session) -> None:
        existing = {entry_identity(e) for e in listing(control, self._database)}
        missing = [c for c in self._before.stored_objects if (c.kind, c.name.lower()) not in existing]
        if not missing:
            return
        session = self._connect(self._database)
        try:
            session.execute(f"SET sql_mode='{LOOSE}'")
            for statement in stored_object_statements(missing, self._before.settings.collation):
                with self._collecting_failures():
                    session.execute_retrying(statement.text, ATTEMPTS)
        finally:
            session.close()
        routines = {c.name.lower() for c in missing}
        for grant in self._grants:
            if grant.routine.lower() in routines:
                with self._collecting_failures():
                    for text in grant.statements:
                        control.execute(text)

    @contextlib.contextmanager
    def _collecting_failures(self) -> Iterator[None]:
        """Go on after a statement that was refused: the rest shall be there."""
        try:
            yield
        except StatementError as error:
            if error.lost:
                raise
            self._failures.append(error)
