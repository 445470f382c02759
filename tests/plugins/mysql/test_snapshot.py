"""A dump is of one moment, or it is an error: writers, DDL, engines without snapshots, lost connections."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pymysql
import pytest
from plugins.mysql.content import cells
from plugins.mysql.loading import remaining_sessions
from support.drive import FileSink, defaults, dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as mysql
from dumpty import IntegrityError, Locked, SourceError
from dumpty_plugins.mysql.server.session import Session

FORMATTING = ("server", "client")


class Interrupting(FileSink):
    """A sink that does something once, when the first block of the dump arrives."""

    def __init__(self, path: Path, act: Callable[[], None]) -> None:
        super().__init__(path)
        self.act: Callable[[], None] | None = act

    def write(self, data) -> int:
        if self.act:
            act, self.act = self.act, None
            act()
        return super().write(data)


def dump_interrupted(server: MariaDBServer, name: str, path: Path, act: Callable[[], None], **options):
    sink = Interrupting(path, act)
    try:
        return mysql.backup(
            source=server.source(name), sink=sink, format="sql", options=defaults(mysql, "backup", **options)
        )
    finally:
        sink.close()


@contextmanager
def writers(server: MariaDBServer, name: str, work: Callable[..., None], count: int = 2) -> Iterator[None]:
    stop = threading.Event()
    failures: list[BaseException] = []

    def run(number: int) -> None:
        connection = server.connect(name)
        try:
            connection.autocommit(False)
            turn = 0
            while not stop.is_set():
                turn += 1
                work(connection, number * 10_000_000 + turn)
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(1, count + 1)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures


def pair(connection, number: int) -> None:
    """One transaction: a row in each table, the same in both; the far table first, the near one last."""
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO z_last VALUES ({number})")
        cursor.execute(f"INSERT INTO a_first VALUES ({number})")
        if number % 3 == 0:
            cursor.execute(f"DELETE FROM a_first WHERE id={number - 1}")
            cursor.execute(f"DELETE FROM z_last WHERE id={number - 1}")
    connection.commit()
    time.sleep(0.001)


def ids(text: bytes, table: str) -> set[int]:
    insert = re.search(rb"INSERT INTO `%b` [^\n]*\n(.*?);\n" % table.encode(), text, re.DOTALL)
    return set(map(int, re.findall(rb"\d+", insert[1]))) if insert else set()


@pytest.mark.parametrize("formatting", FORMATTING)
def test_no_backup_holds_half_a_pair_while_writers_commit(
    server: MariaDBServer, database, tmp_path: Path, formatting: str
) -> None:
    name = database(
        "CREATE TABLE a_first (id INT PRIMARY KEY)",
        "CREATE TABLE filler (id INT PRIMARY KEY, a TEXT)",
        "INSERT INTO filler SELECT seq, REPEAT('x', 500) FROM seq_1_to_1000",
        "CREATE TABLE z_last (id INT PRIMARY KEY)",
    )
    sizes, noted = set(), 0
    with writers(server, name, pair):
        for _ in range(50):
            backup = dump(mysql, server.source(name), tmp_path / "d", "sql", formatting=formatting)
            text = backup.file.read_bytes()
            first, last = ids(text, "a_first"), ids(text, "z_last")
            assert first == last
            rows = {o.path: o.rows for o in backup.evidence.objects}
            assert rows["a_first"] == rows["z_last"] == len(first)
            # Writers that leave no moment free have it read by one connection.
            assert all(note.startswith("one connection instead of ") for note in backup.evidence.notes)
            noted += len(backup.evidence.notes)
            sizes.add(len(first))
    assert len(sizes) > 5  # the writers were at work
    assert noted < 25, "most were read by all of their connections"


@pytest.mark.parametrize("formatting", FORMATTING)
def test_tables_without_transactions_are_frozen_with_the_rest(
    server: MariaDBServer, database, tmp_path: Path, formatting: str
) -> None:
    name = database(
        *(
            f"CREATE TABLE {t} (id INT PRIMARY KEY, a CHAR(200)) ENGINE={e}"
            for t, e in (
                ("a_first", "MyISAM"),
                ("m", "InnoDB"),
                ("z_last", "Aria" if server.kind == "mariadb" else "MyISAM"),
            )
        ),
    )

    def work(connection, number: int) -> None:
        with connection.cursor() as cursor:
            # In this order every moment has as many in z_last as in a_first, or one per writer more.
            for table in ("z_last", "m", "a_first"):
                cursor.execute(f"INSERT INTO {table} VALUES ({number}, 'x')")
                connection.commit()

    with writers(server, name, work):
        for _ in range(10):
            backup = dump(mysql, server.source(name), tmp_path / "d", "sql", formatting=formatting, lock_timeout=20)
            rows = {o.path: o.rows or 0 for o in backup.evidence.objects}
            assert rows["a_first"] <= rows["m"] <= rows["z_last"] <= rows["a_first"] + 2
    assert rows["a_first"] > 10


@pytest.mark.parametrize("formatting", FORMATTING)
@pytest.mark.parametrize(
    "ddl", ["TRUNCATE TABLE b", "DROP TABLE b", "ALTER TABLE b ADD c INT DEFAULT 1", "RENAME TABLE b TO d"]
)
def test_ddl_waits_until_the_dump_is_done(
    server: MariaDBServer, database, tmp_path: Path, formatting: str, ddl: str
) -> None:
    name = database(
        "CREATE TABLE a (id INT PRIMARY KEY, t LONGTEXT)",
        "INSERT INTO a SELECT seq, REPEAT('x', 200000) FROM seq_1_to_15",
        "CREATE TABLE b (id INT PRIMARY KEY)",
        "INSERT INTO b VALUES (1),(2),(3)",
    )
    altered = threading.Event()

    def alter() -> None:
        server.run(ddl, database=name)
        altered.set()

    thread = threading.Thread(target=alter)

    def act() -> None:
        thread.start()
        assert not altered.wait(0.5)

    evidence = dump_interrupted(server, name, tmp_path / "d", act, formatting=formatting)
    thread.join(10)
    assert altered.is_set()
    assert {o.path: o.rows for o in evidence.objects} == {"a": 15, "b": 3}


def test_objects_that_change_whenever_a_backup_begins_are_an_error(
    server: MariaDBServer, database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = database("CREATE TABLE a (id INT PRIMARY KEY)")
    execute = Session.execute
    created: list[str] = []

    def churning(session: Session, sql: str | bytes) -> tuple[int, int]:
        if str(sql) == "START TRANSACTION":  # the objects have been listed, and will be again
            created.append(f"n{len(created)}")
            server.run(f"CREATE TABLE {created[-1]} (id INT)", database=name)
        return execute(session, sql)

    monkeypatch.setattr(Session, "execute", churning)
    with pytest.raises(Locked, match="created, altered or dropped each time a backup began"):
        dump(mysql, server.source(name), tmp_path / "d", "sql")
    assert len(created) > 1


def test_a_table_locked_for_writing_is_an_error_in_time(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE a (id INT PRIMARY KEY)")
    holder = server.connect(name)
    try:
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLES a WRITE")
        with pytest.raises(Locked, match=rf"a table of {name} .*altered, or locked \(a\): waited 1 s.*lock_timeout"):
            dump(mysql, server.source(name), tmp_path / "d", "sql", lock_timeout=1)
    finally:
        holder.close()


@pytest.mark.parametrize("formatting", FORMATTING)
def test_a_connection_killed_midway_is_an_error(
    server: MariaDBServer, database, tmp_path: Path, formatting: str
) -> None:
    name = database(
        "CREATE TABLE a (id INT PRIMARY KEY, t LONGTEXT)",
        "INSERT INTO a SELECT seq, REPEAT('x', 500000) FROM seq_1_to_40",
    )

    def kill_all() -> None:
        for (number,) in server.run(
            f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB='{name}' AND ID<>CONNECTION_ID()"
        ):
            with suppress(pymysql.err.OperationalError):  # one that was over, and still listed
                server.run(f"KILL {number}")

    with pytest.raises(SourceError, match=r"lost|closed|gone"):
        dump_interrupted(server, name, tmp_path / "d", kill_all, formatting=formatting)
    assert b"-- dumpty: complete" not in (tmp_path / "d").read_bytes()


def test_a_lost_holder_of_the_locks_is_an_error(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(
        "CREATE TABLE a (id INT PRIMARY KEY, t LONGTEXT)",
        "INSERT INTO a SELECT seq, REPEAT('x', 500000) FROM seq_1_to_10",
    )

    def kill_the_oldest() -> None:
        ((number,),) = server.run(f"SELECT MIN(ID) FROM information_schema.PROCESSLIST WHERE DB='{name}'")
        server.run(f"KILL {number}")

    assert remaining_sessions(server, name) == []  # that which made the tables is none of the backup's
    with pytest.raises(SourceError, match=r"lost|closed|gone"):
        dump_interrupted(server, name, tmp_path / "d", kill_the_oldest)


def working_threads():
    """The threads there are, but for the one that watches connections for all of a process, and comes and goes."""
    return {thread for thread in threading.enumerate() if thread.name != "dumpty-watch"}


@pytest.mark.parametrize("formatting", FORMATTING)
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
def test_what_the_sink_raises_comes_out_and_nothing_stays_behind(
    server: MariaDBServer, database, tmp_path: Path, formatting: str, failure: type[BaseException]
) -> None:
    name = database(
        "CREATE TABLE a (id INT PRIMARY KEY, t LONGTEXT)",
        "INSERT INTO a SELECT seq, REPEAT('x', 500000) FROM seq_1_to_30",
    )

    def fail() -> None:
        raise failure("the disk is full")

    before = working_threads()
    with pytest.raises(failure, match="the disk is full"):
        dump_interrupted(server, name, tmp_path / "d", fail, formatting=formatting)
    deadline = time.monotonic() + 60
    while left := working_threads() - before:  # one that is over takes a moment to be gone
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
    while server.run(f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB='{name}'"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_dump_cannot_hold_other_counts_than_the_snapshot(server: MariaDBServer, database, tmp_path: Path) -> None:
    from dumpty import Evidence, ObjectEvidence

    name = database("CREATE TABLE a (id INT)", "INSERT INTO a VALUES (1),(2)")
    backup = dump(mysql, server.source(name), tmp_path / "d", "sql")
    backup.evidence = Evidence(objects=(ObjectEvidence(path="a", rows=3),))
    target = database(create=False)
    with pytest.raises(IntegrityError, match=": a has 2 rows, and had 3"):
        load(mysql, server.source(target), backup)
    assert not server.run(f"SHOW DATABASES LIKE '{target}'")
    assert cells(server, name)["a"]
