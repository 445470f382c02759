"""Sessions that load rows side by side, each piece of work in a transaction of its own.

Work begins in the order in which it is given, so a piece may wait for an earlier one: that one has begun, or ended.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dumpty import DumptyError, SourceError
from dumpty_plugins.mysql.server.session import StatementError
from dumpty_plugins.mysql.server.sql import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from dumpty_plugins.mysql.server.session import Session

BATCH_BYTES = 2 << 20
"""One transaction, unless one statement is longer: each commit waits for the disk, and each batch lies in memory."""
_ROOM_BYTES = 2 << 20
"""What may be on its way or wait, for each session and twice more."""
WARNINGS_KEPT = 65535
"""No server keeps more of one statement."""
_POLL_SECONDS = 0.1


@dataclass
class _LoaderSession:
    """A session, and what has been set in it."""

    session: Session
    settings: dict[str, bytes] = field(default_factory=dict)

    def apply_settings(self, settings: Mapping[str, bytes]) -> None:
        for name, text in settings.items():
            if self.settings.get(name) != text:
                self.session.execute(text)
                self.settings[name] = text


class Loaders:
    """Up to ``jobs`` sessions on one database, opened when there is work for them.

    Args:
        connect: opens one, its default database the one that is filled.
        database: that database's name.
        jobs: how many there may be.
    """

    def __init__(self, connect: Callable[[], Session], database: str, jobs: int) -> None:
        self._connect = connect
        self._database = database
        self._limit = (jobs + 2) * _ROOM_BYTES
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="dumpty-mysql-load")
        self._free: queue.LifoQueue[_LoaderSession] = queue.LifoQueue()
        self._sessions: list[Session] = []
        self._rows: deque[tuple[Future[None], int]] = deque()
        self._index_work: list[Future[None]] = []
        self._bytes = 0
        self._opening = threading.Lock()
        self._stopped = threading.Event()
        self._error: BaseException | None = None

    def submit(
        self,
        work: Callable[[Session], None],
        settings: Mapping[str, bytes],
        size: int = 0,
        after: Sequence[Future[None]] = (),
    ) -> Future[None]:
        """Let ``work`` be done in a session with these settings, once there is room for its ``size`` in bytes.

        It waits for the earlier work ``after``, without a session: that may be waiting for one.

        Raises:
            DumptyError: a piece of earlier work failed.
        """
        while self._rows and (self._rows[0][0].done() or self._bytes + size > self._limit):
            oldest, freed_bytes = self._rows.popleft()
            self._bytes -= freed_bytes
            oldest.result()
        for finished in [f for f in self._index_work if f.done()]:
            self._index_work.remove(finished)
            finished.result()
        # In our context: the session that it may open is dropped, too, when this restore is cancelled.
        run = contextvars.copy_context().run
        future = self._pool.submit(run, self._run, work, dict(settings), after)
        if size:
            self._rows.append((future, size))
            self._bytes += size
        else:
            self._index_work.append(future)  # nobody waits for these: rows can be loaded beside them
        return future

    def _run(
        self, work: Callable[[Session], None], settings: Mapping[str, bytes], after: Sequence[Future[None]]
    ) -> None:
        try:
            for earlier in after:
                earlier.result()
            loader_session = self._take_session()
            loader_session.apply_settings(settings)
            work(loader_session.session)
            loader_session.session.execute("COMMIT")
        except BaseException as error:
            # The session is not lent again, and nobody need wait for it: everything ends.
            self._error = self._error or error
            raise
        self._free.put(loader_session)

    def _take_session(self) -> _LoaderSession:
        with contextlib.suppress(queue.Empty):
            return self._free.get_nowait()
        try:
            with self._opening:  # one after the other: who is refused must know whether there is one to wait for
                session = self._connect()
                self._sessions.append(session)
        except SourceError:
            # The server may have no room for another one. Without any there is no way.
            if not self._sessions:
                raise
            return self._wait()
        if self._stopped.is_set():
            raise SourceError("the restore was stopped")
        session.show_warnings(WARNINGS_KEPT)
        session.execute("SET SESSION autocommit=0")
        with contextlib.suppress(StatementError):  # read-only in old versions
            session.execute("SET SESSION explicit_defaults_for_timestamp=1")
        return _LoaderSession(session)

    def _wait(self) -> _LoaderSession:
        while self._error is None and not self._stopped.is_set():
            with contextlib.suppress(queue.Empty):
                return self._free.get(timeout=_POLL_SECONDS)
        raise self._error or SourceError("the restore was stopped")

    def close(self) -> None:
        """Wait until all work is done, and end the sessions.

        Raises:
            DumptyError: a piece of work failed.
        """
        for future in [*(f for f, _ in self._rows), *self._index_work]:
            future.result()
        self._pool.shutdown(wait=True)
        for session in self._sessions:
            session.close()

    def stop(self) -> None:
        """End all work at once, on the server too: what is being loaded is about to be dropped, and must be free."""
        self._stopped.set()
        with contextlib.suppress(DumptyError):
            self._kill()
        for session in [*self._sessions]:
            session.abandon()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for session in self._sessions:  # one may have been opened meanwhile
            session.abandon()

    def _kill(self) -> None:
        """Kill the sessions over a fresh one: a server that builds an index does not look whether anyone listens."""
        if not self._sessions:
            return
        control = self._connect()
        try:
            for session in [*self._sessions]:
                # Behind something that spreads connections over servers, the number may be a stranger's.
                if control.rows(
                    f"SELECT 1 FROM information_schema.PROCESSLIST WHERE ID={session.connection_id} "
                    f"AND DB={literal(self._database)}"
                ):
                    with contextlib.suppress(StatementError):  # it has just ended
                        control.execute(f"KILL {session.connection_id}")
        finally:
            control.close()
