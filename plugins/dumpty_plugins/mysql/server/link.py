"""The socket of a session: it reports when bytes pass, and any thread can shut it down at any moment."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

from dumpty import Peer, SourceError, given_up, run_abandonable

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = 1 << 20
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 120_000))
"""What finds a dead network; each where the system has it."""


class _Reporting:
    """Notes for ``peer`` what passes through a socket: a mixin."""

    peer: Peer | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        size: int = super().recv_into(*args, **kwargs)  # type: ignore[misc]
        if self.peer is not None:
            self.peer.moved()
        return size

    def sendall(self, data: Any, *args: Any) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            super().sendall(view[start : start + _PIECE], *args)  # type: ignore[misc]
            if self.peer is not None:
                self.peer.moved()


class _Plain(_Reporting, socket.socket):
    """A socket as it is."""


class _Secure(_Reporting, ssl.SSLSocket):
    """The same under TLS."""


class Link:
    """A socket to a server, and what watches it.

    Args:
        dial: opens it.
        server_name: names the server in messages.
        working: asks the server anew whether it is at work on what this link waits for; None for nobody who asks.

    Raises:
        OSError: it cannot be opened.
        SourceError: dumpty is ending, and the server was silent before.
    """

    def __init__(self, dial: Callable[[], socket.socket], server_name: str, working: Callable[[], bool] | None) -> None:
        if given_up():
            raise SourceError(f"{server_name} is not asked any more: dumpty was asked to end, and had no answer")
        connecting = Peer(server_name, lambda: None)
        try:
            with connecting.waiting():
                opened = run_abandonable(
                    dial,
                    discard=lambda late: late.close(),
                    over=lambda: bool(connecting.reason),
                    error=lambda: SourceError(f"cannot connect to {server_name}: {connecting.reason}"),
                    name="dumpty-mysql-connect",
                )
        finally:
            connecting.close()
        self.socket = _Plain(fileno=opened.detach())
        # A duplicate: the number of the other may be a stranger's by the time it is wanted.
        self._handle = socket.socket(fileno=os.dup(self.socket.fileno()))
        self.peer = self.socket.peer = Peer(server_name, self.shut_down, working=working)
        if self.socket.family != socket.AF_UNIX:
            for name, value in _KEEPALIVE:
                if hasattr(socket, name):
                    self.socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def secure(self, context: ssl.SSLContext | None) -> None:
        """Let what ``context`` makes of this socket report the same."""
        if context is not None:
            context.sslsocket_class = type("_Secured", (_Secure,), {"peer": self.peer})

    def shut_down(self) -> None:
        """Let whoever waits for the server get an error, in whatever thread.

        Raises:
            OSError: it was closed.
        """
        self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Watch no more, and close it. Harmless twice."""
        self.peer.close()
        self._handle.close()
        self.socket.close()
