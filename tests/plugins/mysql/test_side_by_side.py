"""Rows are loaded over several connections: what comes out is the same, and one failure is a failure of all."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pymysql
import pytest
from plugins.mysql.content import OBJECTS, TYPES, build
from plugins.mysql.loading import INDEXED, During, assert_same_content, remaining_sessions, sessions_of
from support.drive import dump, load
from support.mariadb_server import MariaDBServer
from support.mysql_server import without_charsets

import dumpty_plugins.mysql.plugin as mysql
from dumpty import IntegrityError, SourceError
from dumpty_plugins.mysql.loading import parallel
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.session import StatementError


@pytest.mark.parametrize("jobs", [1, 3])
def test_everything_comes_back_in_small_pieces_over_any_number_of_connections(
    server: MariaDBServer, database, tmp_path: Path, small: None, jobs: int
) -> None:
    name = database(create=False)
    build(server, name, *TYPES, *OBJECTS)
    backup = dump(mysql, server.source(name), tmp_path / "one.sql", "sql")
    target = database(create=False)
    load(mysql, server.source(target), backup, jobs=jobs)
    assert_same_content(server, target, name)
    # Rows without a key lie as they were inserted: only the same order makes the same dump.
    again = dump(mysql, server.source(target), tmp_path / "two.sql", "sql")
    first, second = (without_charsets(d.file.read_text("utf-8", "surrogateescape")) for d in (backup, again))
    assert first == second


def test_a_clipped_number_beside_an_enum_fails_the_restore(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a'), n TINYINT)", "INSERT INTO t VALUES (1, 'a', 99)")
    backup = dump(mysql, server.source(name), tmp_path / "d.sql", "sql")
    backup.file.write_bytes(backup.file.read_bytes().replace(b",99)", b",999)"))
    target = database(create=False)
    with pytest.raises(IntegrityError, match=r"a row of t did not go in as it stands.*'n'"):
        load(mysql, server.source(target), backup)
    assert not server.run(f"SHOW DATABASES LIKE '{target}%'")


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("overwrite", [False, True])
def test_connections_lost_while_they_load_fail_the_whole_restore(
    server: MariaDBServer, database, tmp_path: Path, small: None, overwrite: bool, jobs: int
) -> None:
    backup = dump(mysql, server.source(database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)), tmp_path / "d.sql", "sql")
    target = database("CREATE TABLE kept (id INT)") if overwrite else database(create=False)
    sessions: list[int] = []

    def kill() -> None:
        sessions.extend(sessions_of(server, target))
        for number in sessions[1:]:  # the first makes the tables
            with contextlib.suppress(pymysql.err.OperationalError):  # one that was about to end has ended
                server.run(f"KILL {number}")

    with pytest.raises(SourceError, match=r"lost|gone|killed"):
        load(mysql, server.source(target), During(backup, kill), overwrite=overwrite, jobs=jobs)
    assert len(sessions) > 1
    expected = [(target,)] if overwrite else []
    assert server.run(f"SHOW DATABASES LIKE '{target}%'") == expected
    if overwrite:
        assert server.run("SHOW TABLES", database=target) == [("kept",)]


@pytest.mark.parametrize("error", [IntegrityError("the stored digest is another one"), KeyboardInterrupt()])
def test_a_failure_leaves_no_connection_at_work(
    server: MariaDBServer, database, tmp_path: Path, small: None, error: BaseException
) -> None:
    backup = dump(mysql, server.source(database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)), tmp_path / "d.sql", "sql")
    target = database(create=False)
    sessions: list[int] = []

    def fail() -> None:
        sessions.extend(sessions_of(server, target))
        raise error

    with pytest.raises(type(error)):
        load(mysql, server.source(target), During(backup, fail), jobs=3)
    assert len(sessions) > 1
    assert remaining_sessions(server, target) == []
    assert server.run(f"SHOW DATABASES LIKE '{target}%'") == []


def test_work_of_minutes_on_the_server_ends_with_the_restore(server: MariaDBServer, database) -> None:
    name = database("CREATE TABLE t (id INT)")
    pool = parallel.Loaders(lambda: connect(server.source(name), name), name, 2)
    work = [pool.submit(lambda s: s.execute("SELECT SLEEP(600)"), {}) for _ in range(2)]
    at_work = (
        f"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB LIKE '{name}%' AND INFO LIKE 'SELECT SLEEP%'"
    )
    while server.run(at_work) != [(2,)]:  # a session that is there may not have begun
        pass
    pool.stop()
    assert all(isinstance(w.exception(), StatementError) for w in work)
    assert remaining_sessions(server, name) == []


def test_no_more_connections_load_than_the_option_jobs_says(
    server: MariaDBServer, database, tmp_path: Path, small: None
) -> None:
    backup = dump(mysql, server.source(database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)), tmp_path / "d.sql", "sql")
    for jobs in (1, 3):
        target = database(create=False)
        sessions: list[int] = []
        note_sessions = partial(lambda name, numbers: numbers.extend(sessions_of(server, name)), target, sessions)
        load(mysql, server.source(target), During(backup, note_sessions, 0.9), jobs=jobs)
        assert 1 < len(sessions) <= jobs + 1  # one more makes the tables


def test_work_is_done_side_by_side(server: MariaDBServer, database) -> None:
    name = database()
    pool = parallel.Loaders(lambda: connect(server.source(name), name), name, 3)
    # Each waits until all three are there.
    together = threading.Barrier(3, timeout=20)
    for _ in range(6):
        pool.submit(lambda s: (s.rows("SELECT 1"), together.wait())[0] and None, {})
    try:
        pool.close()
    except BaseException:
        pool.stop()
        raise
    assert remaining_sessions(server, name) == []


def test_rows_without_a_key_keep_their_order_however_long_the_first_takes(
    server: MariaDBServer, database, tmp_path: Path, small: None
) -> None:
    name = database("CREATE TABLE t (n INT, a LONGTEXT)")
    server.run("INSERT INTO t SELECT seq, REPEAT('x', IF(seq % 10 = 1, 3000000, 1)) FROM seq_1_to_30", database=name)
    backup = dump(mysql, server.source(name), tmp_path / "d.sql", "sql")
    target = database(create=False)
    load(mysql, server.source(target), backup, jobs=4)
    assert server.run("SELECT n FROM t", database=target) == [(n,) for n in range(1, 31)]


def test_a_server_with_no_room_for_more_connections_is_loaded_over_those_there_are(
    server: MariaDBServer, database, account, tmp_path: Path, small: None
) -> None:
    name = database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)
    backup = dump(mysql, server.source(name), tmp_path / "d.sql", "sql")
    user = account("ALL ON *.*")
    server.run(f"ALTER USER {user}@localhost WITH MAX_USER_CONNECTIONS 3")
    target = database(create=False)
    sessions: list[int] = []
    noting = During(backup, lambda: sessions.extend(sessions_of(server, target)), 0.9)
    load(mysql, server.source(target, user=user), noting, jobs=4)
    assert len(sessions) == 2  # the third holds the lock on the restore
    assert_same_content(server, target, name)


def test_a_failure_reaches_those_who_wait_for_a_connection(server: MariaDBServer, database, account) -> None:
    name = database()
    user = account("ALL ON *.*")
    server.run(f"ALTER USER {user}@localhost WITH MAX_USER_CONNECTIONS 1")
    source = server.source(name, user=user)
    pool = parallel.Loaders(lambda: connect(source, name), name, 2)

    def load_all() -> None:
        pool.submit(lambda s: s.execute("SELECT SLEEP(1) FROM no_such_table"), {})
        pool.submit(lambda s: s.execute("SELECT SLEEP(1)"), {})  # may hear of it already
        pool.close()

    try:
        with pytest.raises(SourceError, match="no_such_table"):
            load_all()
    finally:
        pool.stop()


_LOAD = """
import sys
from pathlib import Path
from support.drive import FileDump, load
from dumpty import Source
import dumpty_plugins.mysql.plugin as mysql
file, socket, target = sys.argv[1:]
source = Source(scheme="mysql", url="mysql:///x", username="root", database=target, query={"unix_socket": socket})
load(mysql, source, FileDump(Path(file), "sql"), jobs=4)
print(Path("/proc/self/status").read_text())
"""


def test_memory_does_not_grow_with_the_dump(server: MariaDBServer, database, tmp_path: Path) -> None:
    peaks = []
    for rows in (6_000, 24_000):
        name = database("CREATE TABLE t (id INT PRIMARY KEY, a TEXT, k INT, KEY (k))")
        server.run(f"INSERT INTO t SELECT seq, REPEAT('x', 10000), seq FROM seq_1_to_{rows}", database=name)
        backup = dump(mysql, server.source(name), tmp_path / f"{rows}.sql", "sql")
        target = database(create=False)
        argv = [sys.executable, "-c", _LOAD, str(backup.file), server.socket, target]
        completed = subprocess.run(
            argv, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], env={"PYTHONPATH": "."}
        )
        assert completed.returncode == 0, completed.stderr
        assert server.run("SELECT COUNT(*) FROM t", database=target) == [(rows,)]
        peaks.append(int(re.findall(r"VmHWM:\s*(\d+)", completed.stdout)[0]) * 1024)
        server.run(f"DROP DATABASE `{name}`", f"DROP DATABASE `{target}`")
    assert peaks[1] - peaks[0] < 180_000_000 * 0.1  # that is how much more the second dump holds
    assert peaks[1] < 100_000_000
