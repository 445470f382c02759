"""A private server started from local programs: own directory, own socket, no network, gone with its owner.

A shell supervises the server: when its input ends, that is when dumpty ends, even by kill -9, it kills the
server. The directory is locked by its owner; one whose owner is gone is removed by the next drill.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dumpty import NotProvable, OwnedDirectory, Source
from dumpty.process import account
from dumpty_plugins.mysql.server.programs import LocalServer, installer

if TYPE_CHECKING:
    from collections.abc import Callable

_PREFIX = "dumpty-drill-mysql-"
_SERVER_DIRECTORY = "d"
_SUPERVISOR = """exec 3<&0; "$@" & server=$!; { read _ <&3; kill -9 $server; } & wait $server"""
_START_SECONDS = 120
_REDO_CAPACITY_VERSION = (8, 0, 30)
"""From here on MySQL sizes its redo log by one option; the older ones are gone from 9.6 on."""
_EMPTY_SERVER_BYTES = 400 << 20
"""What an empty server takes up."""


class PrivateServer:
    """A server for one drill, as a context manager.

    Args:
        found: the program.
        room: how many bytes the dump has.
    """

    def __init__(self, program: LocalServer, *, dump_bytes: int) -> None:
        self._program = program
        self._needed_bytes = 3 * dump_bytes + _EMPTY_SERVER_BYTES
        self._uid: int | None = None
        self._directory: Path
        self._owned: OwnedDirectory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def account(self) -> str:
        """Say, for people, whom it runs as."""
        if self._uid is None:
            return f"as this user ({os.geteuid()}), for only root can give it an account of its own"
        return f"as the user id {self._uid}, which owns nothing"

    def source(self, database: str, user: str = "root", password: str = "") -> Source:
        """Return the source of ``database`` on it."""
        query = {"unix_socket": str(self._directory / "s")}
        return Source(scheme="mysql", username=user, password=password or None, database=database, query=query)

    def __enter__(self) -> Self:
        parent = self._parent()
        # Short: a socket's path has room for about a hundred bytes.
        self._uid = account.spare_account()
        self._owned = OwnedDirectory(parent, _PREFIX)
        self._directory = Path(self._owned.path) / _SERVER_DIRECTORY
        try:
            self._directory.mkdir(mode=0o700)
            if self._uid is not None:
                Path(self._owned.path).chmod(0o711)  # ours, for the lock; the server has its part, closed to others
                os.chown(self._directory, self._uid, self._uid)
            self._install()
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _parent(self) -> str:
        """Return a directory with room, and remove from it what killed drills left."""
        parents = list(dict.fromkeys([tempfile.gettempdir(), "/var/tmp"]))  # noqa: S108 - mkdtemp makes a private one
        for parent in parents:
            _clear(parent)
        for parent in parents:
            with contextlib.suppress(OSError):
                if os.access(parent, os.W_OK) and shutil.disk_usage(parent).free > self._needed_bytes:
                    return parent
        raise NotProvable(
            f"a private server with the restored database needs {self._needed_bytes >> 20} MiB, and neither of "
            f"{', '.join(parents)} has them: set TMPDIR to a directory with room, or name a server with --on"
        )

    def _arguments(self) -> list[str]:
        return ["--no-defaults", f"--datadir={self._directory / 'data'}", f"--tmpdir={self._directory}"]

    def _install(self) -> None:
        # What a loss of power would damage is made anew.
        unsafe_options = ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--skip-log-bin"]
        if self._program.flavour == "MariaDB":
            program = installer(self._program)
            options = [
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                *unsafe_options,
            ]
            argv = [program, *self._arguments(), "--innodb-log-file-size=48M", *options]
        else:
            argv = [self._program.program, *self._arguments(), "--initialize-insecure", *unsafe_options]
        completed = subprocess.run(  # noqa: S603 - found on the PATH
            account.confined(argv, self._uid),
            capture_output=True,
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            env=account.bare_environment(),
        )
        if completed.returncode:
            raise NotProvable(
                f"a private server could not be set up: {_last_error(completed.stdout + completed.stderr)}"
            )

    def _flavour_options(self) -> list[str]:
        """Return the options that only this kind of server knows."""
        if self._program.flavour == "MariaDB":
            return ["--innodb-log-file-size=48M"]
        # The X plugin would open a socket that anybody may write to, for a root without a password.
        return (
            ["--mysqlx=0", "--innodb-redo-log-capacity=100M"]
            if self._program.version >= _REDO_CAPACITY_VERSION
            else ["--mysqlx=0"]
        )

    def _start(self) -> None:
        log = self._directory / "log"
        socket_path = self._directory / "s"
        files = self._directory / "files"
        files.mkdir(mode=0o700)
        if self._uid is not None:
            os.chown(files, self._uid, self._uid)
        argv = [
            self._program.program,
            *self._arguments(),
            f"--socket={socket_path}",
            f"--pid-file={self._directory / 'pid'}",
            f"--log-error={log}",
            # Whoever wrote the dump reaches nothing from here: no network, no files, and no event runs.
            "--skip-networking",
            f"--secure-file-priv={files}",
            "--local-infile=0",
            "--event-scheduler=OFF",
            "--skip-log-bin",
            "--max-allowed-packet=1G",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
            "--innodb-buffer-pool-size=128M",
            "--character-set-server=utf8mb4",
            *self._flavour_options(),
        ]
        self._process = subprocess.Popen(  # noqa: S603 - found on the PATH
            account.confined(["/bin/sh", "-c", _SUPERVISOR, "sh", *argv], self._uid),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env=account.bare_environment(),
        )
        deadline = time.monotonic() + _START_SECONDS
        while not _is_listening(str(socket_path)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = log.read_bytes() if log.exists() else b""
                raise NotProvable(f"a private server did not start: {_last_error(log_text)}")
            time.sleep(0.05)

    def _stop(self) -> None:
        if self._process is not None:
            _ignoring_os_errors(self._process.stdin.close if self._process.stdin else lambda: None)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                _ignoring_os_errors(lambda: os.killpg(self._process.pid if self._process else 0, signal.SIGKILL))
                self._process.wait()
        if self._uid is not None:
            account.end_account(self._uid)
        self._owned.remove()


def _is_listening(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def _ignoring_os_errors(action: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        action()


def _last_error(output: bytes) -> str:
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or "rror:" in line]
    return (errors or lines or ["it said nothing"])[-1][:300]


def _clear(parent: str) -> None:
    """Remove the directories of drills whose owner is gone: nobody holds their lock."""
    OwnedDirectory.sweep(parent, _PREFIX)
