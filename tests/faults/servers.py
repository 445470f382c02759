"""Databases of both servers whose every row says which version of it this is; and a proxy that cuts connections."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import Self

ROWS = 3000


class Postgres:
    """One kind of server, as the tests need it."""

    name = "postgres"
    program = "pg_dump"

    def __init__(self, server) -> None:
        self.server = server
        self.socket = str(server.sockets / f".s.PGSQL.{server.port}")

    def url(self, database: str) -> str:
        return self.server.url(database)

    def through(self, database: str, directory: str) -> str:
        """Return the URL of a database by way of a proxy's socket in ``directory``."""
        return f"postgresql://postgres@/{database}?host={directory}&port={self.server.port}"

    def proxy_socket(self, directory: str) -> str:
        return f"{directory}/.s.PGSQL.{self.server.port}"

    def make(self, database: str, version: int = 0) -> None:
        self.drop(database)
        self.server.script(
            self.server.create(database),
            "CREATE TABLE t (i int PRIMARY KEY, version int, pad text); CREATE TABLE u (version int);"
            f"INSERT INTO t SELECT n, {version}, repeat('x', 300) FROM generate_series(1, {ROWS}) n;"
            f"INSERT INTO u VALUES ({version});",
        )

    def drop(self, database: str) -> None:
        self.server.drop(database)

    def execute(self, sql: str, database: str):
        return self.server.execute(sql, database=database)

    def databases(self) -> set[str]:
        """Return the names of all databases, half-made ones included."""
        return self.server.databases()

    @contextlib.contextmanager
    def locked(self, database: str):
        """Within the block, somebody holds the table t of a database for himself."""
        with contextlib.closing(self.server.connect(database)) as connection, connection.cursor() as cursor:
            connection.autocommit = False
            cursor.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            yield

    def sessions(self, database: str) -> int:
        return self.server.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", database)[0][0]


class MariaDB:
    """The other kind of server, MySQL as well."""

    name = "mariadb"
    program = ""

    def __init__(self, server) -> None:
        self.server = server
        self.socket = server.socket

    def url(self, database: str) -> str:
        return self.server.url(database)

    def through(self, database: str, directory: str) -> str:
        """Return the URL of a database by way of a proxy's socket in ``directory``."""
        return f"mysql://root@/{database}?unix_socket={directory}/s"

    def proxy_socket(self, directory: str) -> str:
        return f"{directory}/s"

    def make(self, database: str, version: int = 0) -> None:
        self.drop(database)
        self.server.run(f"CREATE DATABASE `{database}`")
        rows = ", ".join(f"({n}, {version}, repeat('x', 300))" for n in range(1, ROWS + 1))
        self.server.run(
            "CREATE TABLE t (i int PRIMARY KEY, version int, pad text)",
            "CREATE TABLE u (version int)",
            f"INSERT INTO t VALUES {rows}",
            f"INSERT INTO u VALUES ({version})",
            database=database,
        )

    def drop(self, database: str) -> None:
        for name in [n for n in self.databases() if n == database or n.startswith(f"{database}__dumpty")]:
            self.server.run("SET FOREIGN_KEY_CHECKS=0", f"DROP DATABASE `{name}`")

    def execute(self, sql: str, database: str):
        return self.server.run(sql, database=database)

    def databases(self) -> set[str]:
        """Return the names of all databases, half-made ones included."""
        return {row[0] for row in self.server.run("SHOW DATABASES")}

    @contextlib.contextmanager
    def locked(self, database: str):
        """Within the block, somebody holds the table t of a database for himself."""
        with contextlib.closing(self.server.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLES t WRITE")
            yield

    def sessions(self, database: str) -> int:
        sql = f"SELECT count(*) FROM information_schema.processlist WHERE db = '{database}'"
        return self.server.run(sql)[0][0]


def version_of(server, database: str) -> int:
    """Return the one version that a whole database is of; anything less than whole is an assertion."""
    assert tuple(server.execute("SELECT count(*) FROM t", database)[0]) == (ROWS,)
    rows = server.execute("SELECT version FROM t UNION SELECT version FROM u", database)
    assert len(rows) == 1, rows
    return rows[0][0]


def idle(server, database: str) -> bool:
    """Wait until nobody is in a database any more; return whether it came to that."""
    deadline = time.monotonic() + 20
    while server.sessions(database):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Proxy:
    """Passes connections on from one unix socket to another, and cuts them all after so many bytes.

    With ``cut_behind`` it does so where the server answers a client that has sent these words: they have been heard.
    What clients send is passed on in pieces of 16 KiB, ``pause`` seconds before each.
    """

    def __init__(
        self, path: str, target: str, *, cut_after: int = 1 << 40, cut_behind: bytes = b"", pause: float = 0.0
    ) -> None:
        self._target = target
        self._pause = pause
        self._bytes_left = cut_after
        self._words = cut_behind
        self._last_words = False
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.passed = 0
        self.cut = False
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
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._end()
        for thread in self._threads:
            thread.join(10)
        for connected in self._open:
            connected.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            self._open += [client, upstream]
            if self.cut:
                client.shutdown(socket.SHUT_RDWR)
                continue
            upstream.connect(self._target)
            for a, b in ((client, upstream), (upstream, client)):
                thread = threading.Thread(target=self._pass, args=(a, b), kwargs={"asks": a is client}, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket, *, asks: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                with self._lock:
                    self.passed += len(data)
                    self._bytes_left -= len(data)
                    if self._bytes_left < 0 or (self._last_words and not asks):
                        self.cut = True
                    self._last_words |= asks and self._words != b"" and self._words in data
                if self.cut:
                    self._end()
                    return
                if asks and self._pause:
                    time.sleep(self._pause)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _end(self) -> None:
        for connected in list(self._open):
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
