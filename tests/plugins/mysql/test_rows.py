"""The rows of one table, read for a comparison: each value exactly, told apart by the right key."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from plugins.mysql.content import TYPES, cells
from plugins.mysql.loading import remaining_sessions
from support.drive import defaults
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as driver
from dumpty import BackupManager, SourceError
from dumpty.testing.streams import peak_memory
from dumpty.url import parse_url


def _read_killing(found, server: MariaDBServer, name: str) -> None:
    for number, _ in enumerate(found):
        if not number:
            [(session,)] = server.run(f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB='{name}'")
            server.run(f"KILL {session}")


@pytest.fixture
def read(server: MariaDBServer):
    def run(name: str, table: str) -> tuple[tuple[str, ...], tuple[str, ...], list[tuple]]:
        with driver.read_rows(parse_url(server.url(name)), table, defaults(driver, "inspect")) as found:
            return found.key, found.columns, list(found)

    return run


def test_values_read_alike_where_they_are_and_only_there(server: MariaDBServer, database: Callable, read) -> None:
    name = database(*TYPES)
    for table, exact in cells(server, name).items():
        key, columns, rows = read(name, table)
        assert key == ("id",)
        assert len(rows) == len(exact)
        for place in range(len(columns)):
            by_id = {row[0]: row[place] for row in rows}
            stored = {int(row[0]): row[place] for row in exact}
            for one, other in itertools.combinations(stored, 2):
                assert (by_id[one] == by_id[other]) == (stored[one] == stored[other]), (table, columns[place])


def test_values_read_as_people_know_them(server: MariaDBServer, database: Callable, read) -> None:
    name = database(*TYPES)
    numbers = {row[0]: row for row in read(name, "numbers")[2]}
    assert numbers[0][1:9] == (-128, 255, -32768, -8388608, -2147483648, -(2**63), 2**64 - 1, 42)
    assert numbers[0][-4:] == ("1", "341", str(2**64 - 1), 1)
    _, columns, rows = read(name, "texts")
    texts = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
    assert (texts[2]["l"], texts[2]["u3"], json.loads(texts[2]["j"])) == ("é", "ü", {"a": ["\n", 1.5, None]})
    assert texts[2]["u4"].startswith('it\'s "quoted" \\ \r\n\t \0\x1a😀')
    assert (texts[2]["sj"], texts[5]["j"], texts[2]["asc_"]) == ("_sjis X'8160955C81E0'", '"\\\\"', "a~")
    assert texts[4]["l"] is None
    choices = {row[0]: row[1:] for row in read(name, "choices")[2]}
    assert choices == {1: ("b", "x,z"), 2: (0, 0), 3: ("", "ä"), 4: (0, None), 5: ("it's", "x,y,z,ä"), 6: ("1", "x")}
    assert {row[0]: row[2] for row in read(name, "bytes_")[2]}[1] == bytes(range(256))


def test_rows_are_told_apart_by_what_is_no_two_rows_alike(server: MariaDBServer, database: Callable, read) -> None:
    name = database(
        "CREATE TABLE two (b INT, a INT, c INT, PRIMARY KEY (c, b))",
        "CREATE TABLE other (a INT, b INT NOT NULL, c INT NOT NULL, UNIQUE (a), UNIQUE (c, b))",
        "CREATE TABLE front (a VARCHAR(40) NOT NULL, UNIQUE (a(3)))",
        "CREATE TABLE computed (a INT, k INT AS (a) STORED NOT NULL UNIQUE)"
        if server.kind == "mysql"
        else "CREATE TABLE computed (a INT, k INT AS (a) STORED, UNIQUE (k))",
        "CREATE TABLE none (a INT, KEY (a))",
        "CREATE TABLE word (e ENUM('a', 'b') PRIMARY KEY)",
        "INSERT INTO word VALUES ('b')",
    )
    tables = ("two", "other", "front", "computed", "none", "word")
    assert [read(name, table)[0] for table in tables] == [("c", "b"), ("c", "b"), (), (), (), ("e",)]
    assert read(name, "computed")[1] == ("a",)
    assert read(name, "word")[2] == [("b",)]


def test_the_history_of_a_table_is_read_with_it(server: MariaDBServer, mariadb, database: Callable, read) -> None:
    name = database(
        "CREATE TABLE kept (id INT PRIMARY KEY, a INT) WITH SYSTEM VERSIONING",
        "INSERT INTO kept VALUES (1, 1)",
        "UPDATE kept SET a = 2",
    )
    key, columns, rows = read(name, "kept")
    assert (key, columns) == ((), ("id", "a", "row_start", "row_end"))
    assert sorted(row[:2] for row in rows) == [(1, 1), (1, 2)]


@pytest.mark.parametrize("fingerprint", [True, False])
def test_members_that_changed_their_numbers_are_other_values(
    server: MariaDBServer, database: Callable, tmp_path: Path, fingerprint: bool
) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('active','banned'), s SET('x','y'))",
        "INSERT INTO t VALUES (1, 1, 1)",
    )
    manager, url = BackupManager(tmp_path), server.url(name)
    first = manager.create_backup(url, fingerprint=fingerprint).raise_for_error()
    server.run(
        "DROP TABLE t",
        "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('banned','active'), s SET('y','x'))",
        "INSERT INTO t VALUES (1, 1, 1)",
        database=name,
    )
    second = manager.create_backup(url, fingerprint=fingerprint).raise_for_error()
    found = manager.diff_rows(first.id, second.id, "t")
    assert [(r.kind, r.key, r.columns) for r in found.rows] == [("changed", (1,), ("e", "s"))]
    assert not manager.diff(first.id, second.id).same


def test_members_of_one_character_in_two_codes_are_told_apart(server: MariaDBServer, database: Callable, read) -> None:
    name = database(
        "CREATE TABLE t (e ENUM(X'815F', X'5C') CHARACTER SET sjis COLLATE sjis_bin PRIMARY KEY)",
        "INSERT INTO t VALUES (1), (2)",
    )
    assert sorted(read(name, "t")[2]) == [("\\",), ("_sjis X'815F'",)]


def test_a_table_stays_what_it_is_until_its_rows_are_read(server: MariaDBServer, database: Callable) -> None:
    """A view in its place would be read with the rights of whoever compares."""
    name = database("CREATE TABLE t (i INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    with driver.read_rows(parse_url(server.url(name)), "t", defaults(driver, "inspect")) as found:
        with pytest.raises(Exception, match="Lock wait timeout"):
            server.run("SET SESSION lock_wait_timeout=1", "DROP TABLE t", database=name)
        assert list(found) == [(1,)]


def test_few_rows_are_held_where_they_are_large(server: MariaDBServer, database: Callable, read) -> None:
    name = database(
        "CREATE TABLE t (i INT PRIMARY KEY, t LONGTEXT)",
        "INSERT INTO t VALUES " + ", ".join(f"({n}, 'small')" for n in range(3000)),
        *(f"INSERT INTO t VALUES ({n}, REPEAT('x', 1000000))" for n in range(3000, 3080)),
    )
    with driver.read_rows(parse_url(server.url(name)), "t", defaults(driver, "inspect")) as found:
        assert peak_memory(lambda: sum(1 for _ in found)) < 16 << 20


def test_a_session_that_is_killed_midway_is_an_error(server: MariaDBServer, database: Callable) -> None:
    name = database(
        "CREATE TABLE t (i INT PRIMARY KEY, t TEXT)",
        "INSERT INTO t VALUES " + ", ".join(f"({n}, REPEAT('x', 2000))" for n in range(9000)),
    )
    assert remaining_sessions(server, name) == []  # that which made the table is none of those that read
    source = parse_url(server.url(name))
    with driver.read_rows(source, "t", defaults(driver, "inspect")) as found, pytest.raises(SourceError):
        _read_killing(found, server, name)


@pytest.mark.parametrize("table", ["none", "seen"])
def test_what_holds_no_rows_of_its_own_is_an_error(server: MariaDBServer, database: Callable, read, table: str) -> None:
    name = database("CREATE VIEW seen AS SELECT 1")
    with pytest.raises(SourceError, match="has no table"):
        read(name, table)


def test_the_rows_of_a_table_are_compared_with_those_of_a_backup(
    server: MariaDBServer, database: Callable, tmp_path: Path
) -> None:
    name = database(
        "CREATE TABLE `ord ers` (id INT PRIMARY KEY, price DECIMAL(9,2), `at %s` TIMESTAMP NULL)",
        "INSERT INTO `ord ers` VALUES " + ", ".join(f"({n}, {n}, '2024-01-01')" for n in range(1, 3001)),
    )
    manager, url = BackupManager(tmp_path), server.url(name)
    backup = manager.create_backup(url, format="parallel").raise_for_error()
    found = manager.diff_rows(backup.id, url, "ord ers")
    assert (found.same, found.rows_first, found.rows_second) == (True, 3000, 3000)
    server.run(
        "DELETE FROM `ord ers` WHERE id = 7",
        "UPDATE `ord ers` SET `at %s` = NULL WHERE id IN (8, 9)",
        "INSERT INTO `ord ers` (id) VALUES (4000)",
        database=name,
    )
    found = manager.diff_rows(backup.id, url, "ord ers")
    assert [(r.kind, r.key, r.columns) for r in found.rows] == [
        ("removed", (7,), ()),
        ("changed", (8,), ("at %s",)),
        ("changed", (9,), ("at %s",)),
        ("added", (4000,), ()),
    ]
