"""One moment, held: metadata locks against DDL, table locks for engines without snapshots, and shared snapshots.

Order: list the objects; touch every table in a transaction, whose metadata locks keep ALTER, DROP and TRUNCATE waiting
until the dump is done; take the snapshots; read the definitions; list again. A difference means that somebody was
quicker: everything is let go and begun again. How several connections share a snapshot: see ``shared_snapshot``.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from dumpty import Locked, SourceError
from dumpty_plugins.mysql.dumping.shared_snapshot import (
    BEGIN,
    LOG_POSITION,
    ONE_CONNECTION,
    TABLE_LOCKS,
    begin_at_one_position,
    everything_is_logged,
    lock_at_one_moment,
    long_writer,
)
from dumpty_plugins.mysql.schema.catalog import MERGED, TRANSACTIONAL, Catalog, base_tables, listing
from dumpty_plugins.mysql.schema.catalog_reader import BrokenViews, CatalogReader
from dumpty_plugins.mysql.schema.recovery import require_no_exchange
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.privileges import account, missing_privileges
from dumpty_plugins.mysql.server.session import LOCK_ERRORS, Session, StatementError, address
from dumpty_plugins.mysql.server.sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Collection

    from dumpty import Source

_ATTEMPTS = 3
_TABLES_PER_STATEMENT = 50
"""Tables touched by one statement."""
_NO_SUCH_TABLE = frozenset({1146, 1051, 1412})


class Snapshot:
    """Everything a dump needs of one moment, as a context manager.

    ``sessions`` are inside transactions of one shared snapshot. ``lock_session`` holds the metadata locks and answers
    questions that need no snapshot; ``table_lock_session`` locks tables of engines without snapshots, until they were
    read. ``method`` says how the sessions came to share the snapshot, ``notes`` what could not be had.

    Raises:
        SourceError: a privilege is missing, or the database is not there.
        Locked: somebody holds a lock for longer than ``lock_timeout`` seconds.
    """

    def __init__(
        self, source: Source, database: str, *, jobs: int, lock_timeout: int, skip: Collection[str] = ()
    ) -> None:
        self._source = source
        self._database = database
        self._jobs = jobs
        self._lock_timeout = lock_timeout
        self._skip = skip
        self.sessions: list[Session] = []
        self.notes: list[str] = []
        self.method = ONE_CONNECTION
        self.catalog: Catalog
        self.lock_session: Session
        self.table_lock_session: Session | None = None

    def __enter__(self) -> Self:
        try:
            for _ in range(_ATTEMPTS):
                if self._attempt():
                    return self
                self._close_sessions(abandon=False)
        except BaseException:
            self._close_sessions(abandon=True)
            raise
        raise Locked(
            f"tables of {self._database} on {address(self._source)} were created, altered or dropped each time a "
            f"backup began ({_ATTEMPTS} times): run it again when that has ended"
        )

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._close_sessions(abandon=error is not None)

    def _close_sessions(self, *, abandon: bool) -> None:
        sessions = [*self.sessions, *([self.table_lock_session] if self.table_lock_session else [])]
        if hasattr(self, "lock_session"):
            sessions.append(self.lock_session)
        for session in sessions:
            if abandon:
                session.abandon()
            else:
                session.close()
        self.sessions, self.table_lock_session = [], None

    def _connect(self) -> Session:
        session = connect(self._source, self._database)
        try:
            session.execute(f"SET SESSION lock_wait_timeout={self._lock_timeout}")
            session.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        except BaseException:
            session.abandon()
            raise
        return session

    def _attempt(self) -> bool:
        self.notes = []
        self.method = ONE_CONNECTION
        self.lock_session = self._connect()
        # Or it would not see, when it lists again, what was made while it waited: MySQL's lists obey the read view.
        self.lock_session.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        with contextlib.suppress(StatementError):  # MySQL tells how large tables were up to a day ago; MariaDB now
            self.lock_session.execute("SET SESSION information_schema_stats_expiry=0")
        self._check_privileges()
        require_no_exchange(self.lock_session, self._source, self._database)
        before = listing(self.lock_session, self._database)
        tables = base_tables(before)
        self.lock_session.execute(
            "START TRANSACTION"
        )  # a view that draws from a sequence cannot be read in a read-only one
        try:
            self._touch(self.lock_session, tables)
            locked = self._engines_without_snapshots()
            frozen = [n for n in tables if n not in locked]
            if self._jobs == 1 or not self._begin_together(locked, frozen):
                self._lock(locked)
                self._begin(frozen)
            self.catalog = CatalogReader(self.lock_session, self._database, before, self._skip).read()
        except BrokenViews as error:
            raise SourceError(f"{error}, or leave all views out with the option views=off") from error
        except StatementError as error:
            if error.code in _NO_SUCH_TABLE:
                return False
            raise
        self.notes += self.catalog.notes
        return listing(self.lock_session, self._database) == before

    def _begin(self, tables: list[str]) -> None:
        """Begin a snapshot on one more connection, which holds metadata locks of its own.

        Those of the lock session are not enough: a waiting ALTER lets nobody else in, and would wait for that session.
        """
        session = self._connect()
        self.sessions.append(session)
        session.execute(BEGIN)
        self._touch(session, tables, rows=True)

    def _touch(self, session: Session, tables: list[str], *, rows: bool = False) -> None:
        """Hold the metadata locks of ``tables``; with ``rows``, see that there are rows to read, or none."""
        for start in range(0, len(tables), _TABLES_PER_STATEMENT):
            batch = tables[start : start + _TABLES_PER_STATEMENT]
            try:
                session.rows(" UNION ALL ".join(_touch_query(n, rows=rows) for n in batch))
            except StatementError as error:
                if error.code in _NO_SUCH_TABLE or error.lost:
                    raise
                raise self._lock_error(session, error, tables, batch) from error

    def _lock_error(self, session: Session, error: StatementError, tables: list[str], names: list[str]) -> Exception:
        if error.code not in LOCK_ERRORS:
            return SourceError(
                f"tables of {self._database} cannot be read, so nothing could bring them back: "
                f"{'; '.join(self._unreadable(session, tables)) or error}; mend or drop them"
            )
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")  # noqa: PLR2004 - enough to recognise
        return Locked(
            f"a table of {self._database} on {address(self._source)} is being altered, or locked ({shown}): waited "
            f"{self._lock_timeout} s for it; try again later, or wait longer with the option lock_timeout"
        )

    def _unreadable(self, session: Session, tables: list[str]) -> list[str]:
        """Return every table that cannot be read, with the reason: the server names none of those in a MERGE table."""
        unreadable = []
        for name in tables:
            try:
                session.rows(_touch_query(name, rows=True))
            except StatementError as error:
                if error.lost or error.code in LOCK_ERRORS:
                    break
                unreadable.append(f"{name} ({error})")
        return unreadable

    def _check_privileges(self) -> None:
        missing = missing_privileges(self.lock_session, self._database, skip=self._skip)
        if missing:
            account_name = account(self.lock_session)
            options = [item.option for item in missing]
            alternative = f", or leave them out with {' '.join(options)}" if all(options) else ""
            raise SourceError(
                f"{account_name} lacks {', '.join(item.privilege for item in missing)} on {self._database}, and the "
                f"server would silently hide part of it: {'; '.join(item.grant for item in missing)}{alternative}"
            )
        self.notes += [f"{kind}s were left out on request" for kind in sorted(self._skip)]

    def _engines_without_snapshots(self) -> list[str]:
        snapshot_engines = ", ".join(map(literal, sorted({*TRANSACTIONAL, MERGED})))
        rows = self.lock_session.rows(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA="
            f"{literal(self._database)} AND TABLE_TYPE IN ('BASE TABLE','SYSTEM VERSIONED') "
            f"AND (ENGINE IS NULL OR ENGINE NOT IN ({snapshot_engines})) ORDER BY 1"
        )
        return [(name or b"").decode("utf-8", "surrogateescape") for (name,) in rows]

    def _lock(self, names: list[str]) -> None:
        """Keep writers out of tables that a snapshot does not freeze; they are read first, then let go.

        They are read over the session that locks them: a writer who waits for it keeps every other reader out.
        """
        if not names:
            return
        self.table_lock_session = self._connect()
        try:
            self.table_lock_session.execute("LOCK TABLES " + ", ".join(f"{identifier(n)} READ" for n in names))
        except StatementError as error:
            shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")  # noqa: PLR2004 - enough to recognise
            if error.code in LOCK_ERRORS:
                raise Locked(
                    f"tables without transactions ({shown}) in {self._database} are being written: waited "
                    f"{self._lock_timeout} s to lock them; try again later, or wait longer with the option lock_timeout"
                ) from error
            raise SourceError(
                f"tables without transactions ({shown}) in {self._database} change while they are read, and cannot be "
                f"locked: GRANT LOCK TABLES ON {identifier(self._database)}.* TO {account(self.lock_session)}, or "
                f"convert them to InnoDB ({error})"
            ) from error

    def release_locks(self) -> None:
        """Let writers into the tables without transactions again: their rows are in the dump."""
        if self.table_lock_session:
            self.table_lock_session.rows("SELECT 1")  # the lock was held to the end only if its session still lives
            self.table_lock_session.close()
            self.table_lock_session = None

    def _begin_together(self, locked: list[str], frozen: list[str]) -> bool:
        """Begin one snapshot on every connection. Returns False, with a note, where that cannot be had."""
        if not self.lock_session.mariadb:
            return False
        for _ in range(self._jobs):
            self.sessions.append(self._connect())
        reason = ""
        if everything_is_logged(self.lock_session):
            self._lock(locked)
            if begin_at_one_position(self.sessions):
                self.method = LOG_POSITION
            elif self.table_lock_session:
                self.table_lock_session.close()
                self.table_lock_session = None
        if self.method != LOG_POSITION:
            reason = long_writer(self.lock_session, self._database) or self._begin_behind_locks(locked, frozen)
        if reason:
            self.notes.append(f"one connection instead of {self._jobs}: {reason}")
            for session in self.sessions:
                session.close()
            self.sessions = []
            return False
        for session in self.sessions:
            self._touch(session, frozen, rows=True)
        return True

    def _begin_behind_locks(self, locked: list[str], frozen: list[str]) -> str:
        """Begin the snapshots while nobody can write in this database; return why that cannot be, "" where it was."""
        begin_lock_session, table_lock_session = self._connect(), None
        try:
            # Over sessions of their own: these are let go at once, those when their rows have been read.
            table_lock_session = self._connect() if locked else None
            reason = lock_at_one_moment(
                [(begin_lock_session, frozen), *([(table_lock_session, locked)] if table_lock_session else [])]
            )
            if not reason:
                for session in self.sessions:
                    session.execute(BEGIN)
                begin_lock_session.execute("UNLOCK TABLES")
                self.method, self.table_lock_session = TABLE_LOCKS, table_lock_session
        except BaseException:
            for session in (begin_lock_session, *([table_lock_session] if table_lock_session else [])):
                session.abandon()
            raise
        begin_lock_session.close()
        if reason and table_lock_session:
            table_lock_session.close()
        return reason


def _touch_query(name: str, *, rows: bool) -> str:
    return f"(SELECT 1 FROM {identifier(name)} LIMIT {int(rows)})"
