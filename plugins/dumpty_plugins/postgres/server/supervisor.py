"""Makes a private PostgreSQL server and keeps it: a program of its own, which ends the server when dumpty is gone.

It is started with its standard input on a pipe whose other end only dumpty holds. The pipe's end means that dumpty
has finished, or was killed: then the server is ended and its directory removed. If this program is killed as well,
Linux tells the server (PR_SET_PDEATHSIG), and the directory, no longer locked, is removed by the next drill.

    python supervisor.py DIRECTORY ACCOUNT INITDB_USER BECOME SUPERUSER INITDB POSTGRES [SETTING...]

ACCOUNT is the number that the server runs as, INITDB_USER who runs initdb, which refuses a number that has no name;
both "" for our own. BECOME is the program that takes the number on. SUPERUSER is the name of the server's own, whose
password comes on standard input, as its first line.

Uses nothing but Python's standard library: it runs without dumpty on its path.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from typing import IO

LOCK, DATA, SOCKETS = "lock", "data", "s"
_POLL_SECONDS = 0.2
_END_SECONDS = 10.0
_LOG_BYTES = 4000


def main(directory: str, account: str, initdb_user: str, become: str, *arguments: str) -> int:
    """Supervise the server until standard input ends; return an exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lock = _lock_directory(directory)
    try:
        log = os.path.join(directory, "log")
        with open(log, "wb") as stream:
            processes = _ServerProcesses(directory, become, stream)
            try:
                status = processes.initialize(initdb_user, account, *arguments[:2])
                if status == 0:
                    status = processes.serve(account, *arguments[2:])
            finally:
                processes.end()
        if status is None:
            return 0
        _print_log_end(log)
        return 1
    finally:
        if account:
            _end_all(int(account))
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


class _ServerProcesses:
    """The processes that are supervised: first initdb, then the server."""

    def __init__(self, directory: str, become: str, log: IO[bytes]) -> None:
        self._data, self._sockets, self._secret = (os.path.join(directory, n) for n in (DATA, SOCKETS, "password"))
        self._become = become
        self._log = log
        self._running: subprocess.Popen[bytes] | None = None
        for path in (self._data, self._sockets):
            os.mkdir(path, 0o700)
        _write(self._secret, _read_line())

    def initialize(self, initdb_user: str, account: str, superuser: str, initdb: str) -> int | None:
        """Make the server's files, and give them to the account; return initdb's status, or None to stop."""
        uid = ""
        if initdb_user:
            os.chmod(os.path.dirname(self._data), 0o711)  # noqa: S103 - its parts are closed to all but their owners
            entry = pwd.getpwnam(initdb_user)
            uid = str(entry.pw_uid)
            for path in (self._data, self._secret):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        options = ["-A", "scram-sha-256", f"--pwfile={self._secret}", "-E", "UTF8", "--locale=C", "--no-sync"]
        status = self._run(uid, initdb, "-D", self._data, "-U", superuser, *options)
        os.unlink(self._secret)
        if status == 0 and account:
            _change_owner(self._data, int(account))
            _change_owner(self._sockets, int(account))
        return status

    def serve(self, account: str, postgres: str, *settings: str) -> int | None:
        """Run the server until it ends, and return its status; None to stop."""
        options = [word for setting in settings for word in ("-c", setting)]
        return self._run(account, postgres, "-D", self._data, "-k", self._sockets, *options)

    def _run(self, uid: str, *argv: str) -> int | None:
        """Run a program as ``uid`` to its end and return its status; None where standard input ended before."""
        # By way of a program that becomes another: what is done between fork and exec could tell of no error.
        argv = (sys.executable, "-I", "-S", self._become, uid, str(int(signal.SIGQUIT)), str(os.getpid()), *argv)
        self._running = subprocess.Popen(  # noqa: S603 - the programs that were found, and no shell
            argv, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, cwd="/"
        )
        return self._running.returncode if _wait(self._running) else None

    def end(self) -> None:
        """End what still runs."""
        if self._running is not None:
            _end(self._running)


def _read_line() -> bytes:
    """Return the first line of standard input, and leave what is behind it unread."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _write(path: str, content: bytes) -> None:
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as stream:
        stream.write(content)


def _change_owner(path: str, account: int) -> None:
    """Give a directory and everything in it to ``account``, following no link."""
    for _path, _directories, files, descriptor in os.fwalk(path, follow_symlinks=False):
        os.fchown(descriptor, account, account)
        for name in files:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:  # initdb makes nothing else
                os.chown(name, account, account, dir_fd=descriptor, follow_symlinks=False)


def _end_all(account: int) -> None:
    """End whatever still runs as ``account``: a program that the server was made to start may outlive it."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        argv = ["/bin/sh", "-c", "kill -s KILL -- -1"]
        subprocess.run(argv, user=account, group=account, extra_groups=[], check=False, cwd="/")  # noqa: S603


def _lock_directory(directory: str) -> int:
    """Lock the directory as long as this program lives; the lock appears when it is held, not before."""
    path = os.path.join(directory, LOCK)
    lock = os.open(path + ".new", os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(path + ".new", path)
    return lock


def _wait(child: subprocess.Popen[bytes]) -> bool:
    """Wait for the child's end; return False where standard input ended before."""
    while child.poll() is None:
        readable, _, _ = select.select([0], [], [], _POLL_SECONDS)
        if readable and not os.read(0, 1):
            return False
    return True


def _end(child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _END_SECONDS
    if child.poll() is None:
        child.send_signal(signal.SIGQUIT)  # at once: nobody needs what it holds
    while child.poll() is None:
        if time.monotonic() > deadline:
            child.kill()
        time.sleep(_POLL_SECONDS / 10)


def _print_log_end(log: str) -> None:
    """Repeat the end of the server's log on standard error."""
    with contextlib.suppress(OSError), open(log, "rb") as stream:
        stream.seek(max(0, os.path.getsize(log) - _LOG_BYTES))
        sys.stderr.write(stream.read().decode("utf-8", "replace"))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
