"""What only MySQL has: it comes back, or is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugins.mysql.content import cells
from support.drive import FileDump, defaults, dump, load
from support.mariadb_server import MariaDBServer, running_server

import dumpty_plugins.mysql.plugin as driver
from dumpty import Evidence, IntegrityError, NotProvable, SourceError
from dumpty_plugins.mysql.dumping.snapshot import Snapshot
from dumpty_plugins.mysql.server.session import Session

MEMBERS = ",".join(f"'m{n}'" for n in range(64))
KEYS = [
    "SET sql_mode='ALLOW_INVALID_DATES', restrict_fk_on_non_standard_key=0",
    "CREATE TABLE days (d DATE PRIMARY KEY, n INT)",
    "INSERT INTO days SELECT DATE('2024-01-01') + INTERVAL seq DAY, seq FROM seq_1_to_9000",
    "INSERT INTO days VALUES ('2024-02-30', 0), ('0000-00-00', 0), ('2030-00-31', 0)",
    "CREATE TABLE hidden (a INT NOT NULL, b BLOB, PRIMARY KEY (b(4)), UNIQUE KEY (a) INVISIBLE)",
    "INSERT INTO hidden VALUES (1, 'x'), (2, 'y')",
    "CREATE TABLE parent (id INT PRIMARY KEY, a INT, KEY (a))",
    "CREATE TABLE child (id INT PRIMARY KEY, a INT, CONSTRAINT loose FOREIGN KEY (a) REFERENCES parent (a))",
    "CREATE TABLE old_text (id INT PRIMARY KEY, a VARCHAR(9) CHARACTER SET ucs2, e ENUM('x') CHARACTER SET ucs2)",
    "INSERT INTO old_text SELECT seq, 'ä', 1 FROM seq_1_to_3000",
    "CREATE TABLE no_key (a INT)",
    f"CREATE TABLE many (s SET({MEMBERS}))",
    "INSERT INTO many VALUES (18446744073709551615), (9007199254740993), (0), (NULL)",
    "CREATE TABLE exact (id INT PRIMARY KEY, d DOUBLE)",
    "INSERT INTO exact VALUES (1, -2.2250738585072014e-308), (2, -1.7976931348623157e308), (3, -0e0)",
]


@pytest.mark.parametrize("formatting", ["server", "client"])
@pytest.mark.parametrize("account_kind", ["root", "owner"])
def test_what_is_odd_comes_back_also_to_an_account_with_few_rights(
    mysql: MariaDBServer, database, account, tmp_path: Path, formatting: str, account_kind: str
) -> None:
    name, target = database(*KEYS), database()
    backup = dump(driver, mysql.source(name), tmp_path / "d", "sql", formatting=formatting)
    assert b"(18446744073709551615),\n(9007199254740993)" in backup.file.read_bytes()
    user = "root"
    if account_kind == "owner":
        user = account(f"ALL ON `{target}`.*")
        mysql.run("SET GLOBAL restrict_fk_on_non_standard_key=0")
    try:
        load(driver, mysql.source(target, user=user), backup)
    finally:
        mysql.run("SET GLOBAL restrict_fk_on_non_standard_key=1")
    assert cells(mysql, target) == cells(mysql, name)


def test_what_a_server_asks_of_new_tables_is_not_asked_of_old_ones(mysql: MariaDBServer, database, tmp_path) -> None:
    backup = dump(driver, mysql.source(database(*KEYS)), tmp_path / "d", "sql")
    mysql.run("SET GLOBAL sql_require_primary_key=1", "SET GLOBAL sql_generate_invisible_primary_key=1")
    try:
        target = database(create=False)
        load(driver, mysql.source(target), backup)
    finally:
        mysql.run("SET GLOBAL sql_require_primary_key=0", "SET GLOBAL sql_generate_invisible_primary_key=0")
    assert {o.path: o.rows for o in backup.evidence.objects}["no_key"] == 0
    assert "my_row_id" not in mysql.dump(target)


class Unread(FileDump):
    """A dump that nobody may read."""

    def open(self):
        pytest.fail("the rows were read")


@pytest.mark.parametrize("target", ["missing", "empty", "full"])
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (1419, "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.id = 1"),
        (1419, "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1"),
        (1418, "CREATE FUNCTION f() RETURNS INT RETURN 1"),
    ],
)
def test_code_that_the_binary_log_forbids_is_refused_with_the_setting_before_the_rows(
    mysql: MariaDBServer, database, account, tmp_path: Path, code: str, number: int, target: str
) -> None:
    mysql.run("SET GLOBAL log_bin_trust_function_creators=1")
    name = database("CREATE TABLE a (id INT)", code)
    mysql.run("SET GLOBAL log_bin_trust_function_creators=0")
    other_database = database(*(["CREATE TABLE old (id INT)"] * (target == "full")), create=target != "missing")
    backup = dump(driver, mysql.source(name), tmp_path / "d", "sql")
    user = "root" if number == 1418 else account("ALL ON `d%`.*", "SET_ANY_DEFINER, SYSTEM_USER, SHOW_ROUTINE ON *.*")
    message = rf"(trigger t|function f) of the dump .*error {number}.*SET GLOBAL log_bin_trust_function_creators=1"
    # Of a dump without evidence it is known when its code is reached.
    for refused in (Unread(backup.file, "sql", backup.evidence), FileDump(backup.file, "sql")):
        with pytest.raises(SourceError, match=message):
            load(driver, mysql.source(other_database, user=user), refused, overwrite=target == "full")
        tables = mysql.run(f"SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA='{other_database}'")
        assert tables == ([("old",)] if target == "full" else [])
    mysql.run("SET GLOBAL log_bin_trust_function_creators=1")
    try:
        load(driver, mysql.source(other_database, user=user), backup, overwrite=target == "full")
    finally:
        mysql.run("SET GLOBAL log_bin_trust_function_creators=0")
    assert mysql.run("SHOW TABLES", database=other_database) == [("a",)]


def test_a_drill_where_the_binary_log_forbids_its_code_is_not_provable_there(
    mysql: MariaDBServer, database, account, tmp_path: Path
) -> None:
    name = database("CREATE TABLE a (id INT)", "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.id = 1")
    backup = dump(driver, mysql.source(name), tmp_path / "d", "sql")
    on = mysql.source("any", user=account(r"ALL ON `dumpty\_drill%`.*"))
    with (
        driver.scratch(dump=backup, on=on, options=defaults(driver, "scratch")) as drill,
        pytest.raises(NotProvable, match=r"trigger t of the dump .*error 1419.*log_bin_trust_function_creators"),
    ):
        load(driver, drill.target, backup)


def test_a_table_made_while_a_lock_was_awaited_is_in_the_backup(
    mysql: MariaDBServer, database, tmp_path: Path, monkeypatch
) -> None:
    name = database("CREATE TABLE a (id INT PRIMARY KEY)")
    waited = []
    begin = Snapshot._begin

    def slow(self, tables):
        if not waited:
            waited.append(tables)
            mysql.run("CREATE TABLE late (id INT)", "INSERT INTO late VALUES (1)", database=name)
        return begin(self, tables)

    monkeypatch.setattr(Snapshot, "_begin", slow)
    backup = dump(driver, mysql.source(name), tmp_path / "d", "sql")
    assert waited
    assert {o.path: o.rows for o in backup.evidence.objects} == {"a": 0, "late": 1}


def test_a_routine_in_another_language_is_left_alone(mysql: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE t (id INT)", "CREATE TABLE a (id INT)")
    mysql.run(
        f"CREATE FUNCTION js() RETURNS INT DETERMINISTIC LANGUAGE JAVASCRIPT AS $$ let `{name}` = {{t: 1}}; return {name}.t; // it's $$",
        database=name,
    )
    backup = dump(driver, mysql.source(name), tmp_path / "d", "sql")
    assert f"return {name}.t; // it's".encode() in backup.file.read_bytes()
    assert any("function js names its own database" in n for n in backup.evidence.notes)
    target = database(create=False)
    load(driver, mysql.source(target), backup)
    body = "SELECT ROUTINE_DEFINITION FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA='{}'"
    assert mysql.run(body.format(target)) == mysql.run(body.format(name))


def test_a_library_is_refused_by_name(mysql: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE LIBRARY sums LANGUAGE JAVASCRIPT AS $$ export function f() {} $$")
    with pytest.raises(SourceError, match=r"has libraries \(sums\).*routines=off"):
        dump(driver, mysql.source(name), tmp_path / "d", "sql")
    assert dump(driver, mysql.source(name), tmp_path / "e", "sql", routines=False).evidence.objects == ()


def test_a_server_before_8_0_is_refused_by_name(tmp_path: Path) -> None:
    # A server that gives itself out for one: the driver looks at nothing else before it refuses.
    with running_server("--version=5.7.44-log") as server:
        server.run("CREATE DATABASE shop")
        with pytest.raises(SourceError, match=r"is MySQL 5\.7\.44-log, and this driver needs MySQL 8\.0 or newer"):
            dump(driver, server.source("shop"), tmp_path / "d", "sql")


def test_a_table_of_a_cluster_is_refused_by_name(
    mysql: MariaDBServer, database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = database("CREATE TABLE far (id INT)")
    rows = Session.rows

    def listed(self: Session, sql: str | bytes):
        """What a server with a cluster lists of the table."""
        swap = {b"InnoDB": b"ndbcluster"} if "information_schema.TABLES" in str(sql) else {}
        return [tuple(swap.get(value, value) for value in row) for row in rows(self, sql)]

    monkeypatch.setattr(Session, "rows", listed)
    with pytest.raises(SourceError, match="table far is of the engine ndbcluster, which keeps its rows elsewhere"):
        dump(driver, mysql.source(name), tmp_path / "d", "sql")


def test_error_values_of_an_enum_are_told_from_losses_however_few_warnings_are_shown(
    mysql: MariaDBServer, database, account, tmp_path: Path, monkeypatch
) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a'), n TINYINT)",
        "SET sql_mode=''",
        "INSERT INTO t SELECT seq, '', 1 FROM seq_1_to_300",
    )
    backup = dump(driver, mysql.source(name), tmp_path / "d", "sql")
    monkeypatch.setattr(Session, "show_warnings", lambda self, _: setattr(self, "warnings_shown", 64))
    target = database(create=False)
    load(driver, mysql.source(target), backup)
    assert cells(mysql, target) == cells(mysql, name)
    backup.file.write_bytes(backup.file.read_bytes().replace(b"(299,0,1)", b"(299,0,1000)"))
    with pytest.raises(IntegrityError, match="did not go in as it stands"):
        load(driver, mysql.source(database(create=False)), FileDump(backup.file, "sql", Evidence()))
