"""A restore that fails removes what it made itself, and nothing of somebody who was quicker."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugins.mysql.content import cells
from plugins.mysql.loading import During
from support.drive import dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as driver
from dumpty import SourceError

CONTENT = [
    "CREATE TABLE a (id INT PRIMARY KEY, t TEXT)",
    "INSERT INTO a SELECT seq, REPEAT('x', 100) FROM seq_1_to_200",
    "CREATE TABLE z (id INT PRIMARY KEY)",
    "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1",
    "CREATE PROCEDURE p() SELECT 1",
    "CREATE VIEW v AS SELECT 1 AS one",
]


@pytest.mark.parametrize(
    "theirs",
    [
        ["CREATE TABLE z (other INT)", "INSERT INTO z VALUES (1)"],
        ["CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 2"],
        ["CREATE PROCEDURE p() SELECT 2"],
    ],
    ids=["table", "function", "procedure"],
)
def test_what_somebody_else_made_in_an_empty_database_meanwhile_stays(
    server: MariaDBServer, database, tmp_path: Path, theirs: list[str]
) -> None:
    backup = dump(driver, server.source(database(*CONTENT)), tmp_path / "d", "sql")
    target, expected = database(), database(*theirs)
    with pytest.raises(SourceError, match="already exists"):
        load(driver, server.source(target), During(backup, lambda: server.run(*theirs, database=target), 0.2))
    assert cells(server, target) == cells(server, expected)
    routines = "SELECT ROUTINE_NAME, ROUTINE_DEFINITION FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA='{}'"
    assert server.run(routines.format(target)) == server.run(routines.format(expected))
