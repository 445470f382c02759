"""A proxy for TCP that stalls, slows or cuts what passes, or loses what a server answers."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Self

_WINDOW = 1 << 18
"""Bytes that the kernel may hold of a slowed connection, about: by itself it would take some seconds' worth ahead."""
_LATE_SECONDS = 0.05
"""What a slowed connection may catch up: whoever sleeps sleeps too long, and what was idle has saved nothing up."""


class TCPProxy:
    """Passes connections on to a port of the loopback until it is told otherwise.

    ``port`` is its own; ``accepted`` counts the connections, and ``passed`` the bytes in both directions.

    Args:
        target: the port.
        bandwidth: bytes a second that pass on each connection in each direction, whatever passes on the others; 0 for
            as many as there are.
    """

    def __init__(self, target: int, *, bandwidth: int = 0) -> None:
        self._target = target
        self._bandwidth = bandwidth
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._after: int | None = None
        self._over = False
        self.stalled = threading.Event()
        self.accepted = self.passed = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._flowing.set()
        # close() alone leaves a thread in accept(), and the port with it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def stall(self) -> None:
        """Pass nothing any more, and end nothing: whoever connects is let in, and hears nothing."""
        self._flowing.clear()
        self.stalled.set()

    def stall_after(self, count: int) -> None:
        """Stall once so many more bytes have passed."""
        with self._lock:
            self._after = self.passed + count

    def flow(self) -> None:
        """Pass everything on again."""
        self._flowing.set()

    def cut(self) -> None:
        """End every connection, in the midst of whatever passes."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for connected in pair:
                with contextlib.suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """End every connection, and whichever comes."""
        self._refusing = True
        self.cut()

    def accept_again(self) -> None:
        """Refuse nobody any more."""
        self._refusing = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                if self._refusing:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self._pairs.append((client, server))
                for connected in (client, server):  # as asyncssh and sshd do: small packets are not held back
                    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    if self._bandwidth:
                        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
                        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WINDOW)
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        free_at = 0.0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self._bandwidth:
                    free_at = max(free_at, time.monotonic() - _LATE_SECONDS) + len(data) / self._bandwidth
                    time.sleep(max(free_at - time.monotonic(), 0))
                with self._lock:
                    self.passed += len(data)
                    if self._after is not None and self.passed >= self._after:
                        self._after = None
                        self.stall()
                self._flowing.wait()
                if self._over:
                    break
                sink.sendall(data)
        for connected in (source, sink):
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        source.close()
