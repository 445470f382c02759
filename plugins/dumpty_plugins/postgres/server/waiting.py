"""Waiting for a server: whatever libpq waits for in C, an interrupt ends it, and so does a server that went silent."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from dumpty import Peer, SourceError, given_up, run_abandonable, run_in_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

T = TypeVar("T")

_CANCEL_SECONDS = 1.0
"""What the server gets to end a statement, before its connection is dropped."""
SHORT_STALL_SECONDS = 15.0
_thread = threading.local()

KEEPALIVE = {
    "keepalives_idle": "60",
    "keepalives_interval": "15",
    "keepalives_count": "4",
    "tcp_user_timeout": "120000",
}
"""libpq's parameters that find a dead network, where the URL has no others; a Unix socket needs none."""


@functools.lru_cache(maxsize=1)
def _watched_class(library: ModuleType) -> type[Any]:
    class Watched(library.extensions.connection):  # type: ignore[misc, name-defined]  # of an untyped, optional module
        """A connection whose socket can be shut down from another thread, at any moment."""

        peer: Peer | None = None
        backend_pid = 0
        end_statement: Callable[[int, Callable[[], bool]], None] | None = None

        def watch(self, settings: WatchSettings) -> None:
            # A duplicate: the number of libpq's own may be a stranger's by the time it is wanted.
            link = socket.socket(fileno=os.dup(self.fileno()))
            ask = settings.working
            working = None if ask is None else lambda: ask(self.backend_pid)
            self.link = link
            self.end_statement = settings.end
            self.peer = Peer(
                settings.label, lambda: link.shutdown(socket.SHUT_RDWR), seconds=settings.seconds, working=working
            )

        def close(self) -> None:
            if self.peer is None:
                super().close()
                return
            try:
                with self.peer.waiting():
                    super().close()
            finally:
                self.peer.close()
                self.link.close()

    return Watched


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """A way to a server: ``label`` names it, ``seconds`` is how long it may be silent while it is waited for.

    ``working`` asks it anew whether a session, by its number, is at work; ``end`` ends that session's statement, if a
    function says that this is still wanted.
    """

    label: str
    seconds: float
    working: Callable[[int], bool] | None
    end: Callable[[int, Callable[[], bool]], None]


def dial(library: ModuleType, parameters: Mapping[str, str], settings: WatchSettings) -> Connection:
    """Connect.

    Raises:
        psycopg2.Error: the connection failed.
        SourceError: the server said nothing in time, or dumpty is ending and it was silent before.
    """
    label = settings.label
    if given_up():
        raise SourceError(f"{label} is not asked any more: dumpty was asked to end, and had no answer")
    gave_up: list[str] = []
    peer = Peer(label, lambda: gave_up.append(""), seconds=settings.seconds)

    def timeout_error() -> SourceError:
        return SourceError(f"cannot connect to {label}: {peer.reason}")

    try:
        with peer.waiting():
            connection: Connection = run_abandonable(
                lambda: library.connect(**parameters, connection_factory=_watched_class(library)),
                discard=lambda late: late.close(),
                over=lambda: bool(gave_up),
                error=timeout_error,
                name="dumpty-postgres-connect",
            )
    finally:
        peer.close()
    connection.watch(settings)  # type: ignore[attr-defined]
    return connection


def peer_of(connection: Connection) -> Peer | None:
    """Return what watches ``connection``; None where it is no libpq's in this process."""
    peer: Peer | None = getattr(connection, "peer", None)
    return peer


def wait_until_writable(connection: Connection) -> None:
    """Wait until the server has taken most of what was sent to it, or the connection is shut down."""
    link = getattr(connection, "link", None)
    if link is not None:
        poller = select.poll()
        poller.register(link, select.POLLOUT)
        poller.poll()


def shorten_stall(connection: Connection) -> None:
    """From now on ``connection`` is asked for what should not take long: a silent server is looked after soon."""
    peer = peer_of(connection)
    if peer is not None:
        peer.seconds = min(peer.seconds or SHORT_STALL_SECONDS, SHORT_STALL_SECONDS)


def was_dropped(connection: Connection) -> bool:
    """Return whether ``connection`` was given up."""
    peer = peer_of(connection)
    return peer is not None and bool(peer.reason)


def run_watched(connection: Connection, work: Callable[[], T]) -> T:
    """Do ``work``, which is one statement over ``connection``.

    Raises:
        Exception: the library's; where the connection was dropped, its text says why.
    """
    peer = peer_of(connection)
    if peer is None:
        return work()
    if not getattr(_thread, "in_worker", False):
        return interruptible(connection, lambda: run_watched(connection, work))
    try:
        with peer.waiting():
            return work()
    except Exception as error:
        if peer.reason and getattr(error, "pgcode", True) in (None, ""):
            dropped: Any = type(error)(peer.reason)
            dropped.dropped = True  # for the error's text, in ``translated_error``
            raise dropped from error
        raise


def interruptible(connection: Connection, work: Callable[[], T], stop: Callable[[], object] = bool) -> T:
    """Run ``work``, which uses ``connection``, so that Ctrl-C ends it now and not when the server answers.

    ``stop`` is called then, before the server is told, to end what ``work`` does on this side. A server that does not
    hear is left: the connection is shut down.
    """
    canceller = Canceller(connection)

    def end() -> None:
        stop()
        canceller()

    try:
        return run_in_worker(for_worker(work), stop=end, name="dumpty-postgres")
    finally:
        canceller.settle()


def for_worker(work: Callable[[], T]) -> Callable[[], T]:
    """Return ``work`` for a thread of its own, which signals do not reach: its statements need no other one."""

    def run() -> T:
        _thread.in_worker = True
        try:
            return work()
        finally:
            _thread.in_worker = False

    return run


class Canceller:
    """Ends what a connection is doing, if anything: asks the server, and shuts the connection down if that is no use.

    To be called again and again: a request may come between two statements. psycopg2's own ``cancel`` keeps the whole
    interpreter waiting for the server, so the server is asked over a session of its own, in a thread.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._first_call: float | None = None
        self._cancel_thread: threading.Thread | None = None
        self._settled = False
        self._sending = False

    def __call__(self) -> None:
        """Ask, or shut down. Returns at once."""
        peer = peer_of(self._connection)
        if peer is None:
            self._connection.cancel()
            return
        now = time.monotonic()
        self._first_call = self._first_call or now
        if now - self._first_call > _CANCEL_SECONDS:
            peer.drop("the server did not end what it was asked to end, and its connection was dropped")
        elif self._cancel_thread is None or not self._cancel_thread.is_alive():
            self._cancel_thread = threading.Thread(target=self._ask, name="dumpty-postgres-cancel", daemon=True)
            self._cancel_thread.start()

    def settle(self) -> None:
        """Ask no more, and let what was asked arrive: it is not meant for the next statement."""
        self._settled = True
        if self._cancel_thread is not None and self._sending:
            self._cancel_thread.join(_CANCEL_SECONDS)

    def _ask(self) -> None:
        connection: Any = self._connection
        with contextlib.suppress(Exception):  # the statement is over, or the connection is: both will do
            connection.end_statement(connection.backend_pid, self._still_wanted)

    def _still_wanted(self) -> bool:
        self._sending = True  # first, as ``settle`` sets the other first: one of both sees it
        return not self._settled
