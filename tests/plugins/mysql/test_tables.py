"""Single tables back: with all that is theirs, beside what is there, and all or nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs
from plugins.mysql.content import OBJECTS, TYPES, build, cells
from plugins.mysql.test_killed_swap import follow
from plugins.mysql.test_restore import state
from support.drive import FileDump, defaults, dump
from support.mariadb_server import MariaDBServer, running_server

import dumpty_plugins.mysql.plugin as driver
from dumpty import (
    BackupManager,
    BackupResult,
    Cancellation,
    Cancelled,
    DumptyError,
    IntegrityError,
    Locked,
    OptionError,
    SourceError,
    TargetNotEmpty,
)
from dumpty_plugins.mysql.loading.loader import Loader
from dumpty_plugins.mysql.schema.recovery import lock_name
from dumpty_plugins.mysql.server.session import Session, StatementError

SHOP = [
    "CREATE TABLE customers (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) NOT NULL, t TEXT, UNIQUE (name), FULLTEXT (t))",
    "INSERT INTO customers (name, t) SELECT CONCAT('customer ', seq), 'text' FROM seq_1_to_9",
    """CREATE TABLE orders (
        id INT AUTO_INCREMENT PRIMARY KEY, customer INT NOT NULL, earlier INT, note VARCHAR(40) DEFAULT 'on orders;',
        twice INT AS (customer * 2) STORED, KEY by_note (note, customer), FOREIGN KEY (customer) REFERENCES customers (id),
        CONSTRAINT of_earlier FOREIGN KEY (earlier) REFERENCES orders (id), CONSTRAINT positive CHECK (customer > 0),
        CHECK (earlier <> 17)) COMMENT='of `orders`, it''s' AUTO_INCREMENT=5000""",
    "INSERT INTO orders (id, customer) SELECT seq, 1 + seq % 9 FROM seq_1_to_300",
    "CREATE TABLE log_ (n INT, t TEXT)",
    "CREATE TRIGGER second_ BEFORE INSERT ON orders FOR EACH ROW BEGIN SET NEW.note = CONCAT(NEW.note, ' ON orders'); END",
    "CREATE TRIGGER first_ BEFORE INSERT ON orders FOR EACH ROW PRECEDES second_ SET NEW.note = 'first'",
    "CREATE TRIGGER logging AFTER UPDATE ON orders FOR EACH ROW INSERT INTO log_ VALUES (NEW.id, 'orders')",
    "CREATE TRIGGER of_others BEFORE INSERT ON customers FOR EACH ROW SET NEW.t = 'triggered'",
    "CREATE TABLE items (`order` INT, line TEXT, CONSTRAINT of_order FOREIGN KEY (`order`) REFERENCES orders (id))",
    "INSERT INTO items VALUES (1, 'a'), (2, 'b')",
    """CREATE TABLE days (id INT, at DATE, PRIMARY KEY (id, at)) PARTITION BY RANGE (YEAR(at))
        (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE)""",
    "INSERT INTO days SELECT seq, IF(seq % 2, '1999-01-01', '2020-01-01') FROM seq_1_to_50",
    "CREATE VIEW noted AS SELECT id, note FROM orders WHERE note IS NOT NULL",
    "CREATE PROCEDURE work() SELECT 1",
]
LOST = ["SET FOREIGN_KEY_CHECKS=0", "DROP TABLE orders, customers"]
FORMATS = ("sql", "parallel")


@pytest.fixture
def name(database) -> str:
    return database(*SHOP)


@pytest.fixture
def made(server: MariaDBServer, name: str, tmp_path: Path):
    """Return what backs the shop up, in a format, and gives back what restores tables of it."""
    manager = BackupManager(tmp_path / "backups", compressor=None)

    def make(form: str = "parallel", source: str = name, **options: object) -> Callable[..., BackupResult]:
        backup = manager.create_backup(server.url(source), format=form, **options).raise_for_error()

        def restore(target: str, *tables: str, url: str = "", **how: object) -> BackupResult:
            return manager.restore(backup.id, url or server.url(target), tables=tables, **how)

        restore.backup, restore.manager = backup, manager
        return restore

    return make


def created(server: MariaDBServer, database: str, table: str) -> str:
    """Return a table's definition; MySQL shows a character set that was said, even where it is the table's own."""
    return server.run(f"SHOW CREATE TABLE `{database}`.`{table}`")[0][1].replace(
        " CHARACTER SET latin1 COLLATE", " COLLATE"
    )


def triggers(server: MariaDBServer, database: str, table: str) -> list[tuple]:
    quoted = table.replace("'", "''")
    return server.run(
        "SELECT TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER, ACTION_STATEMENT, DEFINER, SQL_MODE "
        f"FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA='{database}' AND EVENT_OBJECT_TABLE='{quoted}' "
        "ORDER BY CONCAT(ACTION_TIMING), CONCAT(EVENT_MANIPULATION), ACTION_ORDER"
    )


def put_back(target, backup: FileDump, *tables: str, new: str = "", overwrite: bool = False, **options: object):
    """Let the driver restore tables of a dump, as dumpty does."""
    objects = tuple(entry for entry in backup.evidence.objects if entry.path in tables)
    backup.evidence = structs.replace(backup.evidence, objects=objects)
    backup.parts = tuple(p for p in backup.parts if not p.tables or any(t.path in tables for t in p.tables))
    return driver.restore_tables(
        target=target,
        dump=backup,
        tables={table: new or table for table in tables},
        overwrite=overwrite,
        options=defaults(driver, "restore_tables", **options),
    )


# -- what comes back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_tables_come_back_as_they_were(server: MariaDBServer, name: str, made, form: str) -> None:
    """And all the rest is as it was, too: keys of other tables refer to them again."""
    restore = made(form, fingerprint=True)
    before = state(server, name)
    server.run(*LOST, database=name)
    restore(name, "orders", "customers").raise_for_error()
    assert state(server, name) == before
    server.run("INSERT INTO orders (customer) VALUES (3)", "UPDATE orders SET earlier=1 WHERE id=5000", database=name)
    assert server.run("SELECT id, note, twice FROM orders ORDER BY id DESC LIMIT 1", database=name) == [
        (5000, "first ON orders", 6)
    ]
    assert server.run("SELECT * FROM log_", database=name) == [(5000, "orders")]
    for refused in ("INSERT INTO orders (customer) VALUES (99)", "INSERT INTO items VALUES (9999, 'x')"):
        with pytest.raises(Exception, match="foreign key"):
            server.run(refused, database=name)


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_comes_back_under_another_name(server: MariaDBServer, name: str, made, form: str, caplog) -> None:
    """Beside the table of its own name, with all that is its own under names of its own; nothing else changes."""
    restore = made(form)
    before, orders = state(server, name), created(server, name, "orders")
    old_triggers = triggers(server, name, "orders")
    restore(name, "orders=orders_before").raise_for_error()
    again = created(server, name, "orders_before")
    left_out = [part for part in orders.splitlines() if "`customers`" in part]
    expected = "\n".join(part for part in orders.splitlines() if part not in left_out)
    expected = expected.replace("`orders`", "`orders_before`").replace(
        "COMMENT='of `orders_before`", "COMMENT='of `orders`"
    )
    expected = expected.replace("`of_earlier` FOREIGN", "`of_earlier_2` FOREIGN").replace(
        "orders_chk_", "orders_before_chk_"
    )
    if server.kind == "mysql":
        expected = expected.replace("`positive`", "`positive_2`")
    assert sorted(p.strip(" ,") for p in again.splitlines()) == sorted(p.strip(" ,") for p in expected.splitlines())
    assert [(f"{t[0]}_2", *t[1:]) for t in old_triggers] == triggers(server, name, "orders_before")
    assert "foreign key orders_ibfk_1 was left out, for it refers to customers" in caplog.text
    assert "orders: the foreign key of_earlier is called of_earlier_2, for there is another" in caplog.text
    assert "orders: the trigger first_ is called first__2, for there is another first_" in caplog.text
    assert server.run("SELECT COUNT(*), MAX(twice) FROM orders_before", database=name) == [(300, 18)]
    server.run("DROP TABLE orders_before", database=name)
    assert state(server, name) == before


def test_tables_that_refer_to_each_other_come_back_under_other_names(server: MariaDBServer, name: str, made) -> None:
    restore = made("sql")
    before = state(server, name)
    restore(name, "items=i", "orders=o", "customers=c").raise_for_error()
    assert "FOREIGN KEY (`customer`) REFERENCES `c` (`id`)" in created(server, name, "o")
    assert "`o_ibfk_1`" in created(server, name, "o")
    assert "FOREIGN KEY (`earlier`) REFERENCES `o` (`id`)" in created(server, name, "o")
    assert "FOREIGN KEY (`order`) REFERENCES `o` (`id`)" in created(server, name, "i")
    assert "AUTO_INCREMENT=5000" in created(server, name, "o")
    with pytest.raises(Exception, match="foreign key"):
        server.run("INSERT INTO i VALUES (9999, 'x')", database=name)
    server.run("SET FOREIGN_KEY_CHECKS=0", "DROP TABLE o, c, i", database=name)
    assert state(server, name) == before


@pytest.mark.parametrize("form", ["sql", "parallel"])
def test_every_kind_of_table_comes_back_under_another_name(server: MariaDBServer, database, made, form: str) -> None:
    """Each with the fingerprint of its rows: the driver compares, and raises where one differs."""
    source = database(create=False)
    build(server, source, *TYPES, *OBJECTS)
    restore = made(form, source, fingerprint=True)
    before = cells(server, source)
    paths = sorted(entry.path for entry in restore.backup.evidence.objects)
    assert len(paths) > 20
    tables = {path: f"again {number}" for number, path in enumerate(paths)}
    restore.manager.restore(restore.backup.id, server.url(source), tables=tables).raise_for_error()
    after = cells(server, source)
    for path, again in tables.items():
        if path != "kept":  # which keeps when its rows were valid
            assert after[again] == before[path], path
    assert after == {**after, **before}
    assert state(server, source)[2] == []
    target = database(create=False)
    independent = [path for path in paths if path != "computed" or server.kind == "mysql"]
    restore(target, *independent, create=True).raise_for_error()
    assert {t: rows for t, rows in cells(server, target).items() if t != "kept"} == {
        t: rows for t, rows in before.items() if t in independent and t != "kept"
    }
    for path in independent:
        assert triggers(server, target, path) == triggers(server, source, path)
        assert created(server, target, path.replace("`", "``")) == created(server, source, path.replace("`", "``"))


def test_history_and_sequences_of_mariadb(mariadb: MariaDBServer, server: MariaDBServer, database, made) -> None:
    source = database(
        "CREATE SEQUENCE numbers START WITH 100",
        "CREATE TABLE kept (id INT DEFAULT (NEXTVAL(numbers)) PRIMARY KEY, a INT) WITH SYSTEM VERSIONING",
        "INSERT INTO kept (a) VALUES (1), (2)",
        "UPDATE kept SET a=3",
    )
    restore, target = made("sql", source), database()
    history = "SELECT id, a, row_start, row_end FROM {} FOR SYSTEM_TIME ALL ORDER BY 1, 2"
    refused = restore(target, "kept")
    assert isinstance(refused.exception, SourceError)
    assert "takes numbers from the sequence numbers, which" in refused.error
    assert state(mariadb, target) == state(mariadb, database())
    restore(source, "kept=again").raise_for_error()
    assert mariadb.run(history.format("again"), database=source) == mariadb.run(history.format("kept"), database=source)
    mariadb.run("INSERT INTO again (a) VALUES (9)", database=source)
    assert mariadb.run("SELECT id FROM again WHERE a=9", database=source) == [(102,)]


def test_triggers_can_be_left_out(server: MariaDBServer, name: str, made, caplog) -> None:
    restore = made("parallel")
    restore(name, "orders=again", triggers=False).raise_for_error()
    assert triggers(server, name, "again") == []
    assert "triggers were left out, as asked" in caplog.text


def test_a_trigger_in_another_character_set_finds_its_table(server: MariaDBServer, database, made) -> None:
    source = database(
        "CREATE TABLE `bücher` (id INT PRIMARY KEY, t VARCHAR(20))",
        "SET NAMES latin1",
        "CREATE TRIGGER `größer` BEFORE INSERT ON `bücher` FOR EACH ROW SET NEW.t='ß'".encode("latin-1"),
        "SET NAMES utf8mb4",
    )
    restore = made("sql", source)
    restore(source, "bücher=grüße").raise_for_error()
    assert triggers(server, source, "grüße")[0][0] == "größer_2"
    server.run("INSERT INTO `grüße` (id) VALUES (1)", database=source)
    assert server.run("SELECT * FROM `grüße`", database=source) == [(1, "ß")]
    refused = restore(source, "bücher=книги")
    assert "latin1, which cannot say книги" in refused.error
    restore(source, "bücher=книги", triggers=False).raise_for_error()


def test_keys_that_a_server_would_not_take_anew_are_moved(mysql: MariaDBServer, server, database, made) -> None:
    source = database(
        "SET restrict_fk_on_non_standard_key=0",
        "CREATE TABLE parent (id INT PRIMARY KEY, code INT, KEY (code))",
        "CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (code))",
        "INSERT INTO parent VALUES (1, 1)",
        "INSERT INTO child VALUES (1, 1)",
    )
    restore = made("sql", source)
    before = state(mysql, source)
    restore(source, "parent=p", "child=c").raise_for_error()
    assert "REFERENCES `p` (`code`)" in created(mysql, source, "c")
    mysql.run("SET FOREIGN_KEY_CHECKS=0", "DROP TABLE parent, p, c", database=source)
    restore(source, "parent").raise_for_error()
    assert state(mysql, source) == before
    restore(source, "parent", "child", overwrite=True).raise_for_error()
    assert state(mysql, source) == before
    restore.manager.restore(restore.backup.id, mysql.url(source), overwrite=True).raise_for_error()
    assert state(mysql, source) == before


# -- what is there already ---------------------------------------------------------------------------------------


def test_a_table_that_is_there_is_refused_and_says_how_to_insist(server: MariaDBServer, name: str, made) -> None:
    restore = made()
    before = state(server, name)
    refused = restore(name, "orders")
    assert isinstance(refused.exception, TargetNotEmpty)
    assert "has a table called orders already" in refused.error
    assert "TABLE=NEW" in refused.error
    assert "--overwrite" in refused.error
    refused = restore(name, "orders=noted", overwrite=True)
    assert isinstance(refused.exception, TargetNotEmpty)
    assert "has a view called noted already" in refused.error
    assert state(server, name) == before


@pytest.mark.parametrize("form", ["sql", "parallel"])
def test_overwriting_replaces_the_table_alone(server: MariaDBServer, name: str, made, form: str) -> None:
    """With its triggers, constraints and views on it; those of others stay."""
    server.run("DROP TABLE items", database=name)
    restore = made(form)
    before, orders = state(server, name), created(server, name, "orders")
    server.run(
        "ALTER TABLE orders ADD more INT, DROP CONSTRAINT positive",
        "DROP TRIGGER logging",
        "CREATE TRIGGER another BEFORE DELETE ON orders FOR EACH ROW SET @x=1",
        "DELETE FROM orders WHERE id > 7",
        database=name,
    )
    restore(name, "orders", "days", overwrite=True).raise_for_error()
    again = created(server, name, "orders")
    assert [p for p in orders.splitlines() if p.rstrip(",") not in again] == [
        p for p in orders.splitlines() if "REFERENCES `customers`" in p
    ]
    assert [t[0] for t in triggers(server, name, "orders")] == ["logging", "first_", "second_"]
    assert server.run("SELECT COUNT(*) FROM noted", database=name) == [(300,)]
    server.run(
        "ALTER TABLE orders ADD CONSTRAINT orders_ibfk_1 FOREIGN KEY (customer) REFERENCES customers (id)",
        database=name,
    )
    assert state(server, name)[1:] == before[1:]


def test_a_table_that_others_refer_to_is_replaced_only_with_them(server: MariaDBServer, name: str, made) -> None:
    """The server would let their keys follow the old one out."""
    restore = made()
    before = state(server, name)
    refused = restore(name, "orders", overwrite=True)
    assert isinstance(refused.exception, SourceError)
    assert f"of_order of {name}.items to orders" in refused.error
    assert state(server, name) == before
    server.run("DELETE FROM items", "UPDATE customers SET t='lost'", database=name)
    restore(name, "orders", "items", "customers", overwrite=True).raise_for_error()
    assert state(server, name) == before


def test_somebody_who_uses_the_table_is_waited_for_and_named_a_lock(
    server: MariaDBServer, name: str, made, monkeypatch
) -> None:
    monkeypatch.setattr("dumpty_plugins.mysql.loading.restore_lock._MOMENT_SECONDS", 1)
    restore = made("native")
    before = state(server, name)
    with contextlib.closing(server.connect(name)) as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM days LIMIT 1")
        assert isinstance(restore(name, "days", overwrite=True, lock_timeout=1).exception, Locked)
        cursor.execute("ROLLBACK")
    assert state(server, name) == before
    with contextlib.closing(server.connect()) as other, other.cursor() as cursor:
        cursor.execute(f"SELECT GET_LOCK('{lock_name(name)}', 0)")
        assert "another restore into" in restore(name, "days", overwrite=True).error
    restore(name, "days", overwrite=True).raise_for_error()
    assert state(server, name) == before


def test_what_a_key_that_dangles_does_not_fit_is_not_restored(server: MariaDBServer, name: str, made) -> None:
    restore = made("sql")
    server.run(
        "SET FOREIGN_KEY_CHECKS=0",
        "CREATE TABLE own (c DATETIME PRIMARY KEY, CONSTRAINT wrong FOREIGN KEY (c) REFERENCES lost (id))",
        database=name,
    )
    before = state(server, name)
    refused = restore(name, "customers=lost")
    assert isinstance(refused.exception, SourceError)
    assert state(server, name) == before


def test_a_server_that_ignores_case_takes_names_as_it_sees_them(mariadb: MariaDBServer, server, database, made) -> None:
    source = database(
        "CREATE TABLE Orders (id INT PRIMARY KEY, other INT, CONSTRAINT Self FOREIGN KEY (other) REFERENCES Orders (id))",
        "CREATE TABLE Lines_ (id INT PRIMARY KEY, CONSTRAINT Of FOREIGN KEY (id) REFERENCES Orders (id))",
        "CREATE TRIGGER Trig BEFORE INSERT ON Orders FOR EACH ROW SET @x=1",
        "INSERT INTO Orders (id) SELECT seq FROM seq_1_to_5",
        "INSERT INTO Lines_ VALUES (1)",
    )
    restore = made("sql", source, fingerprint=True)
    with running_server("--lower-case-table-names=1") as other:

        def put(*tables: str, **how: object) -> BackupResult:
            return restore("", *tables, url=other.url("shop"), other=True, **how)

        put("Orders", "Lines_=LINES", create=True).raise_for_error()
        assert other.run("SELECT COUNT(*) FROM orders JOIN `lines` USING (id)", database="shop") == [(1,)]
        assert isinstance(put("Lines_=Lines").exception, TargetNotEmpty)
        refused = put("Orders=ORDERS", overwrite=True)
        assert "Of of shop.lines to orders" in refused.error
        other.run("DELETE FROM `lines`", "DELETE FROM orders", database="shop")
        put("Orders", "Lines_=Lines", overwrite=True).raise_for_error()
        assert other.run("SELECT COUNT(*) FROM orders JOIN `lines` USING (id)", database="shop") == [(1,)]
        assert [t[0] for t in triggers(other, "shop", "orders")] == ["Trig"]
        assert isinstance(put("Orders=A", "Lines_=a").exception, OptionError)


def test_a_broken_table_that_was_put_aside_keeps_its_names(server: MariaDBServer, database, made, caplog) -> None:
    source = database(
        "CREATE TABLE `größe x` (id INT PRIMARY KEY)",
        """CREATE TABLE `bücher` (id INT PRIMARY KEY, p INT, q INT, FOREIGN KEY (p) REFERENCES `größe x` (id),
            CONSTRAINT `é'``é` FOREIGN KEY (q) REFERENCES `bücher` (id), CHECK (q <> 7))""",
        "CREATE TRIGGER `tr``é` BEFORE INSERT ON `bücher` FOR EACH ROW SET NEW.q = NULL",
    )
    restore = made("parallel", source)
    before = created(server, source, "bücher")
    server.run("RENAME TABLE `bücher` TO broken", database=source)
    broken = created(server, source, "broken"), triggers(server, source, "broken")
    tables = {"größe x": "ß`\"'x", "bücher": "bücher"}
    restore.manager.restore(restore.backup.id, server.url(source), tables=tables).raise_for_error()
    again = created(server, source, "bücher")
    assert again.replace("é_2", "é").replace("`ß``\"'x`", "`größe x`") == before
    assert [t[0] for t in triggers(server, source, "bücher")] == ["tr`é_2"]
    assert (created(server, source, "broken"), triggers(server, source, "broken")) == broken
    assert "the foreign key é'`é is called é'`é_2" in caplog.text


def test_names_that_differ_in_case_are_two_tables(server: MariaDBServer, database, made) -> None:
    source = database(
        "CREATE TABLE a (id INT PRIMARY KEY)",
        "CREATE TABLE A (id INT PRIMARY KEY, CONSTRAINT up FOREIGN KEY (id) REFERENCES a (id))",
    )
    restore = made("sql", source)
    before = state(server, source)
    assert "up of" in restore(source, "a", overwrite=True).error
    restore(source, "a", "A", overwrite=True).raise_for_error()
    assert state(server, source) == before


# -- what is missing ---------------------------------------------------------------------------------------------


def test_a_missing_database_is_created_like_the_one_of_the_backup(server: MariaDBServer, database, made) -> None:
    source = database("ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_german1_ci", *SHOP)
    restore, target = made("sql", source), database(create=False)
    restore(target, "customers", "orders").raise_for_error()
    query = "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME='{}'"
    assert server.run(query.format(target)) == [("latin1_german1_ci",)]
    assert set(cells(server, target)) == {"customers", "orders"}
    for table in ("customers", "orders"):
        assert created(server, target, table) == created(server, source, table)
        assert triggers(server, target, table) == triggers(server, source, table)


@pytest.mark.parametrize("tables", [["orders"], ["days"]])
def test_a_database_that_was_created_goes_where_that_fails(
    server: MariaDBServer, database, made, monkeypatch, tables: list[str]
) -> None:
    restore, target = made("sql"), database(create=False)
    execute = Session.execute

    def failing(self: Session, sql: str | bytes) -> tuple[int, int]:
        result = execute(self, sql)
        if isinstance(sql, str) and sql.startswith("RENAME TABLE") and "TO `d" in sql and failures:
            failures.pop()
            raise StatementError("refused", 1)
        return result

    failures = [1]
    monkeypatch.setattr(Session, "execute", failing)
    assert isinstance(restore(target, *tables).exception, SourceError)
    assert failures == []
    assert [d for (d,) in server.run("SHOW DATABASES") if d.startswith(target)] == []


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        (["order"], "has no table order; it has customers, days, items, log_, orders."),
        (["orders="], "is to have no name"),
        (["orders=x", "items=x"], "two tables are to be called"),
        (["orders=other.x"], "write it without a database"),
        (["orders=x "], "is no name for a table"),
        ([f"orders={'x' * 65}"], "is no name for a table"),
    ],
)
def test_what_cannot_be_meant_is_refused(mariadb, server: MariaDBServer, name: str, made, tables, text: str) -> None:
    restore = made("native")
    before = state(server, name)
    refused = restore(name, *tables)
    assert isinstance(refused.exception, OptionError)
    assert text in refused.error
    assert state(server, name) == before


def test_a_table_whose_rows_are_those_of_others_comes_back_with_all(server: MariaDBServer, database, made) -> None:
    source = database("CREATE TABLE a (i INT) ENGINE=MyISAM", "CREATE TABLE m (i INT) ENGINE=MERGE UNION=(a)")
    restore = made("sql", source)
    assert "no rows of its own" in restore(source, "m=n").error
    restore(source, "a=b").raise_for_error()


def test_an_account_without_rights_is_told_which(server: MariaDBServer, name: str, made, account) -> None:
    restore = made("native")
    before = state(server, name)
    user = account(f"ALL ON `{name}`.*")
    url = server.url(name).replace("root@", f"{user}@")
    refused = restore(name, "days=d", url=url)
    assert isinstance(refused.exception, SourceError)
    assert f"GRANT SELECT, CREATE, ALTER, INSERT, DROP ON `{name}__dumpty_new`.* TO '{user}'" in refused.error
    server.run(f"GRANT ALL ON `{name}__dumpty_new`.* TO {user}@localhost")
    restore(name, "days=d", url=url).raise_for_error()
    server.run("DROP TABLE d", database=name)
    assert f"`{name}__dumpty_old`.* TO" in restore(name, "days", url=url, overwrite=True).error
    advice = {"mariadb": "definer=current", "mysql": "log_bin_trust_function_creators"}[server.kind]
    assert advice in restore(name, "orders=o", url=url).error
    assert state(server, name) == before
    server.run(f"GRANT ALL ON `{name}__dumpty_old`.* TO {user}@localhost")
    restore(name, "days", url=url, overwrite=True).raise_for_error()
    assert state(server, name) == before
    if server.kind == "mariadb":
        restore(name, "orders=o", url=url, definer="current").raise_for_error()
        assert {t[5] for t in triggers(server, name, "o")} == {f"{user}@localhost"}


# -- nothing but that table --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE items;",
        "RENAME TABLE items TO mine;",
        "CREATE TABLE evil (i INT);",
        "INSERT INTO `items` (`order`,`line`) VALUES\n(1,'x');",
        "INSERT INTO `days` (`id`,`at`) VALUES\n(1,'2030-01-01');",
        "CREATE SEQUENCE evil;",
        "CREATE TRIGGER evil BEFORE INSERT ON items FOR EACH ROW SET @x=1;",
        "CREATE TRIGGER evil BEFORE INSERT ON /*! items -- */ days FOR EACH ROW SET @x=1;",
        "CREATE TRIGGER evil BEFORE INSERT /*M! ON items FOR EACH ROW SET @x=1; */ ON days FOR EACH ROW SET @x=1;",
        "CREATE DEFINER=trigger@x TRIGGER evil BEFORE INSERT ON items FOR EACH ROW SET @x=1;",
        "ALTER DATABASE COLLATE = latin1_bin;",
        "SET GLOBAL max_connections=1;",
    ],
)
def test_statements_of_a_dump_that_are_none_of_the_tables_are_not_run(
    mariadb: MariaDBServer, server: MariaDBServer, name: str, tmp_path: Path, statement: str
) -> None:
    backup = dump(driver, server.source(name), tmp_path / "d", "sql")
    text = backup.file.read_text()
    place = "CREATE DEFINER" if "TRIGGER" in statement else "CREATE TABLE `log_`"
    position = text.index("DELIMITER ;;\nCREATE DEFINER" if place == "CREATE DEFINER" else place)
    backup.file.write_text(f"{text[:position]}{statement}\n{text[position:]}")
    before = state(server, name)
    with contextlib.suppress(DumptyError):
        put_back(server.source(name), backup, "days", new="again")
    server.run("DROP TABLE IF EXISTS again", database=name)
    assert state(server, name) == before


def test_a_constraint_that_only_the_server_sees_is_refused(server: MariaDBServer, name: str, tmp_path: Path) -> None:
    backup = dump(driver, server.source(name), tmp_path / "d", "sql")
    text = backup.file.read_text()
    hidden = "/*!50000 , CONSTRAINT evil FOREIGN KEY (`customer`) REFERENCES `items` (`order`) */\n) ENGINE"
    start = text.index("CREATE TABLE `orders`")
    backup.file.write_text(text[:start] + text[start:].replace("\n) ENGINE", hidden, 1))
    before = state(server, name)
    with pytest.raises(DumptyError):
        put_back(server.source(name), backup, "orders", new="again", triggers=False)
    assert state(server, name) == before


def test_rows_that_a_part_lacks_or_that_are_anothers_are_an_error(
    server: MariaDBServer, name: str, tmp_path: Path
) -> None:
    before = state(server, name)
    for number, change in enumerate(
        (
            lambda text: text.replace(b"(1,", b"(1,", 1).replace(
                b"),\n(2,", b");\nINSERT INTO `items` (`order`) VALUES\n(2,", 1
            ),
            lambda text: text.replace(b",\n(3,", b",\n(30000,", 1),
            lambda text: text[: len(text) // 2],
            lambda text: text.replace(b"SET time_zone", b"CREATE TABLE evil (i INT);\nSET time_zone", 1),
        )
    ):
        backup = dump(driver, server.source(name), tmp_path / f"d{number}", "parallel", fingerprint=True)
        part = next(p for p in backup.parts if "days" in {t.path for t in p.tables})
        text = part.file.read_bytes()
        assert change(text) != text
        part.file.write_bytes(change(text))
        with pytest.raises(IntegrityError):
            put_back(server.source(name), backup, "days", new="again")
        assert state(server, name) == before


def test_a_script_that_does_not_hold_what_its_last_line_says_is_an_error(
    server: MariaDBServer, name: str, tmp_path: Path
) -> None:
    """Even where it is another table's rows that are gone."""
    backup = dump(driver, server.source(name), tmp_path / "d", "sql")
    text = backup.file.read_text()
    backup.file.write_text(text.replace("(1,'a'),\n", ""))
    before = state(server, name)
    with pytest.raises(IntegrityError, match="rows were read, but the dump's last line says"):
        put_back(server.source(name), backup, "days", new="again")
    assert state(server, name) == before


def test_parts_of_other_tables_are_not_read(server: MariaDBServer, name: str, made) -> None:
    """They may even be gone."""
    restore = made()
    rows = {file: Path(file).read_bytes() for file in restore.backup.files if ".rows." in file}
    others = [file for file, text in rows.items() if b"INSERT INTO `days`" not in text]
    assert others
    for file in others:
        os.unlink(file)
    restore(name, "days=again").raise_for_error()
    assert "orders" in restore(name, "orders=more").error


# -- whatever fails ----------------------------------------------------------------------------------------------


def after_rename(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Act once, right after the tables were moved."""
    execute, due = Session.execute, [1]

    def acting(self: Session, sql: str | bytes) -> tuple[int, int]:
        result = execute(self, sql)
        if due and isinstance(sql, str) and sql.startswith("RENAME TABLE"):
            due.clear()
            act()
        return result

    monkeypatch.setattr(Session, "execute", acting)


def lost() -> None:
    raise StatementError("the connection was lost", 2013)


@pytest.mark.parametrize(("tables", "overwrite"), [(["days=d"], False), (["orders=o"], False), (["days"], True)])
def test_a_connection_that_is_lost_behind_the_move_takes_it_back(
    server: MariaDBServer, name: str, made, monkeypatch, tables: list[str], overwrite: bool
) -> None:
    restore = made("sql")
    before = state(server, name)
    after_rename(monkeypatch, lost)
    assert isinstance(restore(name, *tables, overwrite=overwrite).exception, SourceError)
    assert state(server, name) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_trigger_that_cannot_be_created_takes_everything_back(
    server: MariaDBServer, name: str, made, monkeypatch, overwrite: bool
) -> None:
    server.run("DROP TABLE items", database=name)
    restore = made("native")
    server.run("DELETE FROM orders WHERE id > 9", "DROP TRIGGER logging", database=name)
    before, order = state(server, name), triggers(server, name, "orders")
    create, calls = Loader.create_stored_objects, []

    def failing(self: Loader, session: Session, **how) -> None:
        calls.append(1)
        create(self, session, **how)
        if len(calls) == 2:
            raise SourceError("a trigger was refused")

    monkeypatch.setattr(Loader, "create_stored_objects", failing)
    failed = restore(name, "orders" if overwrite else "orders=o", "customers=c", overwrite=overwrite)
    assert "a trigger was refused" in failed.error
    assert len(calls) == 2
    assert state(server, name) == before
    assert triggers(server, name, "orders") == order


def test_a_table_that_appears_meanwhile_is_not_replaced(server: MariaDBServer, name: str, made, monkeypatch) -> None:
    restore = made("sql")
    load = Loader.load

    def meanwhile(self: Loader, backup):
        server.run("CREATE TABLE again (theirs INT)", "INSERT INTO again VALUES (7)", database=name)
        return load(self, backup)

    monkeypatch.setattr(Loader, "load", meanwhile)
    assert isinstance(restore(name, "days=again").exception, TargetNotEmpty)
    assert server.run("SELECT theirs FROM again", database=name) == [(7,)]


def test_an_interrupted_restore_leaves_nothing(server: MariaDBServer, name: str, made) -> None:
    restore = made()
    before = state(server, name)
    cancellation = Cancellation()

    def cancel(progress) -> None:
        if progress.phase == "loading" and progress.bytes_done:
            cancellation.cancel()

    result = restore(name, "orders=again", cancel=cancellation, progress=cancel)
    assert isinstance(result.exception, Cancelled)
    assert state(server, name) == before


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[8:]
from dumpty import BackupManager
from dumpty_plugins.mysql.server.session import Session

backups, backup, url, table, overwrite, start, moment = sys.argv[1:8]
execute = Session.execute

def killing(self, sql):
    hit = not isinstance(sql, bytes) and sql.startswith(start)
    if hit and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = execute(self, sql)
    if hit and moment == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result

Session.execute = killing
result = BackupManager(backups, compressor=None).restore(backup, url, tables=[table], overwrite=bool(overwrite))
raise SystemExit(result.error)
"""


@pytest.mark.parametrize(
    ("table", "overwrite", "start", "moment"),
    [
        ("days=d", "", "RENAME", "before"),
        ("days=d", "", "RENAME", "after"),
        ("orders=o", "", "LOCK TABLES", "after"),
        ("orders=o", "", "RENAME", "after"),
        ("days", "1", "RENAME", "before"),
        ("orders", "1", "DROP TRIGGER IF", "after"),
        ("orders", "1", "RENAME", "after"),
        ("orders", "1", "DROP DATABASE IF EXISTS", "before"),
    ],
)
def test_a_restore_killed_at_any_step_loses_nothing(
    server: MariaDBServer, name: str, made, tmp_path: Path, table: str, overwrite: str, start: str, moment: str
) -> None:
    server.run("DROP TABLE items", "ALTER TABLE orders DROP CONSTRAINT orders_ibfk_1", database=name)
    restore = made("sql")
    server.run("DELETE FROM orders WHERE id=9", database=name)
    before, old = state(server, name), triggers(server, name, "orders")
    argv = [sys.executable, "-c", KILLED, str(tmp_path / "backups"), restore.backup.id, server.url(name)]
    argv += [table, overwrite, start, moment, str(Path(__file__).parents[2])]
    completed = subprocess.run(argv, check=False, capture_output=True)
    assert completed.returncode == -9, completed.stderr.decode()
    assert server.run(f"SELECT GET_LOCK('{lock_name(name)}', 60)") == [(1,)]  # its session has ended
    new = table.partition("=")[2]
    again = restore(name, table, overwrite=bool(overwrite))
    if start == "LOCK TABLES" or (moment == "before" and start == "RENAME"):
        again.raise_for_error()  # nothing had been changed: there was nothing to say
    if f"{name}__dumpty_old" in (again.error or ""):
        assert isinstance(again.exception, TargetNotEmpty)
        if "whole" in again.error:
            server.run(f"DROP DATABASE `{name}__dumpty_old`")
        else:
            follow(server, again.error)
            assert triggers(server, name, "orders") == old
            assert state(server, name)[:2] == before[:2]
        again = restore(name, table, overwrite=bool(overwrite))
    if new and isinstance(again.exception, TargetNotEmpty):  # it was moved, whole
        assert moment == "after"
        assert not triggers(server, name, "days")
    else:
        again.raise_for_error()
    assert state(server, name)[2] == []
    if new:
        server.run(f"DROP TABLE {new}", database=name)
        assert state(server, name) == before
    else:
        assert server.run(f"SELECT COUNT(*) FROM {table}", database=name) == [(300 if table == "orders" else 50,)]
        assert triggers(server, name, "orders") == old
