"""A proxy of HTTP that does to requests what networks and servers do: it delays, cuts, loses, lies, refuses, stalls."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "expect", "keep-alive"}
_KEPT = 1 << 16
"""Bytes of a request that are remembered."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Trouble:
    """What becomes of one request.

    ``delay``: seconds before it is passed on. ``stall``: it never is, and no answer comes. ``refuse``: the status and
    S3's code of an answer instead. ``lose``: it is passed on, and the answer is lost: "reset" the connection, or a
    status. ``cut``: after how many bytes of its body the answer breaks off. ``pause``: after how many it does so once the
    block that cuts (``Proxy.cuts``) begins. ``headers``: replace those of the answer, None for none. ``strip``: headers
    that are not passed on. ``rewrite``: makes the answer's body of what came.
    ``alter``: the last byte of its body is changed on the way. ``change``: makes another request of it.
    ``trickle``: how many bytes of the body come at once, the others one by one, a third of a second apart.
    """

    delay: float = 0.0
    stall: bool = False
    refuse: tuple[int, str] | None = None
    lose: str | int | None = None
    cut: int | None = None
    pause: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    strip: tuple[str, ...] = ()
    rewrite: Callable[[bytes], bytes] = bytes
    trickle: int | None = None
    alter: bool = False
    change: Callable[[Request], Request] | None = None


NONE = Trouble()
_XML = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{0}</Code><Message>made by the test: {0}</Message></Error>'


def _replaced(headers: dict[str, str], others: dict[str, str | None]) -> dict[str, str]:
    kept = {key: value for key, value in headers.items() if key.lower() not in {other.lower() for other in others}}
    return kept | {key: value for key, value in others.items() if value is not None}


class Proxy:
    """Stands before the server at ``host:port``; ``trouble`` says what becomes of each request."""

    def __init__(self, host: str, port: int) -> None:
        self.trouble: Callable[[Request], Trouble] = lambda _: NONE
        self.latency = 0.0
        self.requests: list[Request] = []
        self.over = threading.Event()
        self.cutting = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError, TimeoutError, ValueError):
                    super().handle_one_request()
                    return
                self.close_connection = True

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return self._pass_on
                raise AttributeError(name)

            def log_message(self, *arguments: object) -> None:
                pass

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                proxy.requests.append(replace(request, body=body[:_KEPT]))
                trouble = proxy.trouble(request)
                time.sleep(trouble.delay or proxy.latency)
                if trouble.stall:
                    proxy.over.wait(300)
                    self.close_connection = True
                    return
                if trouble.refuse:
                    self._answer(
                        trouble.refuse[0],
                        _replaced({}, trouble.headers),
                        trouble.rewrite(_XML.format(trouble.refuse[1]).encode()),
                    )
                    return
                if trouble.alter:
                    request = replace(request, body=body[:-1] + bytes([body[-1] ^ 1]))
                if trouble.change:
                    request = trouble.change(request)
                status, headers, content = self._ask(request, trouble.strip)
                if trouble.lose == "reset":
                    self.close_connection = True
                elif trouble.lose:
                    self._answer(int(trouble.lose), {}, _XML.format("InternalError").encode())
                else:
                    self._answer(status, _replaced(headers, trouble.headers), trouble.rewrite(content), trouble)

            def _ask(self, request: Request, strip: tuple[str, ...]) -> tuple[int, dict[str, str], bytes]:
                connection = http.client.HTTPConnection(host, port, timeout=60)
                try:
                    connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
                    for key, value in request.headers.items():
                        if key not in _HOP_BY_HOP and key not in strip:
                            connection.putheader(key, value)
                    connection.putheader("Content-Length", str(len(request.body)))
                    connection.endheaders(request.body)
                    answer = connection.getresponse()
                    content = answer.read()
                    length = answer.headers.get("Content-Length", str(len(content)))
                    return answer.status, {**dict(answer.headers), "Content-Length": length}, content
                finally:
                    connection.close()

            def _answer(self, status: int, headers: dict[str, str], content: bytes, trouble: Trouble = NONE) -> None:
                self.send_response_only(status)
                length = headers.get("Content-Length", str(len(content))) if self.command == "HEAD" else len(content)
                for key, value in headers.items():
                    if key.lower() not in _HOP_BY_HOP:
                        self.send_header(key, value)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command != "HEAD" and status != 204:
                    self._send(content, trouble)

            def _send(self, content: bytes, trouble: Trouble) -> None:
                self.close_connection = trouble.cut is not None
                if trouble.trickle is not None:
                    self.wfile.write(content[: trouble.trickle])
                    for byte in content[trouble.trickle :]:
                        if proxy.over.wait(0.3):
                            break
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                    return
                if trouble.pause is None:
                    self.wfile.write(content[: trouble.cut])
                    return
                self.wfile.write(content[: trouble.pause])
                self.close_connection = len(content) > trouble.pause
                if self.close_connection:
                    proxy.cutting.wait(60)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                """A client that goes away is what tests are about."""

            def server_bind(self) -> None:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                super().server_bind()

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="proxy", daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    @contextlib.contextmanager
    def does(self, trouble: Callable[[Request], Trouble]) -> Iterator[None]:
        """Within the block, do to each request what ``trouble`` says."""
        before, self.trouble = self.trouble, trouble
        try:
            yield
        finally:
            self.trouble = before

    @contextlib.contextmanager
    def cuts(self, trouble: Callable[[Request], Trouble]) -> Iterator[None]:
        """Within the block, break off what has paused, and do to each further request what ``trouble`` says."""
        self.cutting.set()
        try:
            with self.does(trouble):
                yield
        finally:
            self.cutting.clear()


@contextlib.contextmanager
def before(host: str, port: int) -> Iterator[Proxy]:
    """Stand before a server, in the block."""
    proxy = Proxy(host, port)
    try:
        yield proxy
    finally:
        proxy.close()
