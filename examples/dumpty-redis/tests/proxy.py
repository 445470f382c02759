"""A socket in front of the server that cuts the connection midway."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def cut_off(server: str, path: Path, *, after: int) -> Iterator[Path]:
    """Listen on ``path``, pass on to ``server``, and cut everything off once ``after`` bytes have come back."""
    bytes_left = [after]
    ends: list[socket.socket] = []

    def close() -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def pump(source: socket.socket, sink: socket.socket, *, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1024):
                bytes_left[0] -= len(data) if counted else 0
                if bytes_left[0] < 0:
                    close()
                    return
                sink.sendall(data)

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                if bytes_left[0] < 0:
                    client.close()
                    continue
                upstream = socket.socket(socket.AF_UNIX)
                upstream.connect(server)
                ends.extend((client, upstream))
                for pair, counted in (((client, upstream), False), ((upstream, client), True)):
                    threading.Thread(target=pump, args=pair, kwargs={"counted": counted}, daemon=True).start()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            close()
            thread.join(5)
