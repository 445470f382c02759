"""A statement whose connection was lost may still wait on the server: it must not happen once all was put back."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from plugins.mysql.test_putting_back import BROAD, everything
from support.drive import FileDump, dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as driver
from dumpty import SourceError
from dumpty_plugins.mysql.server.session import Session

OLD = [
    "CREATE TABLE kept (id INT PRIMARY KEY)",
    "INSERT INTO kept VALUES (1),(2)",
    "CREATE TRIGGER first BEFORE INSERT ON kept FOR EACH ROW SET NEW.id = NEW.id * 2",
]
NEW = ["CREATE TABLE kept (id INT PRIMARY KEY)", "INSERT INTO kept VALUES (7)"]


@pytest.fixture
def new_backup(server: MariaDBServer, database, tmp_path: Path) -> FileDump:
    return dump(driver, server.source(database(*NEW)), tmp_path / "new.sql", "sql")


@pytest.fixture
def user(server: MariaDBServer, account) -> Iterator[str]:
    """An account that may not lock tables: its statements may have to wait."""
    definer_privileges = "SET USER" if server.kind == "mariadb" else "SET_ANY_DEFINER, SYSTEM_USER, SHOW_ROUTINE"
    server.run("SET GLOBAL log_bin_trust_function_creators=1")
    yield account(
        f"{BROAD}, CREATE ROUTINE, ALTER ROUTINE, EXECUTE ON *.*", f"{definer_privileges} ON *.*", "SELECT ON mysql.*"
    )
    server.run("SET GLOBAL log_bin_trust_function_creators=0")


class Relay:
    """Stands between a client and a server, and drops clients of which the server hears nothing."""

    def __init__(self, path: Path, server: str) -> None:
        self.path = str(path)
        self._server = server
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._forgotten: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._pairs.append((client, server))
                for source, destination in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, destination), daemon=True).start()

    def _pass(self, source: socket.socket, destination: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                destination.sendall(data)
        if any({source, destination} == set(pair) for pair in self._pairs):
            with contextlib.suppress(OSError):
                destination.shutdown(socket.SHUT_WR)

    def drop(self) -> None:
        """Drop every client of now."""
        self._forgotten, self._pairs = self._pairs, []
        for client, _ in self._forgotten:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        for pair in (*self._pairs, *self._forgotten):
            for end in pair:
                end.close()


def wait_until(condition) -> None:
    """Wait for a condition, with a generous end."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def waits(server: MariaDBServer, statement: str) -> bool:
    """Whether a session waits for a lock on a table with a statement like this."""
    return bool(
        server.run(
            "SELECT 1 FROM information_schema.PROCESSLIST "
            f"WHERE STATE LIKE 'Waiting for table%' AND INFO LIKE '{statement}%'"
        )
    )


@pytest.mark.parametrize("start", ["RENAME", "DROP TRIGGER IF"])
def test_what_a_lost_connection_still_waits_for_does_not_happen_after_all_was_put_back(
    server: MariaDBServer,
    database,
    user: str,
    new_backup: FileDump,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path,
    start: str,
) -> None:
    target = database(*OLD)
    before = everything(server, target)
    relay = Relay(tmp_path / "s", server.socket)
    source = server.source(target, user=user)
    source = replace(source, query={**source.query, "unix_socket": relay.path})
    holder = server.connect(target)
    execute = Session.execute
    threads: list[threading.Thread] = []
    over = threading.Event()

    def lose() -> None:
        wait_until(lambda: waits(server, start))
        relay.drop()
        wait_until(lambda: waits(server, "CREATE ") or over.is_set())
        holder.rollback()

    def losing(session: Session, sql: str | bytes) -> tuple[int, int]:
        if not threads and str(sql).startswith(start):
            holder.begin()
            with holder.cursor() as cursor:
                cursor.execute("SELECT * FROM kept")
            threads.append(threading.Thread(target=lose))
            threads[0].start()
        return execute(session, sql)

    monkeypatch.setattr(Session, "execute", losing)
    try:
        with pytest.raises(SourceError, match="the connection was lost"):
            load(driver, source, new_backup, overwrite=True, lock_timeout=20)
    finally:
        over.set()
        threads[0].join()
        holder.close()
        wait_until(lambda: not waits(server, start))
        relay.close()
    assert everything(server, target) == before
