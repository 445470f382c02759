"""A server that sends back what it gets, by TCP and by a Unix socket."""

from __future__ import annotations

import contextlib
import socket
import threading


class Echo:
    """Listens on 127.0.0.1 at ``port`` and, where a path is given, at that."""

    def __init__(self, path=None):
        self.listeners = [socket.create_server(("127.0.0.1", 0))]
        self.port = self.listeners[0].getsockname()[1]
        if path is not None:
            self.listeners.append(socket.socket(socket.AF_UNIX))
            self.listeners[1].bind(str(path))
            self.listeners[1].listen(50)
        for listener in self.listeners:
            threading.Thread(target=self._accept, args=(listener,), name="dumpty-echo", daemon=True).start()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), name="dumpty-echo", daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            while piece := connection.recv(65536):
                connection.sendall(piece)

    def close(self):
        for listener in self.listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
