"""A way to a server, as a socket of this machine: each connection to it is one of a child process's.

The child reads what comes from the connection itself, so it ends where that is closed, also if this process is killed;
what it writes is passed on here. What it says where it fails is kept, for the client sees no more than a connection
that was closed.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from typing import TYPE_CHECKING, Self

from dumpty.errors import CommandError
from dumpty.process.child import BLOCK, Child
from dumpty.process.private_ports import is_own_connection, listen_on_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Relay"]

_MOST = 200
"""Connections at once; more wait until one is closed."""
_LAST_WORDS_SECONDS = 0.5
"""What a child that has closed its output gets to end, so that its client is told no sooner than why is known."""
_END_SECONDS = 1.0
_POLL_MILLISECONDS = 500


class Relay:
    """Listens, and runs a child for each connection; a context manager that ends them all.

    Args:
        argv: what is run; its standard input and output are the connection.
        env: changes to its environment, as for ``Child``.
        on_failure: is called with what a child wrote to its standard error where it failed while its client was still
            there, before the client sees the end; from another thread.
    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str | None], on_failure: Callable[[str], object]
    ) -> None:
        self._argv = tuple(argv)
        self._env = dict(env)
        self._on_failure = on_failure
        self._listener: socket.socket | None = None
        self._checks_owner = False
        self._wake_reader, self._wake_writer = os.pipe()
        self._slots = threading.BoundedSemaphore(_MOST)
        self._lock = threading.Lock()
        self._closing = False
        self._open: dict[threading.Thread, tuple[socket.socket, Child | None]] = {}
        self._acceptor = threading.Thread(target=self._accept, name="dumpty-relay", daemon=True)

    def listen_at(self, path: str) -> None:
        """Listen on a Unix socket at ``path``, which must be where nobody else can go."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener = listener
        listener.bind(path)
        listener.listen(_MOST)
        self._acceptor.start()

    def listen_on_port(self, port: int) -> tuple[str, int]:
        """Listen on a port of the loopback, ``port`` if it can be had, which lets in nobody but this user.

        Returns:
            The address and the port.
        """
        self._listener = listen_on_loopback(port)
        self._checks_owner = True
        self._acceptor.start()
        address: tuple[str, int] = self._listener.getsockname()
        return address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections and children, and listen no more."""
        with self._lock:
            self._closing = True
            threads = dict(self._open)
        os.write(self._wake_writer, b"x")
        if self._acceptor.is_alive():
            self._acceptor.join()
        with self._lock:
            threads |= self._open
        for connection, _child in threads.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:  # mostly they end by themselves, for their clients have gone
            thread.join(_END_SECONDS)
        for thread in threads:
            _, child = self._open.get(thread, (None, None))
            if child is not None:
                child.end()
            thread.join()
        if self._listener is not None:
            self._listener.close()
        for descriptor in (self._wake_reader, self._wake_writer):
            os.close(descriptor)

    def _accept(self) -> None:
        listener = self._listener
        if listener is None:  # pragma: no cover - started only with one
            return
        while True:
            if self._wake_reader in _select(listener.fileno(), self._wake_reader):
                return
            try:
                connection, _ = listener.accept()
            except OSError:  # gone again; or no descriptor is free, which passes
                threading.Event().wait(_LAST_WORDS_SECONDS / 10)
                continue
            while not self._slots.acquire(timeout=_LAST_WORDS_SECONDS):
                if self._closing:
                    connection.close()
                    return
            thread = threading.Thread(target=self._serve, args=(connection,), name="dumpty-connection", daemon=True)
            with self._lock:
                self._open[thread] = (connection, None)
            try:
                thread.start()
            except RuntimeError as error:  # no room for another thread
                with self._lock:
                    del self._open[thread]
                self._on_failure(str(error))
                connection.close()
                self._slots.release()

    def _serve(self, connection: socket.socket) -> None:
        thread = threading.current_thread()
        try:
            with connection:
                if self._admits(connection):
                    self._run(thread, connection)
        finally:
            with self._lock:
                self._open.pop(thread, None)
            self._slots.release()

    def _admits(self, connection: socket.socket) -> bool:
        if not self._checks_owner:
            return True
        try:
            is_own = is_own_connection(connection)
        except OSError as error:
            self._on_failure(
                f"this system does not tell whose a connection to a port is ({error.strerror}), so none is let in: "
                "name the server's Unix socket in the URL"
            )
            return False
        if not is_own:
            self._on_failure("a connection to its port of this machine was not this user's, and was not let in")
        return is_own

    def _run(self, thread: threading.Thread, connection: socket.socket) -> None:
        try:
            child = Child(self._argv, env=self._env, stdin=connection)
        except CommandError as error:
            self._on_failure(str(error))
            return
        with child:
            with self._lock:
                self._open[thread] = (connection, child)
                if self._closing:
                    return
            if _copy(child, connection, self._wake_reader):
                self._finish(child, connection)

    def _finish(self, child: Child, connection: socket.socket) -> None:
        """See how a child ends that has closed its output, then let its client see that."""
        try:
            child.wait(_LAST_WORDS_SECONDS)
        except CommandError as error:
            if child.returncode == 0:
                return
            if error.returncode is None:  # the server has ended, and our side has not yet
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
                _await_end(connection)
            elif not self._closing and not _has_hung_up(connection):
                self._on_failure(error.stderr_tail or str(error))


def _copy(child: Child, connection: socket.socket, wake_reader: int) -> bool:
    """Pass on what a child writes, to its end; False where the client is gone before, or all is to end.

    That a child is ended does not end its output: it may have handed that on, as ssh does to who keeps a connection.
    """
    source = child.stdout.fileno()
    while True:
        if source not in _select(source, wake_reader):
            return False
        piece = os.read(source, BLOCK)
        if not piece:
            return True
        view = memoryview(piece)
        while view:
            try:
                view = view[connection.send(view) :]
            except BlockingIOError:  # the child has made the socket, which is its own, too, such a one
                _poll(connection, select.POLLOUT, _POLL_MILLISECONDS)
            except OSError:
                return False


def _select(*descriptors: int) -> list[int]:
    """Wait until one can be read, and return those that can; by poll, for select knows no descriptor above 1023."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll()]


def _await_end(connection: socket.socket) -> None:
    """Wait until the client is gone, or we are."""
    while not _poll(connection, _HANG_UP, _POLL_MILLISECONDS):
        pass


_HANG_UP = getattr(select, "POLLRDHUP", 0)


def _has_hung_up(connection: socket.socket) -> bool:
    return bool(_poll(connection, _HANG_UP, 0))


def _poll(connection: socket.socket, events: int, milliseconds: int) -> int:
    poll = select.poll()
    poll.register(connection, events)
    return sum(found for _, found in poll.poll(milliseconds))
