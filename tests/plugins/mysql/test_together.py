"""Several connections share one snapshot, and the writers of other databases never wait for that."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugins.mysql.test_snapshot import ids, pair, writers
from support.drive import dump
from support.mariadb_server import MariaDBServer, running_server

import dumpty_plugins.mysql.plugin as driver
from dumpty_plugins.mysql.server.session import Session

PAIRS = [
    "CREATE TABLE a_first (id INT PRIMARY KEY)",
    "CREATE TABLE filler (id INT PRIMARY KEY, a TEXT)",
    "INSERT INTO filler SELECT seq, REPEAT('x', 500) FROM seq_1_to_200",
    "CREATE TABLE z_last (id INT PRIMARY KEY)",
]
NUMBERED = "CREATE TABLE t (id INT PRIMARY KEY)"


@pytest.fixture(scope="module")
def logged() -> Iterator[MariaDBServer]:
    """A MariaDB server that writes a binary log."""
    with running_server("--log-bin=log", "--server-id=1") as server:
        server.run("CREATE DATABASE pairs", "USE pairs", *PAIRS)
        yield server


def insert(connection, number: int) -> None:
    """Write one row; whoever waits a second for a lock that is not a row's fails."""
    with connection.cursor() as cursor:
        if number % 10_000_000 == 1:
            cursor.execute("SET SESSION lock_wait_timeout=1")
        cursor.execute(f"INSERT INTO t VALUES ({number})")
    connection.commit()


@contextlib.contextmanager
def long_insert(server: MariaDBServer, name: str, *, for_long: bool = False) -> Iterator[None]:
    """Let an INSERT … SELECT run in the table ``slow`` of ``name``; ``for_long``: for more than a second already."""
    connection = server.connect(name)
    number = connection.thread_id()

    def work() -> None:
        with contextlib.suppress(Exception), connection.cursor() as cursor:
            cursor.execute("INSERT INTO slow SELECT SLEEP(600)")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        query = f"SELECT 1 FROM information_schema.PROCESSLIST WHERE ID={number} AND INFO LIKE 'INSERT%' AND TIME>="
        while not server.run(f"{query}{2 if for_long else 0}"):
            assert thread.is_alive()
        yield
    finally:
        server.run(f"KILL {number}")
        thread.join()
        connection.close()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a backup says to the server."""
    executed: list[str] = []
    execute = Session.execute

    def noting(self: Session, sql: str | bytes) -> tuple[int, int]:
        executed.append(str(sql))
        return execute(self, sql)

    monkeypatch.setattr(Session, "execute", noting)
    return executed


def wait_until(condition) -> None:
    """Wait for a condition, with a generous end."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_with_a_binary_log_equal_positions_are_one_snapshot(
    logged: MariaDBServer, tmp_path: Path, statements: list[str]
) -> None:
    with writers(logged, "pairs", pair):
        for _ in range(30):
            backup = dump(driver, logged.source("pairs"), tmp_path / "d", "sql", jobs=3)
            text = backup.file.read_bytes()
            assert ids(text, "a_first") == ids(text, "z_last")
            assert backup.evidence.properties["snapshot"] == "binary log position"
            assert backup.evidence.notes == ()
    assert ids(text, "a_first")
    assert not [s for s in statements if s.startswith(("LOCK", "FLUSH"))]


def test_positions_are_not_trusted_where_a_replica_may_write_beside_the_log(
    logged: MariaDBServer, tmp_path: Path
) -> None:
    logged.run("CHANGE MASTER 'elsewhere' TO MASTER_HOST='127.0.0.1'")
    try:
        backup = dump(driver, logged.source("pairs"), tmp_path / "d", "sql", jobs=2)
    finally:
        logged.run("RESET SLAVE 'elsewhere' ALL")
    assert backup.evidence.properties["snapshot"] == "table locks"


def test_an_account_that_may_not_ask_about_the_log_gets_its_snapshot_otherwise(
    logged: MariaDBServer, tmp_path: Path
) -> None:
    logged.run("CREATE USER plain@localhost", "GRANT ALL ON pairs.* TO plain@localhost")
    backup = dump(driver, logged.source("pairs", user="plain"), tmp_path / "d", "sql", jobs=2, routines=False)
    assert backup.evidence.properties["snapshot"] == "table locks"


def shared(server: MariaDBServer, backup) -> bool:
    """Return whether the connections shared a snapshot; MySQL reads over one, as a matter of course."""
    method = backup.evidence.properties["snapshot"]
    assert method == ("table locks" if backup.evidence.notes == () and server.kind == "mariadb" else "one connection")
    return method == "table locks"


def test_writers_of_other_databases_go_on_behind_a_long_insert(
    server: MariaDBServer, database, tmp_path: Path, statements: list[str]
) -> None:
    name = database(*PAIRS)
    slow_database, other_database = database("CREATE TABLE slow (n INT)"), database(NUMBERED)
    with long_insert(server, slow_database), writers(server, other_database, insert):
        ((before,),) = server.run("SELECT COUNT(*) FROM t", database=other_database)
        backup = dump(driver, server.source(name), tmp_path / "d", "sql", jobs=2)
        wait_until(lambda: server.run("SELECT COUNT(*) FROM t", database=other_database)[0][0] > before)
    assert shared(server, backup) == (server.kind == "mariadb")
    assert backup.evidence.notes == ()
    assert not [s for s in statements if s.startswith("FLUSH")]


def test_nobody_waits_where_there_is_no_moment_without_writers(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(*PAIRS, "CREATE TABLE slow (n INT)", NUMBERED)
    holder = server.connect(name)
    try:
        holder.autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute("INSERT INTO slow VALUES (1)")
        with writers(server, name, insert):
            backup = dump(driver, server.source(name), tmp_path / "d", "sql", jobs=2, lock_timeout=60)
    finally:
        holder.close()
    assert not shared(server, backup)
    assert all(n.startswith("one connection instead of 2: ") for n in backup.evidence.notes)
    assert {o.path: o.rows for o in backup.evidence.objects}["slow"] == 0


def test_no_transaction_of_a_writer_is_ended_for_a_backup(server: MariaDBServer, database, tmp_path: Path) -> None:
    # A lock that is waited for is in the way of whoever has one table and wants the next: the server ends the writer.
    name = database(*PAIRS)
    with writers(server, name, pair, 4):
        for _ in range(10):
            backup = dump(driver, server.source(name), tmp_path / "d", "sql", jobs=2)
            text = backup.file.read_bytes()
            assert ids(text, "a_first") == ids(text, "z_last")
    assert ids(text, "a_first")


@pytest.mark.parametrize("engine", ["Aria", "MyISAM"])
def test_a_writer_who_comes_while_the_tables_are_being_locked_stops_nobody(
    mariadb: MariaDBServer, database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    # Who has such a table locked and asks for it again over another session stands behind a writer who waits for it.
    name = database(f"CREATE TABLE m (id INT) ENGINE={engine}", NUMBERED)
    execute = Session.execute
    connection = mariadb.connect(name)
    arrived: list[threading.Thread] = []

    def coming(session: Session, sql: str | bytes) -> tuple[int, int]:
        result = execute(session, sql)
        if str(sql).startswith("LOCK TABLES") and not arrived:
            arrived.append(threading.Thread(target=connection.cursor().execute, args=("INSERT INTO m VALUES (1)",)))
            arrived[0].start()
            waiting = (
                f"SELECT 1 FROM information_schema.PROCESSLIST WHERE ID={connection.thread_id()} AND STATE LIKE 'W%'"
            )
            wait_until(lambda: not arrived[0].is_alive() or mariadb.run(waiting))
        return result

    monkeypatch.setattr(Session, "execute", coming)
    try:
        backup = dump(driver, mariadb.source(name), tmp_path / "d", "sql", jobs=2, lock_timeout=5)
        arrived[0].join()
    finally:
        connection.close()
    assert backup.evidence.properties["snapshot"] == "table locks"
    assert backup.evidence.notes == ()
    assert {o.path: o.rows for o in backup.evidence.objects} == {"m": 1, "t": 0}


def test_a_long_statement_in_the_same_database_is_not_even_waited_for(
    mariadb: MariaDBServer, database, tmp_path: Path, statements: list[str]
) -> None:
    name = database(*PAIRS, "CREATE TABLE slow (n INT)", NUMBERED)
    with long_insert(mariadb, name, for_long=True), writers(mariadb, name, insert):
        backup = dump(driver, mariadb.source(name), tmp_path / "d", "sql", jobs=2)
    (note,) = backup.evidence.notes
    assert "has been writing for more than a second" in note
    assert backup.evidence.properties["snapshot"] == "one connection"
    assert not [s for s in statements if s.startswith("LOCK TABLES")]


@contextlib.contextmanager
def prepared(server: MariaDBServer, name: str) -> Iterator[None]:
    """Prepare a transaction that writes a row into ``a`` and ``b`` of ``name``; its session ends."""
    connection = server.connect(name)
    number = connection.thread_id()
    with connection.cursor() as cursor:
        for statement in (
            "XA START 'x'",
            *(f"INSERT INTO {t} VALUES (1)" for t in "ab"),
            "XA END 'x'",
            "XA PREPARE 'x'",
        ):
            cursor.execute(statement)
    connection.close()
    wait_until(lambda: not server.run(f"SELECT 1 FROM information_schema.PROCESSLIST WHERE ID={number}"))
    try:
        yield
    finally:
        if server.run("XA RECOVER"):
            server.run("XA ROLLBACK 'x'")


def test_a_prepared_transaction_that_is_committed_meanwhile_is_there_wholly_or_not_at_all(
    mariadb: MariaDBServer, database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = database("CREATE TABLE a (id INT)", "CREATE TABLE b (id INT)")
    execute = Session.execute
    begun: list[str] = []

    def committing(session: Session, sql: str | bytes) -> tuple[int, int]:
        if str(sql).endswith("CONSISTENT SNAPSHOT"):
            begun.append(str(sql))
            if len(begun) == 2:
                mariadb.run("XA COMMIT 'x'")
        return execute(session, sql)

    monkeypatch.setattr(Session, "execute", committing)
    with prepared(mariadb, name):
        backup = dump(driver, mariadb.source(name), tmp_path / "d", "sql", jobs=3)
    assert len({o.rows for o in backup.evidence.objects}) == 1
    assert backup.evidence.properties["snapshot"] == "one connection"
    (note,) = backup.evidence.notes
    assert "prepared" in note


def test_positions_are_not_trusted_while_a_transaction_is_prepared(logged: MariaDBServer, tmp_path: Path) -> None:
    logged.run("CREATE DATABASE xa", "USE xa", "CREATE TABLE a (id INT)", "CREATE TABLE b (id INT)")
    with prepared(logged, "xa"):
        backup = dump(driver, logged.source("xa"), tmp_path / "d", "sql", jobs=3)
    assert backup.evidence.properties["snapshot"] == "one connection"
    backup = dump(driver, logged.source("xa"), tmp_path / "e", "sql", jobs=3)
    assert backup.evidence.properties["snapshot"] == "binary log position"
