"""Single tables of a backup: whole, under any name, beside what the target holds, and nothing else touched."""

from __future__ import annotations

import pytest
from plugins.sqlite.contents import contents, make, open_database, rows_of

from dumpty import BackupManager, OptionError, SourceError, TargetNotEmpty
from dumpty.cli import main

SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE COLLATE NOCASE);
CREATE TABLE orders (
  id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers ON DELETE CASCADE, what TEXT, paid REAL,
  twice REAL AS (paid * 2) STORED, CHECK (orders.paid >= 0), UNIQUE (customer, what)
);
CREATE TABLE log (at, what);
CREATE INDEX by_paid ON orders (paid) WHERE paid > 1;
CREATE INDEX by_what ON orders (lower(what), twice);
CREATE VIEW paid AS SELECT * FROM orders WHERE paid > 0;
CREATE TRIGGER logged AFTER INSERT ON orders BEGIN INSERT INTO log SELECT new.id, count(*) FROM orders; END;
CREATE TRIGGER renamed AFTER UPDATE OF name ON customers BEGIN UPDATE orders SET what = what WHERE customer = new.id; END;
INSERT INTO customers VALUES (1, 'ann'), (7, 'bob'), (9, 'gone');
DELETE FROM customers WHERE id = 9;
INSERT INTO orders (id, customer, what, paid) VALUES (1, 1, 'egg', 1.5), (5, 7, 'it''s', 0.1), (6, NULL, x'00ff', 2);
"""


@pytest.fixture(params=["sql", "native"])
def form(request):
    return request.param


@pytest.fixture
def manager(tmp_path):
    return BackupManager(str(tmp_path / "backups"))


@pytest.fixture
def shop(tmp_path):
    return make(tmp_path / "shop.db", SHOP)


def backed_up(manager, path, form="sql", **options):
    made = manager.create_backup(f"sqlite:///{path}", format=form, **options)
    assert made.success, made.error
    return made.backup.id


def put_back(manager, backup, path, tables, **options):
    result = manager.restore(backup, f"sqlite:///{path}", tables=tables, **options)
    assert result.success, result.error


def refused(manager, backup, path, tables, error, **options) -> str:
    """Restore, and see that it is refused, and that the target and its folder are as they were."""
    before = path.read_bytes() if path.exists() else None
    names = sorted(entry.name for entry in path.parent.iterdir())
    result = manager.restore(backup, f"sqlite:///{path}", tables=tables, **options)
    assert not result.success
    assert isinstance(result.exception, error), result.error
    assert "\n" not in result.error
    assert (path.read_bytes() if path.exists() else None) == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == names
    return result.error


def definitions(path) -> dict[str, str]:
    return dict(rows_of(path, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"))


def cells(path, table):
    return rows_of(path, f'SELECT * FROM "{table}" ORDER BY rowid')


def test_a_table_that_was_damaged_comes_back_and_all_else_stays(manager, shop, form):
    backup, before = backed_up(manager, shop, form), contents(shop)
    with open_database(shop) as user:
        user.execute("DELETE FROM orders")
        user.execute("DROP INDEX by_paid")
        user.execute("INSERT INTO log VALUES (1, 'later')")
    put_back(manager, backup, shop, ["orders"], overwrite=True)
    after = contents(shop)
    assert after.pop("rows of log") == [*before.pop("rows of log"), *after_log(shop)]
    assert after == before


def after_log(path):
    cell = ("integer", 1, "text", b"later")
    [(number,)] = rows_of(path, "SELECT rowid FROM log WHERE what = 'later'")
    return [(*cell, number)]


def test_a_table_comes_back_under_another_name_with_all_that_belongs_to_it(manager, shop, form):
    backup, before = backed_up(manager, shop, form), definitions(shop)
    put_back(manager, backup, shop, ["orders=orders_before"])
    assert cells(shop, "orders_before") == cells(shop, "orders")
    after = definitions(shop)
    added = {name: after[name] for name in after.keys() - before.keys()}
    assert {name: after[name] for name in before} == before
    assert added.keys() == {
        "orders_before", "by_paid_orders_before", "by_what_orders_before", "logged_orders_before",
    }  # fmt: skip
    assert 'CHECK ("orders_before".paid >= 0)' in added["orders_before"]
    assert 'count(*) FROM "orders_before"' in added["logged_orders_before"]
    with open_database(shop) as user:
        user.execute("PRAGMA foreign_keys=ON")
        user.execute("INSERT INTO orders_before (customer, what, paid) VALUES (7, 'new', 3)")
        assert user.execute("SELECT * FROM log ORDER BY rowid DESC LIMIT 1").fetchone() == (7, 4)
        user.execute("DELETE FROM customers WHERE id = 7")
        assert user.execute("SELECT count(*) FROM orders_before").fetchone() == (2,)
        assert user.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_what_was_renamed_is_said(manager, shop, caplog):
    put_back(manager, backed_up(manager, shop), shop, ["orders=orders_before"])
    notes = [record.getMessage() for record in caplog.records if getattr(record, "event", "") == "restore-note"]
    assert any("the index by_paid is called by_paid_orders_before here" in note for note in notes)
    assert any("the trigger logged is called logged_orders_before here" in note for note in notes)


def test_a_missing_database_is_created_with_the_tables_alone(manager, tmp_path, form):
    script = "PRAGMA page_size=1024; PRAGMA encoding='UTF-16le'; PRAGMA user_version=3; PRAGMA journal_mode=WAL;" + SHOP
    backup = backed_up(manager, make(tmp_path / "utf16.db", script), form)
    target = tmp_path / "place" / "new.db"
    target.parent.mkdir()
    put_back(manager, backup, target, {"customers": "people", "log": "log", "orders": "orders"})
    assert cells(target, "people") == [(1, "ann"), (7, "bob")]
    assert rows_of(target, "SELECT name, seq FROM sqlite_sequence") == [("people", 9)]
    assert 'REFERENCES "people" ON DELETE' in definitions(target)["orders"]
    assert definitions(target).keys() == {"people", "orders", "log", "by_paid", "by_what", "logged", "renamed"}
    assert rows_of(target, "PRAGMA page_size") + rows_of(target, "PRAGMA encoding") == [(1024,), ("UTF-16le",)]
    assert [entry.name for entry in target.parent.iterdir()] == ["new.db"]
    assert target.stat().st_mode & 0o777 == 0o600


def test_an_empty_file_is_used(manager, shop, tmp_path):
    (tmp_path / "empty.db").touch()
    put_back(manager, backed_up(manager, shop), tmp_path / "empty.db", ["customers"], triggers=False)
    assert cells(tmp_path / "empty.db", "customers") == cells(shop, "customers")


def test_two_tables_exchange_their_names(manager, tmp_path, form):
    path = make(
        tmp_path / "two.db",
        "CREATE TABLE a (x INTEGER PRIMARY KEY REFERENCES b); CREATE TABLE b (y INTEGER PRIMARY KEY);"
        "INSERT INTO a VALUES (1); INSERT INTO b VALUES (1), (2);",
    )
    put_back(manager, backed_up(manager, path, form), path, ["a=b", "b=A"], overwrite=True)
    assert definitions(path) == {
        "b": 'CREATE TABLE "b" (x INTEGER PRIMARY KEY REFERENCES "A")',
        "A": 'CREATE TABLE "A" (y INTEGER PRIMARY KEY)',
    }
    assert (cells(path, "b"), cells(path, "A")) == ([(1,)], [(1,), (2,)])


def test_numbers_go_on_where_they_were(manager, shop, tmp_path, form):
    backup = backed_up(manager, shop, form)
    with open_database(shop) as user:
        user.execute("INSERT INTO customers (id, name) VALUES (100, 'new')")
    put_back(manager, backup, shop, ["customers"], overwrite=True)
    assert rows_of(shop, "INSERT INTO customers (name) VALUES ('next') RETURNING id") == [(10,)]
    assert rows_of(shop, "SELECT name, seq FROM sqlite_sequence") == [("customers", 10)]


@pytest.mark.parametrize("there", ["orders", "ORDERS"])
def test_a_table_that_is_there_is_refused_and_the_text_says_how_to_insist(manager, shop, tmp_path, form, there):
    backup = backed_up(manager, shop, form)
    target = make(tmp_path / "t.db", f"CREATE TABLE {there} (a); INSERT INTO {there} VALUES (1)")
    text = refused(manager, backup, target, ["orders"], TargetNotEmpty)
    assert f"has a table {there} already" in text
    assert "--overwrite" in text
    assert "--table orders=orders_before" in text


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("CREATE VIEW log AS SELECT 1", "has a view called log"),
        ("CREATE TABLE x (a); CREATE INDEX LOG ON x (a)", "has an index called LOG"),
        ("CREATE VIRTUAL TABLE log USING fts5(a)", "has a virtual table called log"),
    ],
)
def test_what_no_table_replaces_is_refused_even_with_overwrite(manager, shop, tmp_path, script, message):
    target = make(tmp_path / "t.db", script)
    assert message in refused(manager, backed_up(manager, shop), target, ["log"], TargetNotEmpty, overwrite=True)


def test_an_index_of_the_replaced_table_is_in_nobodys_way(manager, shop, tmp_path):
    target = make(tmp_path / "t.db", "CREATE TABLE customers (a); CREATE INDEX log ON customers (a)")
    tables = ["customers", "log"]
    put_back(manager, backed_up(manager, shop), target, tables, overwrite=True, triggers=False)
    assert definitions(target).keys() == {"customers", "log"}


def test_what_foreign_keys_refer_to_is_asked_for_before_anything_is_written(manager, shop, tmp_path, form):
    backup, target = backed_up(manager, shop, form), tmp_path / "t.db"
    for script in (None, "CREATE TABLE log (a)", "CREATE VIEW customers AS SELECT 1 AS id; CREATE TABLE log (a)"):
        if script:
            target.unlink(missing_ok=True)
            make(target, script)
        text = refused(manager, backup, target, ["orders"], SourceError)
        assert "orders refers by foreign keys to customers" in text
        assert "--table customers" in text


def test_a_reference_that_led_nowhere_when_it_was_backed_up_comes_back(manager, tmp_path, form):
    script = (
        "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (x REFERENCES p, y REFERENCES never (z));"
        "INSERT INTO p VALUES (1); INSERT INTO c VALUES (1, 1), (2, 2);"
    )
    path = make(tmp_path / "odd.db", script)
    put_back(manager, backed_up(manager, path, form), path, ["c"], overwrite=True)
    assert cells(path, "c") == [(1, 1), (2, 2)]


def test_rows_whose_parents_are_gone_by_now_are_refused(manager, shop, form):
    backup = backed_up(manager, shop, form)
    with open_database(shop) as user:
        user.execute("DELETE FROM customers WHERE id = 7")
    text = refused(manager, backup, shop, ["orders=orders_before"], SourceError)
    assert "1 rows of orders refer by foreign keys to rows that" in text
    put_back(manager, backup, shop, ["orders=orders_before", "customers=customers_before"])
    assert 'REFERENCES "customers_before"' in definitions(shop)["orders_before"]


def test_rows_of_others_that_would_lose_their_parents_are_an_error(manager, shop, form):
    backup = backed_up(manager, shop, form)
    with open_database(shop) as user:
        user.execute("INSERT INTO customers VALUES (20, 'new')")
        user.execute("INSERT INTO orders (customer, what, paid) VALUES (20, 'x', 1)")
    text = refused(manager, backup, shop, ["customers"], SourceError, overwrite=True)
    assert "1 rows of orders, which is not restored, would refer to nothing any more" in text


def test_overwriting_a_parent_deletes_no_children(manager, shop, form):
    backup, before = backed_up(manager, shop, form), contents(shop)
    with open_database(shop) as user:
        user.execute("UPDATE customers SET name = name || '!'")
    orders = cells(shop, "orders")
    put_back(manager, backup, shop, ["customers"], overwrite=True)
    assert cells(shop, "orders") == orders
    assert contents(shop)["schema"] == before["schema"]


def test_another_table_that_takes_the_name_of_a_parent_is_refused(manager, shop, tmp_path):
    backup = backed_up(manager, shop)
    text = refused(manager, backup, tmp_path / "t.db", ["orders", "log=customers"], SourceError)
    assert "orders refers to customers, and another table is to have that name" in text
    text = refused(manager, backup, tmp_path / "t.db", ["customers", "orders=log"], SourceError)
    assert "the trigger logged of orders mentions log, and another table is to have that name" in text


def test_a_trigger_whose_table_is_missing_is_refused_or_left_out(manager, shop, tmp_path, form, caplog):
    backup, target = backed_up(manager, shop, form), tmp_path / "t.db"
    text = refused(manager, backup, target, ["customers", "orders"], SourceError)
    assert "the trigger logged of orders needs what" in text
    assert "no such table: main.log" in text
    assert "-o triggers=off" in text
    put_back(manager, backup, target, ["customers", "orders"], triggers=False)
    assert definitions(target).keys() == {"customers", "orders", "by_paid", "by_what"}
    assert "triggers were left out, as was asked for: logged, renamed" in caplog.text


def test_a_trigger_finds_what_it_needs_in_the_target(manager, shop, tmp_path):
    target = make(tmp_path / "t.db", "CREATE TABLE log (at, what); CREATE TABLE other (a);")
    put_back(manager, backed_up(manager, shop), target, ["customers", "orders"])
    assert rows_of(target, "SELECT count(*) FROM log") == [(0,)]
    with open_database(target) as user:
        user.execute("INSERT INTO orders (what, paid) VALUES ('y', 1)")
    assert rows_of(target, "SELECT * FROM log") == [(7, 4)]


def test_functions_that_only_the_application_has_keep_no_trigger_out(manager, tmp_path):
    script = (
        "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('x');"
        "CREATE TRIGGER told AFTER INSERT ON t BEGIN SELECT tell(new.a, 1), 'a' = new.a COLLATE mine; END;"
    )
    path = make(tmp_path / "app.db", script)
    backup = backed_up(manager, path)
    put_back(manager, backup, path, ["t=u"])
    assert 'ON "u"' in definitions(path)["told_u"]
    put_back(manager, backup, path, ["t"], overwrite=True)
    assert cells(path, "t") == [("x",)]


def test_full_text_tables_and_their_parts_are_not_restored_alone(manager, tmp_path, form):
    path = make(
        tmp_path / "fts.db", "CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES ('x'); CREATE TABLE t(a)"
    )
    backup = backed_up(manager, path, form)
    for name, message in (("f", "is a virtual table"), ("f_content", "belongs to a virtual table")):
        text = refused(manager, backup, tmp_path / "new.db", [name], SourceError)
        assert f"{name} {message}" in text
        assert "restore all of the backup into a new database" in text


def test_an_external_full_text_index_is_kept_by_triggers_that_come_along(manager, tmp_path, form):
    script = (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a); CREATE VIRTUAL TABLE f USING fts5(a, content=t, content_rowid=id);"
        "CREATE TRIGGER ti AFTER INSERT ON t BEGIN INSERT INTO f(rowid, a) VALUES (new.id, new.a); END;"
        "CREATE VIEW v AS SELECT * FROM nowhere; INSERT INTO t VALUES (1, 'word');"
    )
    path = make(tmp_path / "fts.db", script)
    backup = backed_up(manager, path, form)
    put_back(manager, backup, path, ["t"], overwrite=True)
    put_back(manager, backup, path, ["t=u"])
    assert rows_of(path, "SELECT rowid FROM f WHERE f MATCH 'word'") == [(1,)]
    assert 'ON "u"' in definitions(path)["ti_u"]


def test_unknown_and_impossible_names_are_refused(manager, shop, tmp_path):
    backup, target = backed_up(manager, shop), tmp_path / "t.db"
    text = refused(manager, backup, target, ["ordes"], OptionError)
    assert "has no table ordes" in text
    assert "Did you mean 'orders'?" in text
    assert "Did you mean 'orders'?" in refused(manager, backup, target, ["ORDERS"], OptionError)
    for name in ("sqlite_orders", "SQLITE_x", "a\0b", "\ud800"):
        assert "SQLite has no table called" in refused(manager, backup, target, {"log": name}, OptionError)


def test_odd_names_come_back_and_can_be_given(manager, tmp_path, form):
    names = ["a b", 'q"r', "it's", "[z]", "`t`", "5", "select", "ü", "--", "x=y"]
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in names}
    script = "".join(
        f'CREATE TABLE {q} ({q} INTEGER CHECK ({q} <> 3)); INSERT INTO {q} VALUES (1); CREATE INDEX {q[:-1]}_i" ON {q} ({q});'
        for q in quoted.values()
    )
    path = make(tmp_path / "odd.db", script)
    backup = backed_up(manager, path, form)
    put_back(manager, backup, tmp_path / "same.db", dict.fromkeys(names, ""))
    assert contents(tmp_path / "same.db") == contents(path)
    put_back(manager, backup, path, {name: f"{name} {name}" for name in names})
    for name in names:
        assert rows_of(path, f'SELECT * FROM "{name} {name}"'.replace('q"r', 'q""r')) == [(1,)]
    assert rows_of(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_table_in_another_encoding_comes_back_exactly(manager, tmp_path, form):
    values = ["ä\0b", "\ufeffx", "\uffff", "😀", "1", b"\x00\xff", 1.5, -0.0, None, 2**62]
    path = make(tmp_path / "utf16.db", "PRAGMA encoding='UTF-16be'; CREATE TABLE t (a, b AS (length(a)) STORED)")
    with open_database(path) as user:
        for value in values:
            cell = f"CAST(x'{value.encode('utf-16-be').hex()}' AS TEXT)" if isinstance(value, str) else "?"
            user.execute(f"INSERT INTO t (a) VALUES ({cell})", [] if isinstance(value, str) else [value])
    backup = backed_up(manager, path, form, fingerprint=True)
    target = make(tmp_path / "utf8.db", "CREATE TABLE old (a)")
    put_back(manager, backup, target, ["t"])
    kept = rows_of(target, "SELECT typeof(a), CASE typeof(a) WHEN 'text' THEN CAST(a AS BLOB) ELSE a END FROM t")
    kinds = {str: "text", bytes: "blob", float: "real", int: "integer", type(None): "null"}
    assert kept == [(kinds[type(v)], v.encode() if isinstance(v, str) else v) for v in values]
    with open_database(target) as user:
        user.execute("DELETE FROM t WHERE rowid IN (2, 3)")
    put_back(manager, backed_up(manager, target, form), path, ["t=again"])
    with open_database(path) as user:
        user.execute("DELETE FROM t WHERE rowid IN (2, 3)")
    assert contents(path)["rows of again"] == contents(path)["rows of t"]


@pytest.mark.parametrize("data", ["ff", "efbbbf61", "efbfbf"])
def test_text_that_no_other_encoding_has_is_refused(manager, tmp_path, data):
    path = make(tmp_path / "a.db", f"CREATE TABLE t (a); INSERT INTO t VALUES (CAST(x'{data}' AS TEXT))")
    target = make(tmp_path / "b.db", "PRAGMA encoding='UTF-16le'; CREATE TABLE old (a)")
    assert "has no equal in UTF-16le" in refused(manager, backed_up(manager, path), target, ["t"], SourceError)
    put_back(manager, backed_up(manager, path), tmp_path / "c.db", ["t"])


def test_indexes_that_need_their_application_are_said_before_any_row_is_read(manager, tmp_path):
    path = tmp_path / "app.db"
    with open_database(path) as user:
        user.create_collation("mine", lambda a, b: (a > b) - (a < b))
        user.executescript("CREATE TABLE t (a); CREATE INDEX i ON t (a COLLATE mine); INSERT INTO t VALUES (1);")
    backup = backed_up(manager, path, "native")
    text = refused(manager, backup, tmp_path / "new.db", ["t"], SourceError)
    assert "the index i of the backup cannot be made here (no such collation sequence: mine)" in text


def test_the_command_restores_a_table_and_says_so(manager, shop, tmp_path, capsys):
    backup = backed_up(manager, shop)
    arguments = ["--table", "orders=orders_before", "--to", f"sqlite:///{shop}", "--dir", str(tmp_path / "backups")]
    assert main(["restore", backup, *arguments]) == 0
    assert "orders as orders_before: 3 rows" in capsys.readouterr().out
    assert cells(shop, "orders_before") == cells(shop, "orders")
