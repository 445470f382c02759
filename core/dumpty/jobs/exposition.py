"""Answers whoever asks over HTTP for the metrics of the jobs that are served."""

from __future__ import annotations

import contextlib
import gzip
import hmac
import ipaddress
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from dumpty.errors import DumptyError, OptionError
from dumpty.jobs.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Exposition"]

_PATIENCE_SECONDS = 8.0
"""How long whoever asks waits, unless he says otherwise; Prometheus waits for 10."""

_REQUEST_SECONDS = 20.0
"""How long a connection may last, whatever comes."""
_MOST_CONNECTIONS = 32
_PATH = "/metrics"
_LOCAL_NAMES = {"", "localhost", "localhost."}


class Exposition:
    """Listens at an address, and answers ``GET /metrics``. As a context it does so for as long as the block goes on.

    Args:
        host: a name or address of this machine.
        port: the port, 0 for any that is free.
        token: what whoever asks must show, as a bearer token; None for nothing.
        text: returns what to answer, None where there is nothing within so many seconds.

    Raises:
        OptionError: without a token the address must be one that only this machine reaches.
        DumptyError: it cannot be listened there.
    """

    def __init__(self, host: str, port: int, token: str | None, text: Callable[[float], bytes | None]) -> None:
        family, address = _resolved(host, port)
        is_local = ipaddress.ip_address(address[0].partition("%")[0]).is_loopback
        if not is_local and token is None:
            raise OptionError(
                f"{host} can be reached from elsewhere, and metrics name databases: say --token env:NAME, or "
                "file:PATH, which Prometheus then has to show (authorization: credentials_file), or leave --host out"
            )
        handler = type("Handler", (_Handler,), {"answers": _Answers(token, text, host if is_local else "")})
        server = type("Server", (_Server,), {"address_family": family})
        try:
            self._server: ThreadingHTTPServer = server(address, handler)
        except OSError as error:
            raise DumptyError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="dumpty-http", daemon=True)

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host, port = self._server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}{_PATH}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return the family and the address that a host's name means.

    Raises:
        DumptyError: it means none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DumptyError(f"cannot listen at {host!r}: {reason}; say an address of this machine") from None
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        self._room = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._begun: dict[socket.socket, float] = {}
        super().__init__(*arguments)

    def get_request(self) -> Any:
        """Return who asks next; where the system has no more descriptors, do not ask it again and again."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(0.1)
            raise

    def service_actions(self) -> None:
        """End, twice a second, what lasts too long: each byte that drips may come in time."""
        for request, begun in list(self._begun.items()):
            if time.monotonic() - begun > _REQUEST_SECONDS:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        """Bind, without asking what this machine is called, which may take a while."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, where there is room for one."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._begun[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._begun.pop(request, None)
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._begun.pop(request, None)
            self._room.release()

    def handle_error(self, *_: object) -> None:
        """Say nothing: whoever asked is gone."""


class _Answers:
    """What there is to answer, and to whom.

    ``local_name`` is by what name this machine alone is to reach it, "" where others may.
    """

    def __init__(self, token: str | None, text: Callable[[float], bytes | None], local_name: str) -> None:
        self._token = token
        self.text = text
        self._local_name = local_name.lower()

    def refusal(self, authorization: str, host: str) -> tuple[HTTPStatus, str] | None:
        """Return why whoever shows this gets no answer; None where he does."""
        if self._token is not None:
            scheme, _, shown = authorization.partition(" ")
            right = hmac.compare_digest(shown.strip().encode("latin-1", "replace"), self._token.encode())
            if right and scheme.lower() == "bearer":
                return None
            return HTTPStatus.UNAUTHORIZED, "show the token: Authorization: Bearer ..."
        # A page in this machine's browser whose name was made to mean this machine.
        if not self._local_name or self._is_local(host):
            return None
        return HTTPStatus.MISDIRECTED_REQUEST, f"ask for {self._local_name} or localhost, or serve it with a token"

    def _is_local(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(name.strip("[]")).is_loopback
        return name.lower() in {*_LOCAL_NAMES, self._local_name}


class _Handler(BaseHTTPRequestHandler):
    answers: _Answers
    timeout = _REQUEST_SECONDS
    server_version = "dumpty"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        refusal = self.answers.refusal(self.headers.get("Authorization", ""), self.headers.get("Host", ""))
        if refusal is not None:
            status, why = refusal
            extra = {"WWW-Authenticate": 'Bearer realm="dumpty"'} if status is HTTPStatus.UNAUTHORIZED else {}
            self._answer(status, f"{why}\n".encode(), extra)
        elif self.path.partition("?")[0] != _PATH:
            self._answer(HTTPStatus.NOT_FOUND, f"there is {_PATH}, and nothing else\n".encode(), {})
        elif (text := self.answers.text(self._patience())) is None:
            body = b"nothing is known yet: a repository has given no answer so far\n"
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, body, {"Retry-After": "60"})
        elif "gzip" in self.headers.get("Accept-Encoding", ""):
            headers = {"Content-Type": CONTENT_TYPE, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
            self._answer(HTTPStatus.OK, gzip.compress(text, 1), headers)
        else:
            self._answer(HTTPStatus.OK, text, {"Content-Type": CONTENT_TYPE, "Vary": "Accept-Encoding"})

    def _patience(self) -> float:
        """Return how many seconds whoever asks still waits, by what Prometheus says of itself."""
        with contextlib.suppress(ValueError):
            waits = float(self.headers.get("X-Prometheus-Scrape-Timeout-Seconds", ""))
            return max(0.0, min(_PATIENCE_SECONDS, waits - 1.0))
        return _PATIENCE_SECONDS

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _answer(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        common = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
        safe = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        for name, value in {**common, **safe, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing of who asks."""
