"""Large tables get their indexes after their rows: the definition is the same, and holds."""

from __future__ import annotations

from pathlib import Path

import pymysql
import pytest
from plugins.mysql.loading import INDEXED, assert_same_content
from support.drive import dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as mysql
from dumpty import SourceError
from dumpty_plugins.mysql.schema.indexes import Definition
from dumpty_plugins.mysql.server.session import Session

DEFERRED = {"many", "places", "parts"}
LINKED = {"a_child", "parent", "z_child"}
"""Tables whose foreign keys need their indexes: MySQL will not do without those for a while."""


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("overwrite", [False, True])
def test_indexes_made_after_the_rows_are_the_ones_that_were(
    server: MariaDBServer, database, tmp_path: Path, small: None, indexed_later: list[str], jobs: int, overwrite: bool
) -> None:
    name = database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)
    backup = dump(mysql, server.source(name), tmp_path / "d.sql", "sql")
    target = database("CREATE TABLE before_ (id INT)") if overwrite else database(create=False)
    load(mysql, server.source(target), backup, overwrite=overwrite, jobs=jobs)
    assert set(indexed_later) == DEFERRED | (LINKED if server.kind == "mariadb" else set())
    assert_same_content(server, target, name)
    again = dump(mysql, server.source(target), tmp_path / "two.sql", "sql")
    assert again.file.read_bytes() == backup.file.read_bytes()


def test_a_table_that_would_come_out_different_keeps_its_indexes(
    server: MariaDBServer, database, tmp_path: Path, small: None, indexed_later: list[str], monkeypatch
) -> None:
    def all_keys(self: Definition) -> tuple[tuple[bytes, bytes], ...]:
        parts = self.parts if self.ordered else ()
        return tuple((p.split(b"KEY ")[1].split(b" (")[0], p) for p in parts if p.startswith((b"KEY ", b"UNIQUE ")))

    monkeypatch.setattr(Definition, "deferrable", property(all_keys))
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
    backup = dump(mysql, server.source(name), tmp_path / "d.sql", "sql")
    target = database(create=False)
    load(mysql, server.source(target), backup)
    assert indexed_later == ["plain"]
    assert_same_content(server, target, name)


def test_foreign_keys_hold_on_indexes_made_after_the_rows(
    server: MariaDBServer, database, tmp_path: Path, small: None, indexed_later: list[str]
) -> None:
    backup = dump(mysql, server.source(database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)), tmp_path / "d.sql", "sql")
    target = database(create=False)
    load(mysql, server.source(target), backup, jobs=3)
    assert (set(indexed_later) >= LINKED) == (server.kind == "mariadb")
    for wrong in (
        "INSERT INTO a_child VALUES (1000, 999, 'x')",
        "INSERT INTO z_child VALUES (1000, 999)",
        "DELETE FROM parent WHERE id=3",
        "UPDATE parent SET code=-1 WHERE id=3",
    ):
        with pytest.raises(pymysql.err.IntegrityError, match="foreign key constraint fails"):
            server.run(wrong, database=target)
    server.run("DELETE FROM a_child", "DELETE FROM parent WHERE id=3", database=target)
    assert server.run("SELECT COUNT(*) FROM z_child", database=target) == [(49,)]


def test_equal_rows_under_a_unique_index_fail_the_restore(
    server: MariaDBServer, database, tmp_path: Path, small: None
) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, u INT, UNIQUE KEY only_once (u))",
        "INSERT INTO t SELECT seq, seq FROM seq_1_to_20",
    )
    backup = dump(mysql, server.source(name), tmp_path / "d.sql", "sql")
    backup.file.write_bytes(backup.file.read_bytes().replace(b"(15,15)", b"(15,14)"))
    target = database("CREATE TABLE kept (id INT)")
    for destination, overwrite in ((target, True), (database(create=False), False)):
        with pytest.raises(SourceError, match=r"rows of t are loaded.*only_once.*error 1062: Duplicate entry '14'"):
            load(mysql, server.source(destination), backup, overwrite=overwrite, jobs=2)
    assert server.run("SHOW TABLES", database=target) == [("kept",)]
    assert server.run(f"SHOW DATABASES LIKE '{target}%'") == [(target,)]


def test_an_index_without_room_to_sort_is_made_by_copying(
    server: MariaDBServer, database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(200), KEY (u))",
        "INSERT INTO t SELECT seq, REPEAT(SHA2(seq, 256), 3) FROM seq_1_to_30000",
    )
    backup = dump(mysql, server.source(name), tmp_path / "d.sql", "sql")
    target = database(create=False)
    statements: list[bytes] = []
    execute = Session.execute

    def noting(self: Session, sql: str | bytes) -> tuple[int, int]:
        if b"ALTER TABLE" in (text := sql if isinstance(sql, bytes) else sql.encode()):
            statements.append(text)
        return execute(self, sql)

    monkeypatch.setattr(Session, "execute", noting)
    room = server.directory / "room"
    room.mkdir(mode=0o777)
    room.chmod(0o777)
    server.run(f"SET GLOBAL innodb_tmpdir='{room}'")
    try:
        room.rmdir()
        load(mysql, server.source(target), backup)
    finally:
        server.run("SET GLOBAL innodb_tmpdir=DEFAULT")
    assert statements[-1] == statements[-2] + b", ALGORITHM=COPY"
    assert_same_content(server, target, name)


def test_a_reading_timeout_is_not_used_up_by_an_index(
    server: MariaDBServer, database, tmp_path: Path, small: None, indexed_later: list[str]
) -> None:
    name = database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)
    backup = dump(mysql, server.source(name), tmp_path / "d.sql", "sql")
    target = database(create=False)
    load(mysql, server.source(target, read_timeout="30"), backup)
    assert indexed_later == []
    assert_same_content(server, target, name)
