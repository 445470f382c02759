"""One real MariaDB server for the whole run: private directory, private socket, stopped whatever happens."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from dumpty import Source
from support.ports import free_port

_MEMORY = "/dev/shm"
_SUPERVISOR = """exec 3<&0; "$@" & server=$!; { read _ <&3; kill $server; } & wait $server"""
"""A shell that ends the server when its own input ends: that is, when the run ends, even by a kill."""
INSTALL = "apt-get install mariadb-server mariadb-client"
PASSWORD = "pa/ss:w@rd%41"  # every character a URL must encode
"""Password of the account ``tcp``, which connects over 127.0.0.1."""


def program(*names: str) -> str:
    """Return the path of the first of ``names``, or end the run: a missing server must never look like a pass."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    for name in names:
        path_found = shutil.which(name, path=path)
        if path_found:
            return path_found
    pytest.fail(f"{names[0]} is not installed: {INSTALL}", pytrace=False)


@dataclass
class MariaDBServer:
    """A running server: root over ``socket`` without password, ``tcp``/``PASSWORD`` over 127.0.0.1:``port``."""

    kind = "mariadb"
    program_name = "mariadb"
    foreign_comment = "/*!80"
    """What a statement for MySQL alone begins with: MariaDB takes it for a comment, and MySQL does not."""
    sees_routines = "SELECT ON mysql.proc"
    """The right to see routines that are another's."""
    directory: Path
    socket: str
    port: int
    user: str
    process: subprocess.Popen[bytes]

    def connect(self, database: str | None = None, user: str = "root", password: str = "", **options):
        import pymysql

        return pymysql.connect(
            unix_socket=self.socket,
            user=user,
            password=password,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            ssl_disabled=True,  # reading the machine's certificates takes longer than most statements
            **options,
        )

    def run(self, *statements: str, database: str | None = None) -> list[tuple]:
        """Execute every statement in one session and return the last one's rows."""
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    if isinstance(statement, bytes) or not statement.startswith(self.foreign_comment):
                        cursor.execute(statement)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def program(self, role: str) -> str:
        """Return the path of the server's own ``client`` or ``dump``."""
        return program(*{"client": ("mariadb", "mysql"), "dump": ("mariadb-dump", "mysqldump")}[role])

    def client(self, database: str | None, script: bytes, *arguments: str) -> bytes:
        """Run ``script`` through the server's own client and return its output; a failure is an assertion."""
        argv = [self.program("client"), "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch"]
        process = subprocess.run(
            [*argv, *arguments, *([database] if database else [])], input=script, capture_output=True, check=False
        )
        assert process.returncode == 0, process.stderr.decode()
        return process.stdout

    def dump(self, database: str, *arguments: str) -> str:
        """Return what the server's own dump writes of ``database``, without lines that differ from run to run."""
        argv = [self.program("dump"), "--no-defaults", f"--socket={self.socket}", "--user=root"]
        argv += ["--routines", "--events", "--triggers", "--hex-blob", "--skip-comments", "--skip-dump-date"]
        argv += ["--order-by-primary", *arguments, database]
        process = subprocess.run(argv, capture_output=True, check=False)
        assert process.returncode == 0, process.stderr.decode()
        return process.stdout.decode("utf-8", "surrogateescape")

    def source(self, database: str | None, *, user: str = "root", password: str | None = None, **query: str) -> Source:
        """Return the source for ``database`` over the private socket."""
        query = {"unix_socket": self.socket, **query}
        text = "&".join(f"{k}={quote(v, safe='/')}" for k, v in query.items())
        return Source(
            scheme="mysql",
            url=f"mysql://{user}:***@/{database or ''}?{text}",
            username=user,
            password=password,
            database=database,
            query=query,
            secrets=(password,) if password else (),
        )

    def url(self, database: str) -> str:
        """Return the URL of ``database`` over the private socket."""
        return f"mysql://root@/{quote(database)}?unix_socket={self.socket}"

    def tcp_source(self, database: str, *, password: str = PASSWORD, **query: str) -> Source:
        """Return the source for ``database`` over TCP, with a password."""
        return Source(
            scheme="mysql",
            url=f"mysql://tcp:***@127.0.0.1:{self.port}/{database}",
            host="127.0.0.1",
            port=self.port,
            username="tcp",
            password=password,
            database=database,
            query=query,
            secrets=(password,),
        )


def _install(directory: Path, user: str) -> Path:
    data = directory / "data"
    argv = [
        program("mariadb-install-db", "mysql_install_db"),
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        f"--user={user}",
    ]
    process = subprocess.run(argv, capture_output=True, check=False, cwd=directory)
    if process.returncode:
        pytest.fail(f"mariadb-install-db failed: {(process.stdout + process.stderr).decode()[-2000:]}", pytrace=False)
    return data


def start(
    kind: type[MariaDBServer], mysqld: str, directory: Path, data: Path, user: str, *options: str
) -> MariaDBServer:
    """Start ``mysqld`` on ``data`` and wait until it answers."""
    sock = str(directory / "s")
    port = free_port()
    log = directory / "log"
    argv = [
        mysqld,
        "--no-defaults",
        f"--datadir={data}",
        f"--socket={sock}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--user={user}",
        f"--pid-file={directory / 'pid'}",
        f"--tmpdir={directory}",
        f"--log-error={log}",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=0",
        "--innodb-buffer-pool-size=128M",
        "--character-set-server=utf8mb4",
        "--event-scheduler=OFF",
        "--skip-name-resolve",
        "--max-connections=100",
        *options,
    ]
    process = subprocess.Popen(
        ["sh", "-c", _SUPERVISOR, "sh", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    server = kind(directory=directory, socket=sock, port=port, user=user, process=process)
    try:
        _wait_until_ready(server, log)
    except BaseException:
        stop(server)
        raise
    return server


def _wait_until_ready(server: MariaDBServer, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        if server.process.poll() is not None or time.monotonic() > deadline:
            text = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            pytest.fail(f"{server.kind} did not start: {text}", pytrace=False)
        # A bare socket first: pymysql leaks one for each attempt that nobody answers.
        with socket.socket(socket.AF_UNIX) as probe:
            answers = probe.connect_ex(server.socket) == 0
        if answers:
            server.connect().close()
            return
        time.sleep(0.05)


def stop(server: MariaDBServer) -> None:
    """End a server, by force if it must be."""
    assert server.process.stdin
    server.process.stdin.close()
    try:
        server.process.wait(30)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait(30)


def _roomy(path: str) -> bool:
    return os.access(path, os.W_OK) and shutil.disk_usage(path).free > 4 << 30


@contextlib.contextmanager
def data_directory() -> Iterator[tuple[Path, str]]:
    """Lend a directory for a server and the name of the account that it runs as."""
    # Short: a socket's path has 108 bytes. In memory where there is room: every CREATE and DROP waits for the disk.
    directory = Path(tempfile.mkdtemp(prefix="dmy", dir=_MEMORY if _roomy(_MEMORY) else "/tmp"))
    try:
        user = "mysql" if os.geteuid() == 0 else getpass.getuser()
        if os.geteuid() == 0:
            shutil.chown(directory, user)
        directory.chmod(0o755)
        yield directory, user
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def running_server(*more_options: str) -> Iterator[MariaDBServer]:
    """Start a server of its own, with ``more_options``, and stop it on the way out."""
    with data_directory() as (directory, user):
        mysqld = program("mariadbd", "mysqld")
        data = _install(directory, user)
        options = ["--innodb-log-file-size=48M", "--skip-log-bin", *more_options]
        server = start(MariaDBServer, mysqld, directory, data, user, *options)
        try:
            server.run(f"CREATE USER tcp@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'", "GRANT ALL ON *.* TO tcp@'127.0.0.1'")
            yield server
        finally:
            stop(server)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    """A MariaDB server, once per run."""
    with running_server() as server:
        yield server
