"""Large tables get their indexes after their rows: the definition is the same, and holds."""

from __future__ import annotations

from pathlib import Path

import pymysql
import pytest
from support.drive import dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql as mysql
from dumpty import SourceError
from dumpty_plugins.mysql.indexes import Definition
from dumpty_plugins.mysql.session import Session

from .loading import INDEXED, same

DEFERRED = {"a_child", "parent", "z_child", "many", "places", "parts"}


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


def test_a_table_that_would_come_out_different_keeps_its_indexes(
    mariadb: MariaDBServer, database, tmp_path: Path, small: None, indexed_later: list[str], monkeypatch
) -> None:
    def every(self: Definition) -> tuple[tuple[bytes, bytes], ...]:
        parts = self.parts if self.ordered else ()
        return tuple((p.split(b"KEY ")[1].split(b" (")[0], p) for p in parts if p.startswith((b"KEY ", b"UNIQUE ")))

    monkeypatch.setattr(Definition, "deferrable", property(every))
    name = database(
        "SET FOREIGN_KEY_CHECKS=0",
        # The server insists on the key of n, and would put second_ before first_.
        "CREATE TABLE needed (id INT PRIMARY KEY, n INT NOT NULL AUTO_INCREMENT, KEY (n)) AUTO_INCREMENT=77",
        "CREATE TABLE places (id INT PRIMARY KEY, p POINT NOT NULL, KEY first_ (id), SPATIAL KEY second_ (p))",
        "CREATE TABLE plain (id INT PRIMARY KEY, n INT, KEY (n))",
        "INSERT INTO needed SELECT seq, seq FROM seq_1_to_9",
        "INSERT INTO places SELECT seq, POINT(seq, 1) FROM seq_1_to_9",
        "INSERT INTO plain SELECT seq, seq FROM seq_1_to_9",
    )
    made = dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")
    target = database(create=False)
    load(mysql, mariadb.source(target), made)
    assert indexed_later == ["plain"]
    same(mariadb, target, name)


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


def test_a_reading_timeout_is_not_used_up_by_an_index(
    mariadb: MariaDBServer, database, tmp_path: Path, small: None, indexed_later: list[str]
) -> None:
    name = database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)
    made = dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")
    target = database(create=False)
    load(mysql, mariadb.source(target, read_timeout="30"), made)
    assert indexed_later == []
    same(mariadb, target, name)
