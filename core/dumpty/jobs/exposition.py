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
from dumpty.jobs.metrics import CONTENT_TYPE, measure, written
from dumpty.jobs.overview import Looks
from dumpty.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from dumpty.jobs.settings import Configuration

__all__ = ["Exposition", "FreshMetrics"]

_FRESH_SECONDS = 60.0
"""How old what is answered may be, where looking again takes no longer than somebody waits."""

_PATIENCE_SECONDS = 8.0
"""Prometheus waits for 10."""

_IDLE_SECONDS = 10.0
_MOST_CONNECTIONS = 32
_PATH = "/metrics"
_LOCAL_NAMES = {"localhost", "localhost."}


class FreshMetrics:
    """The text of the metrics of a configuration's jobs, of which the repositories are asked once a minute at most.

    They are asked in a thread of its own. While one of them gives no answer there is the text of before, which says of
    when it is.

    Args:
        configuration: returns the one that counts now.
        remember: is told of every secret that is read.
        problem: is told why there is no new text.
        now: returns the time (aware).
    """

    def __init__(
        self,
        configuration: Callable[[], Configuration],
        remember: Callable[[Iterable[str]], None],
        problem: Callable[[str], None],
        now: Callable[[], datetime],
    ) -> None:
        self._configuration, self._problem, self._now = configuration, problem, now
        self._looks = Looks(remember)
        self._changed = threading.Condition()
        self._text: bytes | None = None
        self._made = float("-inf")
        self._of: Configuration | None = None
        self._looking = False

    def text(self) -> bytes | None:
        """Return the text; None where there is none yet."""
        ends = time.monotonic() + _PATIENCE_SECONDS
        with self._changed:
            while not self._is_fresh() and (left := ends - time.monotonic()) > 0:
                if not self._looking:
                    self._looking = True
                    threading.Thread(target=self._look, name="dumpty-metrics", daemon=True).start()
                self._changed.wait(left)
            return self._text

    def _is_fresh(self) -> bool:
        return self._of is self._configuration() and time.monotonic() - self._made < _FRESH_SECONDS

    def _look(self) -> None:
        text, configuration = None, self._configuration()
        try:
            now = self._now()
            overview = self._looks.overview(configuration.jobs, now, configuration.file.modified)
            text = written(measure(overview, configuration.jobs, now))
        except Exception as error:  # noqa: BLE001 - whatever it is, jobs are run
            self._problem(f"the metrics could not be made: {one_line(error)}")
        finally:
            with self._changed:
                self._looking = False
                self._made, self._of = time.monotonic(), configuration  # also where nothing came of it: in a minute
                self._text = text or self._text
                self._changed.notify_all()


class Exposition:
    """Listens at an address, and answers ``GET /metrics``. As a context it does so for as long as the block goes on.

    Args:
        host: a name or address of this machine.
        port: the port, 0 for any that is free.
        token: what whoever asks must show, as a bearer token; None for nothing.
        text: returns what to answer, None where there is nothing yet.

    Raises:
        OptionError: without a token the address must be one that only this machine reaches.
        DumptyError: it cannot be listened there.
    """

    def __init__(self, host: str, port: int, token: str | None, text: Callable[[], bytes | None]) -> None:
        family, address = _resolved(host, port)
        is_local = ipaddress.ip_address(address[0].partition("%")[0]).is_loopback
        if not is_local and token is None:
            raise OptionError(
                f"{host} can be reached from elsewhere, and metrics name databases: say --token env:NAME, or "
                "file:PATH, which Prometheus then has to show (authorization: credentials_file), or leave --host out"
            )
        handler = type("Handler", (_Handler,), {"answers": _Answers(token, text, is_local=is_local)})
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
        super().__init__(*arguments)

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
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, *_: object) -> None:
        """Say nothing: whoever asked is gone."""


class _Answers:
    """What there is to answer, and to whom."""

    def __init__(self, token: str | None, text: Callable[[], bytes | None], *, is_local: bool) -> None:
        self._token = token
        self.text = text
        self._is_local = is_local

    def refusal(self, authorization: str, host: str) -> HTTPStatus | None:
        """Return why whoever shows this gets no answer; None where he does."""
        if self._token is not None:
            scheme, _, shown = authorization.partition(" ")
            right = hmac.compare_digest(shown.strip().encode("utf-8", "surrogateescape"), self._token.encode())
            return None if right and scheme.lower() == "bearer" else HTTPStatus.UNAUTHORIZED
        # A page in this machine's browser whose name was made to mean this machine.
        return None if not self._is_local or _is_local_name(host) else HTTPStatus.MISDIRECTED_REQUEST


def _is_local_name(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    return not host or name.lower() in _LOCAL_NAMES


class _Handler(BaseHTTPRequestHandler):
    answers: _Answers
    timeout = _IDLE_SECONDS
    server_version = "dumpty"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        refusal = self.answers.refusal(self.headers.get("Authorization", ""), self.headers.get("Host", ""))
        if refusal is not None:
            extra = {"WWW-Authenticate": 'Bearer realm="dumpty"'} if refusal is HTTPStatus.UNAUTHORIZED else {}
            self._answer(refusal, f"{refusal.phrase}\n".encode(), extra)
        elif self.path.partition("?")[0] != _PATH:
            self._answer(HTTPStatus.NOT_FOUND, f"there is {_PATH}, and nothing else\n".encode(), {})
        elif (text := self.answers.text()) is None:
            body = b"nothing is known yet: a repository has given no answer so far\n"
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, body, {"Retry-After": "60"})
        elif "gzip" in self.headers.get("Accept-Encoding", ""):
            headers = {"Content-Type": CONTENT_TYPE, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
            self._answer(HTTPStatus.OK, gzip.compress(text, 1), headers)
        else:
            self._answer(HTTPStatus.OK, text, {"Content-Type": CONTENT_TYPE, "Vary": "Accept-Encoding"})

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
