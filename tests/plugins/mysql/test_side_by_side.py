"""Rows are loaded over several connections and large tables get their indexes last: what comes out is the same."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pymysql
import pytest
from support.drive import FileDump, dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql as mysql
from dumpty import IntegrityError, SourceError
from dumpty_plugins.mysql import loaders, script
from dumpty_plugins.mysql.indexes import Deferral
from dumpty_plugins.mysql.session import Session, StatementError

from .content import OBJECTS, TYPES, build, cells

INDEXED = [
    """CREATE TABLE a_child (id INT PRIMARY KEY, p INT, q VARCHAR(40), KEY by_q (q), KEY by_p (p, q),
        CONSTRAINT known FOREIGN KEY (p) REFERENCES parent (code), CONSTRAINT self FOREIGN KEY (p) REFERENCES a_child (id))""",
    "CREATE TABLE parent (id INT PRIMARY KEY, code INT, KEY also (code, id), UNIQUE KEY coded (code))",
    "CREATE TABLE z_child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (code) ON DELETE CASCADE)",
    """CREATE TABLE many (id INT, n INT NOT NULL AUTO_INCREMENT, t TEXT, s VARCHAR(50), j INT, d INT AS (j * 2) VIRTUAL,
        FULLTEXT KEY full (t), KEY z_first (s DESC, j), KEY counted (n), KEY part (t(7)) COMMENT 'it''s, (odd) `x',
        UNIQUE KEY alone (s, n), UNIQUE KEY hashed (t, s), PRIMARY KEY (id), KEY seen (d), KEY dull (j) IGNORED,
        KEY `we``ird, KEY ``x`` (``id``)` (`j`, id)) COMMENT='KEY `no` (`id`), it''s', AUTO_INCREMENT=77""",
    """CREATE TABLE places (id INT PRIMARY KEY, p POINT NOT NULL, a INT, KEY first_ (a), SPATIAL KEY second_ (p),
        KEY third (a, id))""",
    """CREATE TABLE parts (id INT, at DATE, a INT, PRIMARY KEY (id, at), KEY local (a)) PARTITION BY RANGE (YEAR(at))
        (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE)""",
    "CREATE TABLE no_primary (a INT NOT NULL, b INT, UNIQUE KEY (a), KEY (b))",
    "CREATE TABLE heap (a INT, b INT, KEY (b))",
    "INSERT INTO parent SELECT seq, seq * 2 FROM seq_1_to_50",
    "INSERT INTO a_child SELECT seq, seq * 2, MD5(seq) FROM seq_1_to_50",
    "DELETE FROM a_child WHERE id IN (2, 4)",
    "INSERT INTO z_child SELECT seq, seq * 2 FROM seq_1_to_50",
    "INSERT INTO many (id, n, t, s, j) SELECT seq, seq, MD5(seq), MD5(-seq), seq % 7 FROM seq_1_to_50",
    "INSERT INTO places SELECT seq, POINT(seq, -seq), seq % 5 FROM seq_1_to_50",
    "INSERT INTO parts SELECT seq, IF(seq % 2, '1999-01-01', '2020-01-01'), seq % 5 FROM seq_1_to_50",
    "INSERT INTO no_primary SELECT 51 - seq, seq % 5 FROM seq_1_to_50",
    "INSERT INTO heap SELECT 51 - seq, seq % 5 FROM seq_1_to_50",
]
DEFERRED = {"a_child", "parent", "z_child", "many", "places", "parts"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every row be a statement and every statement a transaction: two rows make a table large."""
    monkeypatch.setattr(script, "STATEMENT_BYTES", 100)
    monkeypatch.setattr(loaders, "BATCH_BYTES", 1)


@pytest.fixture
def indexed_later(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables whose indexes were made after their rows."""
    names: list[str] = []
    add = Deferral.add

    def noting(self: Deferral, session: Session) -> None:
        add(self, session)
        names.append(self._table)

    monkeypatch.setattr(Deferral, "add", noting)
    return names


def same(server: MariaDBServer, one: str, two: str) -> None:
    assert cells(server, one) == cells(server, two)
    assert server.dump(one).replace(f"`{one}`.", "") == server.dump(two).replace(f"`{two}`.", "")


def busy(server: MariaDBServer, name: str) -> list[int]:
    """The sessions on ``name`` or beside it."""
    rows = server.run(f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB LIKE '{name}%' ORDER BY ID")
    return [n for (n,) in rows]


class During(FileDump):
    """A dump that acts when a part of it has been read."""

    def __init__(self, made: FileDump, act: Callable[[], object], part: float = 0.6) -> None:
        super().__init__(made.file, made.format, made.evidence)
        self._act = act
        self._part = part

    def open(self):
        stream = super().open()
        due, act = int(self.size * self._part), self._act

        class Reader:
            def __init__(self) -> None:
                self.left = due

            def read(self, size: int = -1) -> bytes:
                block = stream.read(min(size, 1000) if size > 0 else 1000)
                before, self.left = self.left, self.left - len(block)
                if before > 0 >= self.left:
                    act()
                return block

            def close(self) -> None:
                stream.close()

        return Reader()


@pytest.mark.parametrize("jobs", [1, 3])
def test_everything_comes_back_in_small_pieces_over_any_number_of_connections(
    mariadb: MariaDBServer, database, tmp_path: Path, small: None, jobs: int
) -> None:
    name = database(create=False)
    build(mariadb, name, *TYPES, *OBJECTS)
    made = dump(mysql, mariadb.source(name), tmp_path / "one.sql", "sql")
    target = database(create=False)
    load(mysql, mariadb.source(target), made, jobs=jobs)
    same(mariadb, target, name)
    # Rows without a key lie as they were inserted: only the same order makes the same dump.
    again = dump(mysql, mariadb.source(target), tmp_path / "two.sql", "sql")
    assert again.file.read_bytes() == made.file.read_bytes()


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("overwrite", [False, True])
def test_indexes_made_after_the_rows_are_the_ones_that_were(
    mariadb: MariaDBServer, database, tmp_path: Path, small: None, indexed_later: list[str], jobs: int, overwrite: bool
) -> None:
    name = database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)
    made = dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")
    target = database("CREATE TABLE before_ (id INT)") if overwrite else database(create=False)
    load(mysql, mariadb.source(target), made, overwrite=overwrite, jobs=jobs)
    assert set(indexed_later) == DEFERRED
    same(mariadb, target, name)
    again = dump(mysql, mariadb.source(target), tmp_path / "two.sql", "sql")
    assert again.file.read_bytes() == made.file.read_bytes()


def test_foreign_keys_hold_on_indexes_made_after_the_rows(
    mariadb: MariaDBServer, database, tmp_path: Path, small: None, indexed_later: list[str]
) -> None:
    made = dump(mysql, mariadb.source(database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)), tmp_path / "d.sql", "sql")
    target = database(create=False)
    load(mysql, mariadb.source(target), made, jobs=3)
    assert {"a_child", "parent", "z_child"} <= set(indexed_later)
    for wrong in (
        "INSERT INTO a_child VALUES (1000, 999, 'x')",
        "INSERT INTO z_child VALUES (1000, 999)",
        "DELETE FROM parent WHERE id=3",
        "UPDATE parent SET code=-1 WHERE id=3",
    ):
        with pytest.raises(pymysql.err.IntegrityError, match="foreign key constraint fails"):
            mariadb.run(wrong, database=target)
    mariadb.run("DELETE FROM a_child", "DELETE FROM parent WHERE id=3", database=target)
    assert mariadb.run("SELECT COUNT(*) FROM z_child", database=target) == [(49,)]


def test_equal_rows_under_a_unique_index_fail_the_restore(
    mariadb: MariaDBServer, database, tmp_path: Path, small: None
) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, u INT, UNIQUE KEY only_once (u))",
        "INSERT INTO t SELECT seq, seq FROM seq_1_to_20",
    )
    made = dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")
    made.file.write_bytes(made.file.read_bytes().replace(b"(15,15)", b"(15,14)"))
    target = database("CREATE TABLE kept (id INT)")
    for place, overwrite in ((target, True), (database(create=False), False)):
        with pytest.raises(SourceError, match=r"rows of t are loaded.*only_once.*error 1062: Duplicate entry '14'"):
            load(mysql, mariadb.source(place), made, overwrite=overwrite, jobs=2)
    assert mariadb.run("SHOW TABLES", database=target) == [("kept",)]
    assert mariadb.run(f"SHOW DATABASES LIKE '{target}%'") == [(target,)]


def test_a_clipped_number_beside_an_enum_fails_the_restore(mariadb: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a'), n TINYINT)", "INSERT INTO t VALUES (1, 'a', 99)")
    made = dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")
    made.file.write_bytes(made.file.read_bytes().replace(b",99)", b",999)"))
    target = database(create=False)
    with pytest.raises(IntegrityError, match=r"a row of t did not go in as it stands.*'n'"):
        load(mysql, mariadb.source(target), made)
    assert not mariadb.run(f"SHOW DATABASES LIKE '{target}%'")


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("overwrite", [False, True])
def test_connections_lost_while_they_load_fail_the_whole_restore(
    mariadb: MariaDBServer, database, tmp_path: Path, small: None, overwrite: bool, jobs: int
) -> None:
    made = dump(mysql, mariadb.source(database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)), tmp_path / "d.sql", "sql")
    target = database("CREATE TABLE kept (id INT)") if overwrite else database(create=False)
    seen: list[int] = []

    def kill() -> None:
        seen.extend(busy(mariadb, target))
        for number in seen[1:]:  # the first makes the tables
            mariadb.run(f"KILL {number}")

    with pytest.raises(SourceError, match=r"lost|gone|killed"):
        load(mysql, mariadb.source(target), During(made, kill), overwrite=overwrite, jobs=jobs)
    assert len(seen) > 1
    expected = [(target,)] if overwrite else []
    assert mariadb.run(f"SHOW DATABASES LIKE '{target}%'") == expected
    if overwrite:
        assert mariadb.run("SHOW TABLES", database=target) == [("kept",)]


@pytest.mark.parametrize("error", [IntegrityError("the stored digest is another one"), KeyboardInterrupt()])
def test_a_failure_leaves_no_connection_at_work(
    mariadb: MariaDBServer, database, tmp_path: Path, small: None, error: BaseException
) -> None:
    made = dump(mysql, mariadb.source(database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)), tmp_path / "d.sql", "sql")
    target = database(create=False)
    seen: list[int] = []

    def fail() -> None:
        seen.extend(busy(mariadb, target))
        raise error

    with pytest.raises(type(error)):
        load(mysql, mariadb.source(target), During(made, fail), jobs=3)
    assert len(seen) > 1
    assert busy(mariadb, target) == []
    assert mariadb.run(f"SHOW DATABASES LIKE '{target}%'") == []


def test_work_of_minutes_on_the_server_ends_with_the_restore(mariadb: MariaDBServer, database) -> None:
    name = database("CREATE TABLE t (id INT)")
    from dumpty_plugins.mysql.connection import connect

    pool = loaders.Loaders(lambda: connect(mariadb.source(name), name), name, 2)
    work = [pool.submit(lambda s: s.execute("SELECT SLEEP(600)"), {}) for _ in range(2)]
    while len(busy(mariadb, name)) < 2:
        pass
    pool.stop()
    assert all(isinstance(w.exception(), StatementError) for w in work)
    assert busy(mariadb, name) == []


def test_an_index_without_room_to_sort_is_made_by_copying(
    mariadb: MariaDBServer, database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(200), KEY (u))",
        "INSERT INTO t SELECT seq, REPEAT(MD5(seq), 6) FROM seq_1_to_30000",
    )
    made = dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")
    target = database(create=False)
    said: list[bytes] = []
    execute = Session.execute

    def noting(self: Session, sql: str | bytes) -> tuple[int, int]:
        if b"ALTER TABLE" in (text := sql if isinstance(sql, bytes) else sql.encode()):
            said.append(text)
        return execute(self, sql)

    monkeypatch.setattr(Session, "execute", noting)
    room = mariadb.directory / "room"
    room.mkdir(mode=0o777)
    room.chmod(0o777)
    mariadb.run(f"SET GLOBAL innodb_tmpdir='{room}'")
    try:
        room.rmdir()
        load(mysql, mariadb.source(target), made)
    finally:
        mariadb.run("SET GLOBAL innodb_tmpdir=DEFAULT")
    assert said[-1] == said[-2] + b", ALGORITHM=COPY"
    same(mariadb, target, name)


def test_the_option_jobs_says_how_many_connections_load(
    mariadb: MariaDBServer, database, tmp_path: Path, small: None
) -> None:
    made = dump(mysql, mariadb.source(database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)), tmp_path / "d.sql", "sql")
    for jobs, expected in ((1, {2}), (3, {3, 4})):  # one more makes the tables
        target = database(create=False)
        seen: list[int] = []
        look = partial(lambda name, numbers: numbers.extend(busy(mariadb, name)), target, seen)
        load(mysql, mariadb.source(target), During(made, look, 0.9), jobs=jobs)
        assert len(seen) in expected


_LOAD = """
import sys
from pathlib import Path
from support.drive import FileDump, load
from dumpty import Source
import dumpty_plugins.mysql as mysql
file, socket, target = sys.argv[1:]
source = Source(scheme="mysql", url="mysql:///x", username="root", database=target, query={"unix_socket": socket})
load(mysql, source, FileDump(Path(file), "sql"), jobs=4)
print(Path("/proc/self/status").read_text())
"""


def test_memory_does_not_grow_with_the_dump(mariadb: MariaDBServer, database, tmp_path: Path) -> None:
    peaks = []
    for rows in (6_000, 24_000):
        name = database("CREATE TABLE t (id INT PRIMARY KEY, a TEXT, k INT, KEY (k))")
        mariadb.run(f"INSERT INTO t SELECT seq, REPEAT('x', 10000), seq FROM seq_1_to_{rows}", database=name)
        made = dump(mysql, mariadb.source(name), tmp_path / f"{rows}.sql", "sql")
        target = database(create=False)
        argv = [sys.executable, "-c", _LOAD, str(made.file), mariadb.socket, target]
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], env={"PYTHONPATH": "."}
        )
        assert done.returncode == 0, done.stderr
        assert mariadb.run("SELECT COUNT(*) FROM t", database=target) == [(rows,)]
        peaks.append(int(re.findall(r"VmHWM:\s*(\d+)", done.stdout)[0]) * 1024)
        mariadb.run(f"DROP DATABASE `{name}`", f"DROP DATABASE `{target}`")
    assert peaks[1] - peaks[0] < 180_000_000 * 0.1  # that is how much more the second dump holds
    assert peaks[1] < 100_000_000
