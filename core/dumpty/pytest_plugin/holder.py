"""Holds the databases of one session of tests: a process of its own, which ends with them.

    python -P -m dumpty.pytest_plugin.holder DIRECTORY OWNER

It is asked over a socket in DIRECTORY (``messages``), by one or several processes, and does one thing at a time. What
it lent to a process that ends goes with the connection. It goes itself, with all it restored, when process OWNER
ends, whatever ended that, or when somebody connects to the other socket there, who then waits until it is gone.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

from dumpty.errors import DumptyError
from dumpty.process.cancellation import Cancellation
from dumpty.pytest_plugin.ending import wait_for_end
from dumpty.pytest_plugin.lending import Lender
from dumpty.pytest_plugin.messages import END, REQUESTS, SOCKET, Failed, GivenBack, Lend, LentDatabase, line
from dumpty.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty.pytest_plugin.messages import Answer

__all__ = ["Holder", "main"]

_BYTES = 65536


class Holder:
    """The server of one session.

    Args:
        directory: where its sockets are; nobody else's.
        owner: the number of the process that it ends with.
    """

    def __init__(self, directory: str, owner: int) -> None:
        self._owner = owner
        self._selector = selectors.DefaultSelector()
        self._listener = _listen(os.path.join(directory, SOCKET))
        self._end = _listen(os.path.join(directory, END))
        self._cancellation = Cancellation()
        self._woken, self._waker = os.pipe()
        self._clients: list[_Client] = []
        self._failures: list[str] = []

    def serve(self, ready: Callable[[], object]) -> list[str]:
        """Answer until the end, and return what could not be removed then; ``ready`` is called when it begins."""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ)
        watcher = threading.Thread(target=self._watch, name="dumpty-end", daemon=True)
        watcher.start()
        try:
            with self._noting(), Lender(self._cancellation) as lender:
                self._lender = lender
                ready()
                while not self._cancellation.cancelled:
                    for key, _ in self._selector.select():
                        if key.data is not None and not self._cancellation.cancelled:
                            key.data()
                for client in self._clients:
                    with self._noting():
                        client.close()
        finally:
            self._selector.close()
            self._listener.close()
        return self._failures

    def tell_end(self, failures: list[str]) -> None:
        """Tell whoever waits for the end what could not be removed."""
        self._end.setblocking(False)
        with contextlib.suppress(OSError):  # nobody waits
            waiting, _ = self._end.accept()
            with waiting:
                waiting.sendall("".join(f"{text}\n" for text in failures).encode())
        self._end.close()

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """Go on behind the block, whatever could not be removed there, and say so in the end."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - it is told
            self._failures.append(one_line(error))

    def _watch(self) -> None:
        wait_for_end(self._owner, self._end)
        self._cancellation.cancel("the tests have ended")
        os.write(self._waker, b"\n")

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        client = _Client(connection, self._lender)
        self._clients.append(client)

        def read() -> None:
            if not client.read():
                self._selector.unregister(connection)
                self._clients.remove(client)
                with self._noting():  # that concerns no other process
                    client.close()

        self._selector.register(connection, selectors.EVENT_READ, read)


class _Client:
    """A process of tests, and what it was lent."""

    def __init__(self, connection: socket.socket, lender: Lender) -> None:
        self._connection = connection
        self._lender = lender
        self._unread = b""
        self._lent: dict[int, contextlib.ExitStack] = {}
        self._number = 0

    def read(self) -> bool:
        """Do what it asks for; return False where it has ended."""
        try:
            data = self._connection.recv(_BYTES)
            *lines, self._unread = (self._unread + data).split(b"\n")
            for text in lines:
                self._connection.sendall(line(self._answer(text)))
        except OSError:
            return False
        return bool(data)

    def close(self) -> None:
        """Take back what it was lent."""
        self._connection.close()
        with contextlib.ExitStack() as stack:
            for lent in self._lent.values():
                stack.push(lent)

    def _answer(self, text: bytes) -> Answer:
        try:
            request = REQUESTS.decode(text)
            if isinstance(request, Lend):
                return self._lend(request)
            self._lent.pop(request.number).close()
        except DumptyError as error:
            return Failed(text=one_line(error))
        except Exception as error:  # noqa: BLE001 - a plugin's, and no reason to end what others use
            return Failed(text=f"{type(error).__name__}: {one_line(error)}")
        return GivenBack()

    def _lend(self, request: Lend) -> LentDatabase:
        stack = contextlib.ExitStack()
        trial = stack.enter_context(self._lender.lend(request.source))
        self._number += 1
        self._lent[self._number] = stack
        return LentDatabase(
            number=self._number,
            url=trial.url,
            shown_url=trial.shown_url,
            environment=trial.environment,
            path=trial.path,
        )


def _listen(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of a holder that was killed
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    return listener


def main(directory: str, owner: str) -> int:
    """Become a process that nobody waits for, say so, and serve."""
    if os.fork():
        os._exit(0)
    os.setsid()  # Ctrl-C is for the tests
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    holder = Holder(directory, int(owner))
    try:
        failures = holder.serve(_say_ready)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    holder.tell_end(failures)
    return 0


def _say_ready() -> None:
    """Tell whoever started this that it answers, and let go of them."""
    os.write(1, b"ready\n")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
