"""Makes a private PostgreSQL server and keeps it: a program of its own, which ends the server when dumpty is gone.

It is started with its standard input on a pipe whose other end only dumpty holds. The pipe's end means that dumpty
has finished, or was killed: then the server is ended and its directory removed. If this program is killed as well,
Linux tells the server (PR_SET_PDEATHSIG), and the directory, no longer locked, is removed by the next drill.

    python keeper.py DIRECTORY USER INITDB POSTGRES [SETTING...]

Uses nothing but Python's standard library: it runs without dumpty on its path.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOCK = "lock"
_PARENT_DIED = 1  # PR_SET_PDEATHSIG
_LOOK_SECONDS = 0.2
_END_SECONDS = 10.0
_TOLD_BYTES = 4000


def main(directory: str, user: str, initdb: str, postgres: str, *settings: str) -> int:
    """Keep the server until standard input ends; return an exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lock = _locked(directory)
    server: subprocess.Popen[bytes] | None = None
    try:
        data, sockets, log = (os.path.join(directory, name) for name in ("data", "s", "log"))
        become = _becoming(user)
        os.mkdir(sockets, 0o700)
        if user:
            entry = pwd.getpwnam(user)
            os.chown(directory, entry.pw_uid, entry.pw_gid)
            os.chown(sockets, entry.pw_uid, entry.pw_gid)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C", "HOME": "/"}
        with open(log, "wb") as stream:

            def start(*argv: str) -> subprocess.Popen[bytes]:
                return subprocess.Popen(  # noqa: S603 - the programs that were found, and no shell
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    cwd="/",
                    env=environment,
                    preexec_fn=become,  # noqa: PLW1509 - this program has no other thread
                )

            made = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
            server = start(initdb, *made)
            if not _wait(server):
                return 0
            if server.returncode == 0:
                server = start(postgres, "-D", data, "-k", sockets, *(w for s in settings for w in ("-c", s)))
                if not _wait(server):
                    return 0
        _tell(log)
        return 1
    finally:
        if server is not None:
            _end(server)
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _locked(directory: str) -> int:
    """Lock the directory as long as this program lives; the lock appears when it is held, not before."""
    path = os.path.join(directory, LOCK)
    lock = os.open(path + ".new", os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(path + ".new", path)
    return lock


def _becoming(user: str) -> Callable[[], None]:
    entry = pwd.getpwnam(user) if user else None
    keeper = os.getpid()
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):  # not Linux
        prctl = None

    def become() -> None:
        if entry is not None:
            os.initgroups(entry.pw_name, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
        if prctl is not None:
            prctl(_PARENT_DIED, signal.SIGQUIT)  # behind setuid, which takes it back
            if os.getppid() != keeper:
                os._exit(1)

    return become


def _wait(child: subprocess.Popen[bytes]) -> bool:
    """Wait for the child's end; return False where standard input ended before."""
    while child.poll() is None:
        readable, _, _ = select.select([0], [], [], _LOOK_SECONDS)
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
        time.sleep(_LOOK_SECONDS / 10)


def _tell(log: str) -> None:
    """Repeat the end of the server's log on standard error."""
    with contextlib.suppress(OSError), open(log, "rb") as stream:
        stream.seek(max(0, os.path.getsize(log) - _TOLD_BYTES))
        sys.stderr.write(stream.read().decode("utf-8", "replace"))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
