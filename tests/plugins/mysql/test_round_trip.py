"""What is dumped comes back to the bit, whoever formats it and whoever loads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugins.mysql.content import OBJECTS, TYPES, build, cells
from support.drive import dump, load
from support.mariadb_server import MariaDBServer
from support.mysql_server import without_charsets

import dumpty_plugins.mysql.plugin as mysql

FORMATTING = ("server", "client")


@pytest.fixture
def everything(server: MariaDBServer, database) -> str:
    name = database(create=False)
    build(server, name, *TYPES, *OBJECTS)
    return name


def examine(plugin, backup) -> None:
    assert plugin.examine(dump=backup, options={}).objects == backup.evidence.objects


def comparable(server: MariaDBServer, name: str) -> str:
    """What mariadb-dump says, with the database's own name taken out."""
    return server.dump(name).replace(f"`{name}`.", "")


@pytest.mark.parametrize("formatting", FORMATTING)
@pytest.mark.parametrize("form", ["sql", "parallel"])
def test_every_type_and_object_comes_back_under_another_name(
    server: MariaDBServer, everything: str, database, tmp_path: Path, formatting: str, form: str
) -> None:
    backup = dump(mysql, server.source(everything), tmp_path / "d.sql", form, formatting=formatting)
    examine(mysql, backup)
    target = database(create=False)
    evidence = load(mysql, server.source(target), backup)
    assert cells(server, target) == cells(server, everything)
    assert comparable(server, target) == comparable(server, everything)
    assert {o.path: o.rows for o in evidence.objects} == {o.path: o.rows for o in backup.evidence.objects}
    assert {o.path: o.rows for o in evidence.objects} == {
        t: len(rows) for t, rows in cells(server, everything).items() if t != "numbers_from"
    }


@pytest.mark.usefixtures("raw_texts")
def test_both_ways_to_format_write_the_same_dump(server: MariaDBServer, everything: str, tmp_path: Path) -> None:
    first, second = (
        dump(mysql, server.source(everything), tmp_path / f, "native", formatting=f).file.read_bytes()
        for f in FORMATTING
    )
    assert first == second


def test_both_ways_to_format_write_the_same_parts(server: MariaDBServer, everything: str, tmp_path: Path) -> None:
    first, second = (
        {
            (part.section, part.tables): part.file.read_bytes()
            for part in dump(mysql, server.source(everything), tmp_path / f, "parallel", formatting=f).parts
        }
        for f in FORMATTING
    )
    assert first == second
    assert len(first) > 15


def test_the_mariadb_client_loads_a_dump(server: MariaDBServer, everything: str, database, tmp_path: Path) -> None:
    backup = dump(mysql, server.source(everything), tmp_path / "d.sql", "sql")
    target = database()
    server.client(target, backup.file.read_bytes(), "--comments")
    assert cells(server, target) == cells(server, everything)
    assert comparable(server, target) == comparable(server, everything)


def test_a_dump_of_the_restored_is_the_same_dump(
    server: MariaDBServer, everything: str, database, tmp_path: Path
) -> None:
    backup = dump(mysql, server.source(everything), tmp_path / "one.sql", "sql")
    target = database(create=False)
    load(mysql, server.source(target), backup)
    again = dump(mysql, server.source(target), tmp_path / "two.sql", "sql")
    first, second = (without_charsets(d.file.read_text("utf-8", "surrogateescape")) for d in (backup, again))
    assert first == second
    assert (server.kind == "mysql") or again.file.read_bytes() == backup.file.read_bytes()


def test_a_dump_never_names_its_database(server: MariaDBServer, everything: str, database, tmp_path: Path) -> None:
    other_database = database("CREATE TABLE elsewhere (id INT)")
    server.run(
        f"CREATE VIEW over_two AS SELECT c.id, plus_one(e.id) AS x, numbers.ti FROM computed c "
        f"JOIN numbers JOIN `{other_database}`.elsewhere e",
        f"CREATE TRIGGER `{everything}`.qualified BEFORE INSERT ON `{everything}`.empty_ FOR EACH ROW "
        f"SET @x = (SELECT COUNT(*) FROM `{everything}`.computed)",
        f"CREATE PROCEDURE own() SELECT `{everything}`.computed.id FROM `{everything}`.computed",
        database=everything,
    )
    backup = dump(mysql, server.source(everything), tmp_path / "d.sql", "sql")
    text = backup.file.read_text("utf-8", "surrogateescape")
    assert everything not in text
    assert other_database in text
    target = database(create=False)
    load(mysql, server.source(target), backup)
    assert f"`{everything}`" not in server.dump(target)


def test_a_body_that_cannot_be_made_relative_is_noted(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE t (id INT)")
    server.run(f"CREATE PROCEDURE alias() SELECT `{name}`.t FROM (SELECT 1 AS t) AS `{name}`", database=name)
    backup = dump(mysql, server.source(name), tmp_path / "d.sql", "sql")
    assert any("procedure alias names its own database" in n for n in backup.evidence.notes)


def test_no_statement_is_over_a_mebibyte_unless_one_row_is(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT)",
        "INSERT INTO t SELECT seq, REPEAT('x', 5000) FROM seq_1_to_500",
        "INSERT INTO t VALUES (1000, REPEAT('y', 1500000)), (1001, 'z')",
    )
    texts = []
    for formatting in FORMATTING:
        backup = dump(mysql, server.source(name), tmp_path / formatting, "sql", formatting=formatting)
        texts.append(backup.file.read_bytes())
    assert texts[0] == texts[1]
    sizes = [len(s) + 1 for s in texts[0].split(b";\n") if b"INSERT" in s]
    assert max(sizes) > 1_500_000
    assert sorted(sizes)[-2] <= 1 << 20
    assert len(sizes) == 5
    target = database(create=False)
    load(mysql, server.source(target), backup)
    assert cells(server, target) == cells(server, name)


def test_counts_versions_and_end_are_in_the_dump(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE t (id INT)", "INSERT INTO t VALUES (1),(2)", "CREATE TABLE u (id INT)")
    backup = dump(mysql, server.source(name), tmp_path / "d.sql", "sql")
    assert [(o.path, o.rows) for o in backup.evidence.objects] == [("t", 2), ("u", 0)]
    assert ("MariaDB" in backup.evidence.versions["server"]) == (server.kind == "mariadb")
    last_line = backup.file.read_text().splitlines()[-1]
    assert last_line.startswith("-- dumpty: complete, 2 tables, 2 rows, ")


def test_an_unknown_type_is_refused_by_name(server: MariaDBServer) -> None:
    from dumpty import SourceError
    from dumpty_plugins.mysql.schema.columns import column

    with pytest.raises(SourceError, match=r"column t\.a is of type hologram"):
        column("t", "a", "hologram", "")


def test_an_empty_database_is_a_dump_too(server: MariaDBServer, database, tmp_path: Path) -> None:
    backup = dump(mysql, server.source(database()), tmp_path / "d.sql", "sql")
    target = database(create=False)
    assert load(mysql, server.source(target), backup).objects == ()
    assert server.run(f"SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME='{target}'") == [(1,)]
