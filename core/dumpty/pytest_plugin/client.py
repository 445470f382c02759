"""Where a test runs: asks the process that holds the databases for one, and starts it where there is none yet."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

from dumpty.errors import DumptyError
from dumpty.pytest_plugin.messages import ANSWERS, END, LOG, SOCKET, Answer, Failed, GiveBack, Lend, LentDatabase, line

if TYPE_CHECKING:
    from io import BufferedReader

    from msgspec import Struct

    from dumpty.pytest_plugin.source import RestoreSource

__all__ = ["Client", "end"]

_LOCK = "lock"


class Client:
    """Asks for databases, one thread at a time.

    Args:
        directory: the session's, made where it is not there.
        owner: the number of the process that the databases end with.
        root: what paths are relative to.
    """

    def __init__(self, directory: str, owner: int, root: str) -> None:
        self._directory = directory
        self._owner = owner
        self._root = root
        self._process = 0
        self._connection: socket.socket | None = None

    def lend(self, source: RestoreSource) -> LentDatabase:
        """Return a database restored from ``source``, for nobody else.

        Raises:
            DumptyError: it cannot be restored; the text is that of whoever tried.
        """
        answer = self._ask(Lend(source=source))
        if not isinstance(answer, LentDatabase):
            raise DumptyError(f"the process that holds the databases of these tests gave none, but {answer}")
        return answer

    def give_back(self, database: LentDatabase) -> None:
        """Let a database be removed.

        Raises:
            DumptyError: it could not be.
        """
        self._ask(GiveBack(number=database.number))

    def close(self) -> None:
        """Let everything be removed that this process has."""
        if self._connection is not None and self._process == os.getpid():
            self._answers.close()
            self._connection.close()
            self._connection = None

    def _connected(self) -> socket.socket:
        if self._connection is None or self._process != os.getpid():  # of tests in forked processes each asks by itself
            self._connection = _connect(self._directory, self._owner, self._root)
            self._answers = self._connection.makefile("rb")
            self._process = os.getpid()
        return self._connection

    def _ask(self, request: Struct) -> Answer:
        text, connection = b"", self._connected()
        with contextlib.suppress(OSError):
            connection.sendall(line(request))
            text = self._answers.readline()
        if not text:
            raise DumptyError(
                f"the process that holds the databases of these tests has ended{_reason(self._directory)}"
            )
        answer: Answer = ANSWERS.decode(text)
        if isinstance(answer, Failed):
            raise DumptyError(answer.text)
        return answer


def end(directory: str) -> None:
    """End the process that holds a session's databases, wait until all is gone, and say what could not be removed."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.path.join(directory, END))
            left = b"".join(iter(lambda: connection.recv(65536), b""))
    except (FileNotFoundError, ConnectionError):  # it has ended by itself
        return
    for text in left.decode("utf-8", "replace").splitlines():
        sys.stderr.write(f"dumpty: at the end of the tests something could not be removed: {text}\n")


def _connect(directory: str, owner: int, root: str) -> socket.socket:
    """Connect to the process that holds the session's databases; start it where nobody has."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise DumptyError(f"{directory} is not a directory of ours alone: somebody else made it; run the tests again")
    with open(os.path.join(directory, _LOCK), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes may ask first
        connection = socket.socket(socket.AF_UNIX)
        try:
            try:
                connection.connect(os.path.join(directory, SOCKET))
            except (FileNotFoundError, ConnectionRefusedError):
                _start(directory, owner, root)
                connection.connect(os.path.join(directory, SOCKET))
        except BaseException:
            connection.close()
            raise
    return connection


def _start(directory: str, owner: int, root: str) -> None:
    # -P: nothing in the root directory stands in for a module of Python's.
    argv = [sys.executable, "-P", "-m", "dumpty.pytest_plugin.holder", directory, str(owner)]
    with (
        open(os.path.join(directory, LOG), "wb") as log,
        subprocess.Popen(argv, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log) as starting,  # noqa: S603 - no shell
    ):
        stream: BufferedReader = starting.stdout  # type: ignore[assignment]
        ready = stream.readline()
    if not ready:
        raise DumptyError(f"the process that holds the databases of these tests does not start{_reason(directory)}")


def _reason(directory: str) -> str:
    """Return the last that such a process said, for an error's text."""
    with contextlib.suppress(OSError), open(os.path.join(directory, LOG), encoding="utf-8", errors="replace") as log:
        lines = [text.strip() for text in log if text.strip()]
        return f": {lines[-1]}" if lines else ""
    return ""
