"""A proxy that stops forwarding and ends nothing, and a command line that meets it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

from support.replies import check_reply

PATIENCE = 60
"""Seconds for what takes a few on an idle machine. A command that waits for a stalled server never ends."""


class Stalling:
    """Passes connections on from one Unix socket to another until so many bytes went through, and then none at all.

    Nothing is closed, and whoever connects afterwards is let in and hears nothing: a server, or a network, that hangs.
    With ``serve_new`` they are served: it is a router that has forgotten the older ones.
    """

    def __init__(self, path: str, target: str, *, after: int, serve_new: bool = False) -> None:
        self._serve_new = serve_new
        self._target = target
        self._bytes_left = after
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._end = threading.Event()
        self.stalled = threading.Event()
        self.passed = 0
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        os.chmod(path, 0o777)
        self._listener.listen(16)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for connected in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for connected in (self._listener, *self._open):
            connected.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                if self._bytes_left <= 0:
                    self.stalled.set()
                if self.stalled.is_set() and not self._serve_new:
                    continue
                upstream = socket.socket(socket.AF_UNIX)
                self._open.append(upstream)
                upstream.connect(self._target)
                late = self.stalled.is_set()
                for pair in ((client, upstream), (upstream, client)):
                    thread = threading.Thread(target=self._pass, args=(*pair, late), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket, late: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(8192):
                with self._lock:
                    self.passed += len(data)
                    self._bytes_left -= len(data)
                    if self._bytes_left < 0:
                        self.stalled.set()
                if self.stalled.is_set() and not late:
                    self._end.wait()
                    return
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


class Command:
    """A command line as a program of its own, which ends with the block."""

    def __init__(self, place: Path, *argv: object, cwd: Path | None = None) -> None:
        self._argv = list(map(str, argv))
        self._out, self._err = place / "out", place / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dumpty", *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_take_signals,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait_for_stall(self, proxy: Stalling) -> None:
        """Wait until it has met the stall."""
        deadline = time.monotonic() + PATIENCE
        while not proxy.stalled.wait(0.05):
            assert self._process.poll() is None, (self._out.read_text(), self.err)
            assert time.monotonic() < deadline

    def wait(self) -> int:
        """Wait for its end and return its status."""
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGABRT)  # it says where each of its threads is
            self._process.wait()
            raise AssertionError(f"still there: {self.err}") from None

    def ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return True
        return False

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def json(self) -> dict:
        """The one JSON object on standard output."""
        text = self._out.read_text()
        assert text.count("\n") == 1, (text, self.err)
        return check_reply(self._argv, text)


def _take_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
