"""Recipients of messages, real ones on this machine: a web server and a mail server, which misbehave as they are told."""

from __future__ import annotations

import asyncio
import email
import email.policy
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TINY = 0.3
"""Seconds: a limit for whoever waits for what never answers."""


class WebRecipient:
    """A web server that notes what is posted to it.

    Args:
        behaviour: ``takes``, ``refuses``, ``hangs-up``, ``hangs``, as for ``dumpty.testing.Recipient``; ``drips`` sends
            one header after another, and never ends; ``boasts`` answers 500 with text that never ends;
            ``redirects`` sends elsewhere; any number is a status to answer.
        context: a TLS context of a server, if it is to speak HTTPS.
    """

    def __init__(self, behaviour="takes", context=None):
        self.behaviour = str(behaviour)
        self.requests = []
        self.contacts = 0
        self.gone = threading.Event()
        recipient = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 50

            def process_request(self, request, address):
                recipient.contacts += 1
                super().process_request(request, address)

            def handle_error(self, request, address):
                """Whoever was waited for is gone."""

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                recipient.requests.append((self.path, self._headers(), body))
                getattr(recipient, f"_{recipient.behaviour.replace('-', '_')}", recipient._status)(self, body)

            def do_CONNECT(self):
                recipient.requests.append((self.path, self._headers(), b""))
                self.send_error(407)

            def _headers(self):
                return {name.lower(): value for name, value in self.headers.items()}

            def do_GET(self):
                recipient.requests.append((f"GET {self.path}", {}, b""))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                """Nobody reads it."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def leave(self):
        """Be there no longer."""
        if not self.gone.is_set():
            self.gone.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def _takes(self, handler, body):
        handler.send_response(204)
        handler.end_headers()

    def _status(self, handler, body):
        handler.send_response(int(self.behaviour))
        handler.end_headers()

    def _refuses(self, handler, body):
        """Refuse, as many servers do, with all that was sent."""
        said = f"cannot POST {handler.path}\n{handler.headers}".encode()
        handler.send_response(500)
        handler.send_header("Content-Type", "text/plain")
        handler.end_headers()
        handler.wfile.write(said)

    def _hangs_up(self, handler, body):
        handler.connection.shutdown(socket.SHUT_RDWR)

    def _hangs(self, handler, body):
        self.gone.wait(60)

    def _drips(self, handler, body):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
        while not self.gone.wait(TINY / 10):
            handler.wfile.write(b"X-Drop: 1\r\n")

    def _boasts(self, handler, body):
        handler.send_response(500)
        handler.end_headers()
        while not self.gone.is_set():
            handler.wfile.write(b"all is lost " * 1000)

    def _redirects(self, handler, body):
        handler.send_response(302)
        handler.send_header("Location", f"http://127.0.0.1:{self.port}/elsewhere")
        handler.end_headers()


class MailRecipient:
    """A mail server that keeps what is sent to it: of users with the password that it is made with, if it is."""

    def __init__(self, behaviour="takes", password=""):
        from aiosmtpd.smtp import SMTP, AuthResult

        self.behaviour, self.contacts, self.texts, self.messages = behaviour, 0, [], []
        self._loop = asyncio.new_event_loop()
        self._gone = False

        class Handler:
            async def handle_DATA(_self, server, session, envelope):
                if behaviour == "refuses":
                    return f"554 no, not for {password}"
                self._keep(envelope.content)
                return "250 taken"

        class Server(SMTP):
            def connection_made(_self, transport):
                self.contacts += 1
                if behaviour == "hangs-up":
                    transport.abort()
                elif behaviour != "hangs":
                    super().connection_made(transport)

            def connection_lost(_self, error):
                if behaviour not in {"hangs-up", "hangs"}:
                    super().connection_lost(error)

            def eof_received(_self):
                return False if behaviour in {"hangs-up", "hangs"} else super().eof_received()

        def authenticate(server, session, envelope, mechanism, data):
            return AuthResult(success=data.password.decode() == password)

        def make():
            # That it is required, too, would be warned of, where it goes without TLS.
            options = {"auth_require_tls": False, "authenticator": authenticate}
            return Server(Handler(), loop=self._loop, hostname="mail.example.org", **options)

        self._server = self._loop.run_until_complete(self._loop.create_server(make, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def leave(self):
        """Be there no longer."""
        if not self._gone:
            self._gone = True
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _close(self):
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _keep(self, content):
        message = email.message_from_bytes(content, policy=email.policy.default)
        self.messages.append(message)
        self.texts.append(f"{message['subject']}\n{message.get_content()}".replace("\r\n", "\n"))
