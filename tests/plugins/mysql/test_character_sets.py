"""Code that clients in other character sets wrote comes back byte for byte, and what nobody could restore is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from plugins.mysql.exact import definitions
from support.drive import defaults, dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as mysql
from dumpty import NotProvable, SourceError

CLIENTS = {
    "latin1": ("cp1252", "té"),
    "cp1251": ("cp1251", "жд"),
    "greek": ("iso8859-7", "αβ"),
    "ujis": ("euc_jp", "日本"),
    "utf8mb3": ("utf-8", "жé"),
    "binary": ("utf-8", "жé"),
}
"""Character sets of clients: what Python calls each, and letters that it has."""
OF_MARIADB = (b"ORACLE", b"PACKAGE", b"VARCHAR2", b"SEQUENCE", b"TRIGGER")
"""Words of what MySQL does not know, or takes in no character set but its own."""


def written_in(charset: str) -> list[bytes]:
    """Statements that make something of every kind, in the character set of their client."""
    codec, w = CLIENTS[charset]
    table = f"""CREATE TABLE `{w}t` (id INT AUTO_INCREMENT PRIMARY KEY,
        `{w}c` VARCHAR(50) DEFAULT '{w}' COMMENT '{w}k', b VARCHAR(90) AS (CONCAT(`{w}c`, '{w}')) STORED,
        c VARCHAR(50) DEFAULT (CONCAT('{w}', 'x')), e ENUM('{w}', 'b'), s SET('{w}', 'c'),
        CONSTRAINT `{w}ck` CHECK (`{w}c` <> 'x{w}'), KEY `{w}i` (`{w}c`) COMMENT '{w}ic') COMMENT='{w}'"""
    parts = f"""CREATE TABLE `{w}p` (a VARCHAR(20)) PARTITION BY LIST COLUMNS (a)
        (PARTITION `{w}1` VALUES IN ('{w}', 'b') COMMENT='{w}', PARTITION p2 VALUES IN ('x'))"""
    code = [
        f"""CREATE PROCEDURE `{w}p`(IN `{w}a` VARCHAR(20), OUT b VARCHAR(20)) COMMENT 'c''{w}\\\\' READS SQL DATA
        BEGIN SET b = CONCAT('{w}', `{w}a`); SELECT `{w}c` AS `{w}` FROM `{w}t`; END""",
        f"""CREATE FUNCTION `{w}f`(`{w}a` VARCHAR(20)) RETURNS VARCHAR(40) DETERMINISTIC SQL SECURITY INVOKER
        COMMENT '{w}' RETURN CONCAT('{w}', `{w}a`)""",
        f"CREATE FUNCTION typed(a ENUM('{w}')) RETURNS ENUM('{w}', 'b') DETERMINISTIC COMMENT '{w}' RETURN '{w}'",
        f"""CREATE VIEW `{w}v` AS SELECT id, `{w}c` AS `{w}x`, '{w}' AS lit, _utf8mb4 X'D0B6' AS u, _binary X'FF27' AS n,
        CONCAT(`{w}c`, '{w}') AS k FROM `{w}t` WHERE `{w}c` = '{w}'""",
        f"""CREATE TRIGGER `{w}tr` BEFORE INSERT ON `{w}t` FOR EACH ROW
        SET NEW.`{w}c` = CONCAT(NEW.`{w}c`, '{w}') /* {w} */""",
        f"""CREATE EVENT `{w}e` ON SCHEDULE EVERY '1:2' DAY_MINUTE COMMENT 'c''{w}\\\\'
        DO INSERT INTO `{w}t` (`{w}c`) VALUES ('{w}')""",
        f"CREATE SEQUENCE `{w}s` COMMENT='{w}'",
        "SET sql_mode=ORACLE",
        f"CREATE PACKAGE `{w}k` SQL SECURITY INVOKER COMMENT '{w}' AS FUNCTION one RETURN VARCHAR(20); END",
        f"""CREATE PACKAGE BODY `{w}k` COMMENT '{w}b' AS FUNCTION one RETURN VARCHAR(20) AS BEGIN RETURN '{w}'; END;
        END""",
        f"CREATE FUNCTION `{w}o` (`{w}a` VARCHAR2(20)) RETURN VARCHAR2(20) COMMENT '{w}' AS BEGIN RETURN '{w}'; END;",
        "SET sql_mode=DEFAULT",
    ]
    return [f"SET NAMES {charset}".encode(), *(s.encode(codec) for s in (table, parts, *code)), b"SET NAMES utf8mb4"]


@pytest.fixture(params=CLIENTS)
def foreign(request: pytest.FixtureRequest, mariadb: MariaDBServer) -> Iterator[str]:
    """A database whose name every client can write."""
    name = f"client_{request.param}"
    try:
        mariadb.run(f"CREATE DATABASE {name}", f"USE {name}", *written_in(request.param))
        yield name
    finally:
        for database_name in (name, f"{name}_a", f"{name}_b", f"{name}__dumpty_new", f"{name}__dumpty_old"):
            mariadb.run(f"DROP DATABASE IF EXISTS {database_name}")


def test_code_of_every_kind_comes_back_byte_for_byte(mariadb: MariaDBServer, foreign: str, tmp_path: Path) -> None:
    backup = dump(mysql, mariadb.source(foreign), tmp_path / "d.sql", "sql")
    load(mysql, mariadb.source(f"{foreign}_a"), backup)
    assert definitions(mariadb, f"{foreign}_a") == definitions(mariadb, foreign)
    mariadb.run(f"CREATE DATABASE {foreign}_b")
    mariadb.client(f"{foreign}_b", backup.file.read_bytes(), "--comments")
    assert definitions(mariadb, f"{foreign}_b") == definitions(mariadb, foreign)


@pytest.mark.parametrize("charset", ["latin1", "ujis"])
def test_both_servers_bring_it_back(server: MariaDBServer, database, tmp_path: Path, charset: str) -> None:
    w = CLIENTS[charset][1]
    statements = [s for s in written_in(charset) if not any(word in s for word in OF_MARIADB)]
    try:
        server.run("CREATE DATABASE client", "USE client", *statements)
        backup = dump(mysql, server.source("client"), tmp_path / "d.sql", "sql")
        load(mysql, server.source("client_a"), backup)
        assert definitions(server, "client_a") == definitions(server, "client")
        assert ("information_schema.EVENTS", f"{w}e") in definitions(server, "client")
    finally:
        server.run("DROP DATABASE IF EXISTS client", "DROP DATABASE IF EXISTS client_a")


def test_an_overwriting_restore_brings_it_and_puts_it_back_after_a_failure(
    mariadb: MariaDBServer, foreign: str, database, tmp_path: Path
) -> None:
    backup = dump(mysql, mariadb.source(foreign), tmp_path / "d.sql", "sql")
    before = definitions(mariadb, foreign)
    load(mysql, mariadb.source(foreign), backup, overwrite=True)
    assert definitions(mariadb, foreign) == before
    broken = dump(
        mysql, mariadb.source(database("CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1")), tmp_path / "e", "sql"
    )
    broken.file.write_bytes(broken.file.read_bytes().replace(b"DO SELECT 1", b"DO SELECT FROM"))
    with pytest.raises(SourceError, match="event e of the dump cannot be created"):
        load(mysql, mariadb.source(foreign), broken, overwrite=True)
    assert definitions(mariadb, foreign) == before


@pytest.mark.parametrize("rows", [1, 500])
def test_rows_before_such_code_are_loaded_as_ever(
    mariadb: MariaDBServer, database, tmp_path: Path, small: None, rows: int
) -> None:
    name = database(
        "CREATE TABLE té (id INT PRIMARY KEY, ä INT, UNIQUE KEY `ü` (ä))",
        f"INSERT INTO té SELECT seq, seq FROM seq_1_to_{rows}",
        "SET NAMES latin1",
        "CREATE PROCEDURE `tél`() SELECT 'tél'".encode("latin1"),
    )
    backup = dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")
    target = database(create=False)
    load(mysql, mariadb.source(target), backup)
    assert definitions(mariadb, target) == definitions(mariadb, name)
    assert mariadb.run("SELECT COUNT(*), SUM(ä) FROM té", database=target) == [(rows, rows * (rows + 1) // 2)]


def test_the_databases_own_name_is_taken_out_of_such_code(mariadb: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE té (id INT)")
    mariadb.run(
        f"USE `{name}`",
        "SET NAMES latin1",
        f"CREATE PROCEDURE p() SELECT `té`.id FROM `{name}`.`té`".encode("latin1"),
    )
    backup = dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")
    assert name.encode("latin1") not in backup.file.read_bytes()
    target = database(create=False)
    load(mysql, mariadb.source(target), backup)
    assert mariadb.run("CALL p()", database=target) == []


def test_definers_and_a_renamed_table_come_back(mariadb: MariaDBServer, database, tmp_path: Path) -> None:
    mariadb.run("CREATE USER `té`@localhost")
    try:
        name = database(
            "CREATE TABLE old (id INT, `ü` INT)",
            "SET NAMES latin1",
            *(
                text.encode("latin1")
                for text in (
                    "CREATE DEFINER=`té`@localhost PROCEDURE p() SELECT 'é'",
                    "CREATE DEFINER=`té`@localhost EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 'é'",
                    "CREATE DEFINER=`té`@localhost VIEW v AS SELECT 'é' AS x",
                    "CREATE DEFINER=`té`@localhost TRIGGER tr BEFORE INSERT ON old FOR EACH ROW SET NEW.`ü`='1'/*é*/",
                    "CREATE TRIGGER ansi AFTER INSERT ON old FOR EACH ROW SET @x='é'",
                )
            ),
            "SET NAMES utf8mb4",
            "RENAME TABLE old TO `näw`",
        )
        backup = dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")
        target = database(create=False)
        load(mysql, mariadb.source(target), backup)
        restored, saved = definitions(mariadb, target), definitions(mariadb, name)
        # What the server had in two character sets is in one now.
        shown = {key: restored.pop(key) for key in [("SHOW", "tr"), ("SHOW", "ansi")]}
        for key, row in shown.items():
            assert row[2] == saved.pop(key)[2].replace("ä".encode(), b"\xe4")
        assert restored == saved
    finally:
        mariadb.run("DROP USER `té`@localhost")


def test_comments_and_types_come_back_without_backslash_escapes(
    mariadb: MariaDBServer, database, tmp_path: Path
) -> None:
    name = database(
        "SET sql_mode='NO_BACKSLASH_ESCAPES'",
        r"CREATE PROCEDURE p() COMMENT 'a\b''c\\n' SELECT '\'",
        r"CREATE EVENT e ON SCHEDULE EVERY 1 DAY COMMENT 'a\b''c' DO SELECT '\'",
        r"CREATE FUNCTION f(a ENUM('\', 'b')) RETURNS ENUM('\', 'it''s') DETERMINISTIC COMMENT '\' RETURN '\'",
    )
    backup = dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")
    target = database(create=False)
    load(mysql, mariadb.source(target), backup)
    assert definitions(mariadb, target) == definitions(mariadb, name)


@pytest.mark.parametrize(
    ("kind", "part", "statements"),
    [
        (
            "procedure",
            "comment",
            [b"CREATE PROCEDURE x() SELECT '\xe9'", "SET NAMES utf8mb4", "ALTER PROCEDURE x COMMENT 'ж'"],
        ),
        (
            "trigger",
            "table",
            [
                b"CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET @a='\xe9'",
                "SET NAMES utf8mb4",
                "RENAME TABLE t TO `ж`",
            ],
        ),
        (
            "event",
            "comment",
            [
                "SET NAMES utf8mb4",
                "CREATE EVENT x ON SCHEDULE EVERY 1 DAY COMMENT 'ж' DO SELECT 1",
                "SET NAMES latin1",
                "ALTER EVENT x ON SCHEDULE EVERY 2 DAY",
            ],
        ),
    ],
)
def test_a_text_that_its_character_set_cannot_say_is_refused_by_name(
    mariadb: MariaDBServer, database, tmp_path: Path, kind: str, part: str, statements: list[str | bytes]
) -> None:
    name = database("CREATE TABLE t (id INT)", "SET NAMES latin1", *statements)
    with pytest.raises(
        SourceError, match=rf"{kind} {name}\.x was written in the character set latin1, which cannot say its {part}"
    ):
        dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")


def test_an_event_that_an_alter_relabelled_is_refused_by_name(mariadb: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(
        "SET NAMES latin1",
        b"CREATE EVENT x ON SCHEDULE EVERY 1 DAY DO SELECT 1 AS `\xe9`",
        "SET NAMES utf8mb4",
        "ALTER EVENT x ON SCHEDULE EVERY 2 DAY",
    )
    with pytest.raises(SourceError, match=rf"event {name}\.x is kept in utf8mb4, but its text is in another"):
        dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")


def test_a_view_is_not_restored_where_its_character_set_cannot_say_the_databases_name(
    mariadb: MariaDBServer, database, tmp_path: Path
) -> None:
    target = database(create=False)
    path = tmp_path / "d.sql"
    mariadb.run(
        "CREATE DATABASE plain",
        "USE plain",
        "CREATE TABLE t (id INT)",
        "SET NAMES cp1251",
        "CREATE VIEW v AS SELECT * FROM t",
    )
    try:
        backup = dump(mysql, mariadb.source("plain"), path, "sql")
    finally:
        mariadb.run("DROP DATABASE plain")
    with pytest.raises(SourceError, match=f"view v of the dump is written in the character set cp1251, .*{target}"):
        load(mysql, mariadb.source(target), backup)
    assert mariadb.run(f"SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME='{target}'") == [(0,)]


@pytest.mark.parametrize("foreign", ["cp1251"], indirect=True)
def test_a_drill_loads_such_code(foreign: str, mariadb: MariaDBServer, tmp_path: Path) -> None:
    backup = dump(mysql, mariadb.source(foreign), tmp_path / "d.sql", "sql", fingerprint=True)
    with mysql.scratch(dump=backup, on=None, options=defaults(mysql, "scratch")) as drill:
        load(mysql, drill.target, backup)
        assert drill.check()[0] == "CHECK TABLE EXTENDED of 2 tables"
        again = dump(mysql, drill.target, tmp_path / "e.sql", "sql", fingerprint=True)
    assert again.file.read_bytes() == backup.file.read_bytes()


def test_a_database_that_such_code_reaches_into_is_seen_on_a_named_server(
    mariadb: MariaDBServer, database, tmp_path: Path
) -> None:
    other_database = database("CREATE TABLE parent (id INT)")
    name = database("SET NAMES latin1", f"CREATE PROCEDURE p() DELETE FROM `{other_database}`.parent".encode("latin1"))
    backup = dump(mysql, mariadb.source(name), tmp_path / "d.sql", "sql")
    with (
        pytest.raises(NotProvable, match=f"procedure p of the dump reaches into the database {other_database}"),
        mysql.scratch(dump=backup, on=mariadb.source(name), options=defaults(mysql, "scratch", superuser=True)),
    ):
        pytest.fail("a scratch database was made")
