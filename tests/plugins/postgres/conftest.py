from __future__ import annotations

import builtins
import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from support.ports import free_port

from dumpty import Source
from dumpty_plugins.postgres.dumping import plan


class Databases:
    """Hands out databases of one server, and drops them and whatever a restore left, at the test's end."""

    def __init__(self, server) -> None:
        self.server = server
        self._before = server.databases()

    def name(self) -> str:
        return f"t_{uuid.uuid4().hex[:8]}"

    def new(self, sql: str = "", options: str = "") -> str:
        name = self.server.create(options=options)
        if sql:
            self.server.script(name, sql)
        return name

    def source(self, database: str, user: str = "postgres", password: str | None = None, **query: str) -> Source:
        return Source(
            scheme="postgresql",
            url=f"postgresql://{user}{':***' if password else ''}@/{database}",
            username=user,
            password=password,
            database=database,
            query={"host": str(self.server.sockets), "port": str(self.server.port), **query},
            secrets=(password,) if password else (),
        )

    def made_databases(self) -> set[str]:
        """Return the databases that exist now and did not before the test."""
        return self.server.databases() - self._before

    def drop(self) -> None:
        with contextlib.closing(self.server.connect()) as connection, connection.cursor() as cursor:
            for name in self.made_databases():
                quoted = name.replace('"', '""')
                cursor.execute(f'DROP DATABASE IF EXISTS "{quoted}" WITH (FORCE)')


@pytest.fixture
def dbs(postgres):
    databases = Databases(postgres)
    yield databases
    databases.drop()


@pytest.fixture
def newer_dbs(postgres_newer):
    databases = Databases(postgres_newer)
    yield databases
    databases.drop()


@pytest.fixture
def role(postgres):
    """A role that may log in with a password, as (name, password)."""
    name, password = f"r_{uuid.uuid4().hex[:8]}", f"s3cret {uuid.uuid4().hex}'\\@"
    postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD %s", password)
    yield name, password
    for (database,) in postgres.execute("SELECT datname FROM pg_database WHERE datallowconn"):
        postgres.execute(f"REASSIGN OWNED BY {name} TO postgres", database=database)
        postgres.execute(f"DROP OWNED BY {name}", database=database)
    postgres.execute(f"DROP ROLE {name}")


@pytest.fixture
def fake_client(tmp_path, postgres, request):
    """Make a directory with a ``pg_dump`` (or other) script around the real one; return the directory."""

    def make(script: str, program: str = "pg_dump", bindir: Path | None = None) -> str:
        directory = tmp_path / "bin"
        directory.mkdir(exist_ok=True)
        real = (bindir or postgres.bindir) / program
        path = directory / program
        path.unlink(missing_ok=True)
        path.write_text(
            "#!/bin/bash\n"
            f"REAL={real}\n"
            'for a in "$@"; do if [ "$a" = --version ]; then exec $REAL --version; fi; done\n' + script
        )
        path.chmod(0o755)
        psql = directory / "psql"  # which a parallel backup takes from the same directory
        if "parallel" in request.node.nodeid and not psql.exists():
            psql.symlink_to(postgres.bindir / "psql")
        return str(directory)

    return make


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """The caller's PG* variables decide nothing here."""
    for name in list(os.environ):
        if re.match(r"PG[A-Z]", name):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Of the format parallel, every table that has a row comes in parts, and one of several pages in several."""
    monkeypatch.setattr(plan, "LARGE_BYTES", 1)
    monkeypatch.setattr(plan, "RANGE_BYTES", (3 * 8192, 1 << 20))


@pytest.fixture
def without_psycopg2(monkeypatch):
    """Return a call that makes psycopg2 unimportable for the driver, and for nobody else; called again, ends it."""
    real = builtins.__import__
    on: list[bool] = []

    def importing(name, globals=None, locals=None, fromlist=(), level=0):
        if on and name.split(".")[0] == "psycopg2" and str((globals or {}).get("__name__")).startswith("dumpty"):
            raise ImportError("No module named 'psycopg2'")
        return real(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", importing)
    return lambda: on.clear() if on else on.append(True)


@pytest.fixture
def pooler(postgres, tmp_path_factory):
    """The port of a pgbouncer before the server, which lets everybody in; its socket is in the same directory."""
    directory = tmp_path_factory.mktemp("pool")
    port = free_port()
    (directory / "users").write_text('"postgres" ""\n')
    settings = {
        "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "any",
        "pool_mode": "transaction", "ignore_startup_parameters": "extra_float_digits",
    }  # fmt: skip
    server = f"* = host={postgres.sockets} port={postgres.port} user=postgres"
    text = "[databases]\n" + server + "\n[pgbouncer]\n" + "".join(f"{k} = {v}\n" for k, v in settings.items())
    (directory / "pgbouncer.ini").write_text(text)
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    argv = [str(program), "-q", str(directory / "pgbouncer.ini")]
    if os.getuid() == 0:  # which it refuses to run as
        directory.chmod(0o755)
        (directory / "pgbouncer.ini").chmod(0o644)
        argv[1:1] = ["-u", "postgres"]
    process = subprocess.Popen(argv, cwd="/", stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()
