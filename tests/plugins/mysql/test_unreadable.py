"""What the server itself cannot read is named, all of it at once, and views can be left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.drive import dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as driver
from dumpty import SourceError

BROKEN = [
    "CREATE TABLE kept (id INT PRIMARY KEY)",
    "INSERT INTO kept VALUES (1),(2)",
    "CREATE TABLE gone (id INT)",
    "CREATE VIEW one AS SELECT id FROM gone",
    "CREATE VIEW two AS SELECT id + 1 AS n FROM gone",
    "CREATE VIEW whole AS SELECT id FROM kept",
    "DROP TABLE gone",
]


def test_every_broken_view_is_named_at_once(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(*BROKEN)
    with pytest.raises(SourceError, match=r"views of .* are broken.*\(one, two\).*views=off"):
        dump(driver, server.source(name), tmp_path / "d", "sql")


def test_views_can_be_left_out(server: MariaDBServer, database, tmp_path: Path) -> None:
    backup = dump(driver, server.source(database(*BROKEN)), tmp_path / "d", "sql", views=False)
    assert "views were left out on request" in backup.evidence.notes
    target = database(create=False)
    load(driver, server.source(target), backup)
    assert [t for (t,) in server.run("SHOW TABLES", database=target)] == ["kept"]


def test_a_broken_view_in_the_way_of_an_overwrite_is_named_without_that_option(
    server: MariaDBServer, database, tmp_path: Path
) -> None:
    backup = dump(driver, server.source(database(BROKEN[0])), tmp_path / "d", "sql")
    target = database(*BROKEN)
    with pytest.raises(SourceError, match=r"\(one, two\)") as failure:
        load(driver, server.source(target), backup, overwrite=True)
    assert "views=off" not in str(failure.value)
    assert server.run("SELECT COUNT(*) FROM kept", database=target) == [(2,)]


def test_tables_that_cannot_be_read_are_named_at_once(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(
        "CREATE TABLE a (id INT PRIMARY KEY)",
        "CREATE TABLE part (id INT) ENGINE=MyISAM",
        "CREATE TABLE other (id INT) ENGINE=MyISAM",
        "CREATE TABLE merged (id INT) ENGINE=MERGE UNION=(part, other)",
        "CREATE TABLE again (id INT) ENGINE=MERGE UNION=(other)",
        "DROP TABLE other",
    )
    with pytest.raises(SourceError, match=r"cannot be read.*again \(.*merged \("):
        dump(driver, server.source(name), tmp_path / "d", "sql")


@pytest.mark.parametrize("jobs", [1, 2])
def test_discarded_tablespaces_are_named_at_once(server: MariaDBServer, database, tmp_path: Path, jobs: int) -> None:
    name = database(
        "CREATE TABLE a (id INT PRIMARY KEY)",
        "CREATE TABLE first_gone (id INT PRIMARY KEY)",
        "CREATE TABLE second_gone (id INT PRIMARY KEY)",
        "ALTER TABLE first_gone DISCARD TABLESPACE",
        "ALTER TABLE second_gone DISCARD TABLESPACE",
    )
    with pytest.raises(SourceError, match=r"cannot be read.*first_gone \(.*second_gone \(.*mend or drop"):
        dump(driver, server.source(name), tmp_path / "d", "sql", jobs=jobs)
