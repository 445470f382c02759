"""A service that waits to hear of runs, as those that watch over scheduled jobs do."""

from __future__ import annotations

import http.server


class Service:
    """A service that hears of runs; ``meanwhile`` is called with each path before it answers."""

    def __init__(self):
        self.heard, self.status, self.meanwhile = [], 200, lambda _: None
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                service.meanwhile(self.path)
                service.heard.append((self.path, body))
                self.send_response(service.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/ping/0123-uuid"

    @property
    def paths(self):
        paths, self.heard = [path for path, _ in self.heard], []
        return paths
