"""Single tables of a backup: whole, under any name, beside what the target holds, and nothing else touched."""

from __future__ import annotations

import pytest
from plugins.sqlite.contents import contents, make, open_database, rows_of
from plugins.sqlite.tables import SHOP, backed_up, cells, definitions, put_back, refused

from dumpty import OptionError, SourceError, TargetNotEmpty
from dumpty.cli import main


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
    utf16 = make(tmp_path / "utf16.db", "PRAGMA encoding='UTF-16le'; CREATE TABLE t (a); INSERT INTO t VALUES ('ä')")
    (tmp_path / "other.db").touch()
    put_back(manager, backed_up(manager, utf16), tmp_path / "other.db", ["t"])
    assert rows_of(tmp_path / "other.db", "PRAGMA encoding") == [("UTF-16le",)]
    make(tmp_path / "utf8.db", "CREATE TABLE x (a); DROP TABLE x; PRAGMA user_version=3")
    put_back(manager, backed_up(manager, utf16), tmp_path / "utf8.db", ["t"])
    assert (cells(tmp_path / "utf8.db", "t"), rows_of(tmp_path / "utf8.db", "PRAGMA user_version")) == (
        [("ä",)],
        [(3,)],
    )


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


@pytest.mark.parametrize("gap", [True, False])
def test_a_table_of_the_most_columns_is_restored_or_refused(manager, tmp_path, gap):
    path = make(tmp_path / "wide.db", f"CREATE TABLE t ({','.join(f'c{n}' for n in range(2000))})")
    with open_database(path) as user:
        user.execute("INSERT INTO t (rowid, c1999) VALUES (1, 'x')")
        user.execute("INSERT INTO t (rowid, c0) VALUES (?, 'y')", [5 if gap else 2])
    backup = backed_up(manager, path, "native")
    if gap:
        assert "t has the most columns" in refused(manager, backup, tmp_path / "new.db", ["t"], SourceError)
    else:
        put_back(manager, backup, tmp_path / "new.db", ["t"])
        assert cells(tmp_path / "new.db", "t") == cells(path, "t")


def test_rows_that_break_a_check_come_back_and_those_that_have_no_place_are_refused(manager, tmp_path, form):
    path = tmp_path / "odd.db"
    with open_database(path) as user:
        user.execute("CREATE TABLE t (a CHECK (a > 0), b NOT NULL ON CONFLICT IGNORE, c UNIQUE ON CONFLICT REPLACE)")
        user.execute("PRAGMA ignore_check_constraints=ON")
        user.execute("INSERT INTO t VALUES (-1, 2, 3)")
    put_back(manager, backed_up(manager, path, form), path, ["t=u"])
    assert cells(path, "u") == [(-1, 2, 3)]
    if form == "native":  # text cannot carry the next row at all
        with open_database(path) as user:
            user.execute("CREATE TABLE v (a)")
            user.execute("INSERT INTO v VALUES (NULL)")
            user.execute("PRAGMA writable_schema=ON")
            user.execute(
                "UPDATE sqlite_schema SET sql = 'CREATE TABLE v (a NOT NULL ON CONFLICT IGNORE)' WHERE name = 'v'"
            )
        backup = backed_up(manager, path, form)
        assert "rows of v break its own definition" in refused(manager, backup, path, ["v=w"], SourceError)


def test_a_table_without_a_name_and_others_whose_names_are_no_text(manager, tmp_path):
    path = make(
        tmp_path / "odd.db", 'CREATE TABLE "" (a); INSERT INTO "" VALUES (1); CREATE TABLE bad (a); CREATE TABLE t (a)'
    )
    with open_database(path) as user:
        user.execute("PRAGMA writable_schema=ON")
        user.execute(
            "UPDATE sqlite_schema SET name = x, tbl_name = x, sql = 'CREATE TABLE \"' || x || '\" (a)'"
            " FROM (SELECT CAST(x'ff61' AS TEXT) AS x) WHERE name = 'bad'"
        )
    backup = backed_up(manager, path, "native")
    put_back(manager, backup, tmp_path / "new.db", ['""'])
    assert rows_of(tmp_path / "new.db", 'SELECT * FROM ""') == [(1,)]
    put_back(manager, backup, tmp_path / "new.db", {'""': "named", "t": "t"})
    assert rows_of(tmp_path / "new.db", "SELECT * FROM named") == [(1,)]
    with open_database(path) as user:
        user.execute("DROP TABLE t")
    put_back(manager, backup, path, ["t"])
    assert "is not valid Unicode" in refused(manager, backup, tmp_path / "new.db", ["\\xffa=x"], SourceError)


def test_an_index_called_as_the_new_table_gives_way(manager, tmp_path, form):
    path = make(tmp_path / "a.db", "CREATE TABLE t (a); CREATE INDEX u ON t (a); CREATE INDEX u_u ON t (a)")
    backup = backed_up(manager, path, form)
    put_back(manager, backup, tmp_path / "new.db", ["t=u"])
    assert definitions(tmp_path / "new.db").keys() == {"u", "u_u_2", "u_u"}
