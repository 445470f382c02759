"""Listens at an address, and answers there for as long as a block goes on."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from dumpty.errors import DependencyError, DumptyError, OptionError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["Server", "require_web", "resolve"]

_CONNECTION_SECONDS = 20.0
"""How long a connection may last while nothing whole is asked on it: bytes that drip are each in time."""
_ANSWER_SECONDS = 120.0
"""How long an answer may take until all of it has been taken."""
_MOST_CONNECTIONS = 64
_STARTING_SECONDS = 30.0
_ENDING_SECONDS = 5.0


def require_web() -> None:
    """See that the libraries are there that answer over HTTP.

    Raises:
        DependencyError: they are not.
    """
    try:
        import jinja2  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise DependencyError(f'a page needs {error.name}: pip install "dumpty[web]"') from error


def resolve(host: str, port: int, *, has_token: bool) -> tuple[socket.AddressFamily, tuple[str, int], bool]:
    """Return the family and the address that a host's name means, and whether only this machine reaches it.

    Raises:
        OptionError: without a token it must be one that only this machine reaches.
        DumptyError: it means none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DumptyError(f"cannot listen at {host!r}: {reason}; say an address of this machine") from None
    family, _, _, _, address = found[0]
    is_local = ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
    if not is_local and not has_token:
        raise OptionError(
            f"{host} can be reached from elsewhere, and what is shown names databases: say --token env:NAME, or "
            "file:PATH, which people and Prometheus then have to show, or leave --host out"
        )
    return family, (str(address[0]), int(address[1])), is_local


class Server:
    """Answers by an application, in a thread. As a context it does so for as long as the block goes on.

    Args:
        app: what answers.
        family: of the address.
        address: of this machine; the port 0 is any that is free.
        certificate: the paths of a certificate and its key, to answer by TLS; None for plain HTTP.

    Raises:
        DumptyError: it cannot be listened there, or not with this certificate.
    """

    def __init__(
        self,
        app: ASGIApp,
        family: socket.AddressFamily,
        address: tuple[str, int],
        certificate: tuple[str, str] | None = None,
    ) -> None:
        import uvicorn

        self._is_tls = certificate is not None
        self._socket = _listening(family, address)
        try:
            config = uvicorn.Config(
                app,
                http=_protocol(),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=True,
                forwarded_allow_ips="127.0.0.1,::1",  # a proxy on this machine names whom it speaks for
                timeout_graceful_shutdown=1,
                ssl_certfile=certificate[0] if certificate else None,
                ssl_keyfile=certificate[1] if certificate else None,
            )
            config.load()
        except OSError as error:  # of ssl, too
            self._socket.close()
            raise DumptyError(f"cannot answer by TLS with {' and '.join(certificate or ())}: {error}") from None
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="dumpty-http", daemon=True)

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self._socket.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self._is_tls else 'http'}://{shown}:{port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        ends = time.monotonic() + _STARTING_SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < ends:
            time.sleep(0.01)
        if not self._server.started:
            raise DumptyError(f"nothing answers at {self.url}: its thread did not begin")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(_ENDING_SECONDS)
        self._socket.close()

    def _serve(self) -> None:
        # What uvicorn writes of each odd request would fill a disk, and of a problem the page's guard tells.
        logging.getLogger("uvicorn").addHandler(logging.NullHandler())
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(self._server.serve(sockets=[self._socket]))


class _Listening(socket.socket):
    """A socket that listens, and keeps no more connections than there is room for: what jobs open needs some, too."""

    def __init__(self, family: socket.AddressFamily) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._open: set[socket.socket] = set()

    def accept(self) -> tuple[socket.socket, Any]:
        """Return who asks next.

        Raises:
            ConnectionAbortedError: there is no room; they were sent away.
        """
        accepted, address = super().accept()
        self._open = {other for other in self._open if other.fileno() >= 0}
        if len(self._open) >= _MOST_CONNECTIONS:
            accepted.close()
            raise ConnectionAbortedError
        self._open.add(accepted)
        return accepted, address


def _listening(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    """Return a socket that listens."""
    listening = _Listening(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise DumptyError(
            f"cannot listen at {address[0]}, port {address[1]}: {error.strerror or error}; say another --port"
        ) from None
    return listening


class _Loop(asyncio.SelectorEventLoop):
    """A loop that says nothing of who comes and goes, and waits for no handshake of TLS longer than for anything."""

    def __init__(self) -> None:
        super().__init__()
        self.set_exception_handler(lambda *_: None)

    async def create_server(self, *arguments: Any, **options: Any) -> asyncio.Server:
        """Listen."""
        if options.get("ssl") is not None:
            options |= {"ssl_handshake_timeout": _CONNECTION_SECONDS, "ssl_shutdown_timeout": _CONNECTION_SECONDS}
        return await super().create_server(*arguments, **options)


def _protocol() -> type[Any]:
    """Return uvicorn's protocol of HTTP, on whose connections nobody stays who asks nothing whole."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._is_lost = False
            self._look_after(self._at(), self.loop.time())

        def connection_lost(self, exc: Exception | None) -> None:
            self._is_lost = True
            super().connection_lost(exc)

        def _at(self) -> tuple[object, bool]:
            """Return which request it is at, and whether that has come whole and is being answered."""
            return self.cycle, self.cycle is not None and not (self.cycle.more_body or self.cycle.response_complete)

        def _look_after(self, before: tuple[object, bool], since: float) -> None:
            if self._is_lost:  # one that is closing is not: whoever is to take the rest may never do
                return
            at, now = self._at(), self.loop.time()
            if at != before:
                before, since = at, now
            if now - since >= (_ANSWER_SECONDS if at[1] else _CONNECTION_SECONDS):
                self.transport.abort()
            else:
                self.loop.call_later(_CONNECTION_SECONDS / 10, self._look_after, before, since)

    return Protocol
