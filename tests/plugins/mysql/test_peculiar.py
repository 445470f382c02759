"""Rarities that a dump would lose or change without a word."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from plugins.mysql.content import cells
from support.drive import FileDump, dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as mysql
from dumpty import IntegrityError, SourceError
from dumpty_plugins.mysql.loading.allowlist import validate_statement
from dumpty_plugins.mysql.loading.loader import check_stored_objects

MERGED = [
    "CREATE TABLE t1 (id INT) ENGINE=MyISAM",
    "CREATE TABLE t2 (id INT) ENGINE=MyISAM",
    "INSERT INTO t1 VALUES (1)",
    "INSERT INTO t2 VALUES (2), (3)",
    "CREATE TABLE both_ (id INT) ENGINE=MERGE UNION=(t1,t2) INSERT_METHOD=LAST",
]


def round_trip(server: MariaDBServer, database, path: Path, *statements: str) -> tuple[str, str]:
    name, target = database(*statements), database(create=False)
    load(mysql, server.source(target), dump(mysql, server.source(name), path / "d", "sql"))
    assert cells(server, target) == cells(server, name)
    assert server.dump(target).replace(f"`{target}`.", "") == server.dump(name).replace(f"`{name}`.", "")
    return name, target


def test_rows_of_a_merge_table_are_dumped_once(server: MariaDBServer, database, tmp_path: Path) -> None:
    name, _ = round_trip(server, database, tmp_path, *MERGED)
    again = dump(mysql, server.source(name), tmp_path / "e", "sql")
    assert [(o.path, o.rows) for o in again.evidence.objects] == [("both_", None), ("t1", 1), ("t2", 2)]
    load(mysql, server.source(name), again, overwrite=True)
    assert sorted(server.run("SELECT id FROM both_", database=name)) == [(1,), (2,), (3,)]


def test_a_merge_of_other_databases_tables_is_refused_both_ways(
    server: MariaDBServer, database, tmp_path: Path
) -> None:
    other_database = database("CREATE TABLE far (id INT) ENGINE=MyISAM")
    name = database(f"CREATE TABLE m (id INT) ENGINE=MERGE UNION=(`{other_database}`.far)")
    with pytest.raises(SourceError, match="table m is made of tables in other databases"):
        dump(mysql, server.source(name), tmp_path / "d", "sql")
    with pytest.raises(IntegrityError, match="no dump by this driver"):
        validate_statement(b"CREATE TABLE `m` (`id` int) ENGINE=MRG_MyISAM UNION=(`other`.`far`)")


def test_a_table_whose_rows_are_elsewhere_is_refused_by_name(mariadb: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE here (id INT)")
    mariadb.run(
        "INSTALL SONAME 'ha_federatedx'",
        "CREATE USER far@'127.0.0.1'",
        f"GRANT ALL ON `{name}`.* TO far@'127.0.0.1'",
    )
    try:
        mariadb.run(
            "CREATE DATABASE remote", "CREATE TABLE remote.t (id INT)", "GRANT ALL ON remote.* TO far@'127.0.0.1'"
        )
        mariadb.run(
            f"CREATE TABLE there (id INT) ENGINE=FEDERATED CONNECTION='mysql://far@127.0.0.1:{mariadb.port}/remote/t'",
            database=name,
        )
        with pytest.raises(SourceError, match=r"table there is of the engine FEDERATED"):
            dump(mysql, mariadb.source(name), tmp_path / "d", "sql")
        mariadb.run("DROP TABLE there", database=name)
    finally:
        mariadb.run("DROP USER far@'127.0.0.1'", "DROP DATABASE remote", "UNINSTALL SONAME 'ha_federatedx'")


def test_an_enum_of_bytes_is_refused_where_the_server_garbles_it(
    server: MariaDBServer, database, tmp_path: Path
) -> None:
    bytes_ = "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a',X'FF') CHARACTER SET binary)"
    if server.kind == "mysql":  # which shows them as they are
        _, target = round_trip(server, database, tmp_path, bytes_, "INSERT INTO t VALUES (1, 1), (2, 2)")
        assert server.run("SELECT HEX(e) FROM t", database=target) == [("61",), ("FF",)]
        return
    with pytest.raises(SourceError, match=r"column t\.e is an ENUM in the character set binary"):
        dump(mysql, server.source(database(bytes_)), tmp_path / "d", "sql")
    round_trip(server, database, tmp_path, "CREATE TABLE t (e ENUM('a','b') CHARACTER SET binary)")


def test_sequences_that_ran_out_or_count_down_come_back(mariadb: MariaDBServer, database, tmp_path: Path) -> None:
    round_trip(
        mariadb,
        database,
        tmp_path,
        "CREATE SEQUENCE out_ MAXVALUE 2",
        "SELECT NEXTVAL(out_), NEXTVAL(out_)",
        "CREATE SEQUENCE down START WITH 50 INCREMENT BY -2 MINVALUE -100 MAXVALUE 60 CACHE 3",
        "SELECT NEXTVAL(down)",
        "CREATE SEQUENCE round_ MAXVALUE 2 CYCLE",
        "SELECT NEXTVAL(round_), NEXTVAL(round_), NEXTVAL(round_)",
    )


def test_defaults_of_bytes_come_back(server: MariaDBServer, database, tmp_path: Path) -> None:
    _, target = round_trip(
        server,
        database,
        tmp_path,
        "CREATE TABLE t (id INT, v VARBINARY(5) DEFAULT X'61006227', x VARBINARY(9) DEFAULT (CONCAT(X'62',X'00')))",
    )
    assert server.run("SELECT COUNT(*) FROM t", "INSERT INTO t (id) VALUES (1)", "SELECT v, x FROM t", database=target)


def test_a_timestamp_without_default_is_given_none(server: MariaDBServer, database, tmp_path: Path) -> None:
    server.run("SET GLOBAL explicit_defaults_for_timestamp=0")
    try:
        round_trip(
            server,
            database,
            tmp_path,
            "SET explicit_defaults_for_timestamp=1",
            "CREATE TABLE t (id INT, at TIMESTAMP NOT NULL, b TIMESTAMP)",
        )
    finally:
        server.run("SET GLOBAL explicit_defaults_for_timestamp=1")


def test_an_event_whose_time_has_passed_is_noted(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE EVENT soon ON SCHEDULE AT CURRENT_TIMESTAMP + INTERVAL 1 SECOND DO DELETE FROM t")
    backup = dump(mysql, server.source(name), tmp_path / "d", "sql")
    time.sleep(2)
    for target, overwrite in ((database(create=False), False), (database("CREATE TABLE t (id INT)"), True)):
        evidence = load(mysql, server.source(target), backup, overwrite=overwrite)
        assert evidence.notes == ("event soon is over: its time has passed, and the server drops such an event",)


def test_code_that_is_not_there_after_loading_is_an_error(server: MariaDBServer, database) -> None:
    from dumpty_plugins.mysql.server.connection import connect

    name = database("CREATE VIEW v AS SELECT 1")
    session = connect(server.source(name), name)
    try:
        view = validate_statement(b"CREATE VIEW `v` AS SELECT 1")
        assert check_stored_objects(session, name, [view]) == []
        with pytest.raises(IntegrityError, match="procedure p was created, but is not there"):
            check_stored_objects(session, name, [view, validate_statement(b"CREATE PROCEDURE `p`() SELECT 1")])
    finally:
        session.close()


def test_a_routine_written_with_ansi_quotes_goes_again_with_a_restore_that_fails(
    server: MariaDBServer, database, tmp_path: Path
) -> None:
    name = database("SET sql_mode=ANSI_QUOTES", 'CREATE PROCEDURE "o""dd"() SELECT 1', "CREATE PROCEDURE zz() SELECT 2")
    backup = dump(mysql, server.source(name), tmp_path / "d", "sql")
    backup.file.write_bytes(backup.file.read_bytes().replace(b"SELECT 2", b"SELECT FROM"))
    target = database()
    with pytest.raises(SourceError, match="procedure zz of the dump cannot be created"):
        load(mysql, server.source(target), FileDump(backup.file, "sql", backup.evidence))
    assert server.run(f"SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA='{target}'") == [(0,)]
