"""Code that was written under modes of the server that only its own kind knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.drive import dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as driver
from dumpty import SourceError

OBJECTS = [
    "CREATE TABLE a (id INT PRIMARY KEY, b INT)",
    "INSERT INTO a VALUES (1, 2), (2, 3)",
    "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 0",
    "CREATE PROCEDURE p() SELECT 'x' || 'y'",
    "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.b = NEW.id",
    "CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DISABLE DO SELECT 1",
]


@pytest.fixture
def mysql_target(mysql: MariaDBServer) -> Iterator[str]:
    yield "moved"
    mysql.run("DROP DATABASE IF EXISTS moved")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("mode", ["DEFAULT", "'POSTGRESQL,STRICT_ALL_TABLES,NO_AUTO_CREATE_USER,PIPES_AS_CONCAT'"])
def test_modes_that_mean_nothing_elsewhere_are_left_out(
    mariadb: MariaDBServer, mysql: MariaDBServer, mysql_target: str, tmp_path: Path, mode: str, overwrite: bool
) -> None:
    collation = "utf8mb4_general_ci"  # both know it
    mariadb.run(f"CREATE DATABASE moving COLLATE {collation}")
    try:
        modes = (f"SET NAMES utf8mb4 COLLATE {collation}", f"SET sql_mode={mode}")
        mariadb.run(*modes, *OBJECTS, database="moving")
        backup = dump(driver, mariadb.source("moving"), tmp_path / "d", "sql")
    finally:
        mariadb.run("DROP DATABASE moving")
    assert b"NO_AUTO_CREATE_USER" in backup.file.read_bytes()
    if overwrite:
        mysql.run(f"CREATE DATABASE {mysql_target}", f"CREATE TABLE {mysql_target}.old (id INT)")
    evidence = load(driver, mysql.source(mysql_target), backup, overwrite=overwrite)
    assert any("without the sql_mode" in n and "NO_AUTO_CREATE_USER" in n for n in evidence.notes)
    for table, column in (("ROUTINES", "ROUTINE"), ("TRIGGERS", "TRIGGER"), ("EVENTS", "EVENT")):
        rows = mysql.run(f"SELECT SQL_MODE FROM information_schema.{table} WHERE {column}_SCHEMA='{mysql_target}'")
        assert rows
        assert all("STRICT_" in m and ("PIPES" in m) == ("PIPES" in mode) for (m,) in rows)


def test_a_mode_that_means_something_refuses_the_code_by_name(
    server: MariaDBServer, database, mariadb: MariaDBServer, mysql: MariaDBServer, tmp_path: Path
) -> None:
    mode, other_server = (
        ("EMPTY_STRING_IS_NULL", mysql) if server.kind == "mariadb" else ("TIME_TRUNCATE_FRACTIONAL", mariadb)
    )
    collation = "utf8mb4_general_ci"  # both know it
    name = database(
        f"ALTER DATABASE COLLATE {collation}",
        f"SET NAMES utf8mb4 COLLATE {collation}",
        f"SET sql_mode='{mode}'",
        "CREATE PROCEDURE odd() SELECT ''",
    )
    backup = dump(driver, server.source(name), tmp_path / "d", "sql")
    with pytest.raises(
        SourceError, match=f"procedure odd of the dump was written in the sql_mode {mode},.* does not know"
    ):
        load(driver, other_server.source("moved"), backup)
    assert other_server.run("SHOW DATABASES LIKE 'moved'") == []
