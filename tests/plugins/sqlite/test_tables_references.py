"""What a table refers to, and what refers to it: foreign keys, triggers, full-text indexes."""

from __future__ import annotations

import pytest
from plugins.sqlite.contents import contents, make, open_database, rows_of
from plugins.sqlite.tables import backed_up, cells, definitions, put_back, refused

from dumpty import SourceError


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
    backup = backed_up(manager, path, form)
    if form == "parallel":  # what is not read tells nobody that 2 was not there
        text = refused(manager, backup, path, ["c"], SourceError, overwrite=True)
        assert "1 row of c would refer by foreign keys to what" in text
        assert text.endswith("so, too, where they referred to nothing in the backup already")
    put_back(manager, backup, path, ["c", "p"] if form == "parallel" else ["c"], overwrite=True)
    assert cells(path, "c") == [(1, 1), (2, 2)]


def test_rows_whose_parents_are_gone_by_now_are_refused(manager, shop, form):
    backup = backed_up(manager, shop, form)
    with open_database(shop) as user:
        user.execute("DELETE FROM customers WHERE id = 7")
    text = refused(manager, backup, shop, ["orders=orders_before"], SourceError)
    assert "1 row of orders would refer by foreign keys to what" in text
    put_back(manager, backup, shop, ["orders=orders_before", "customers=customers_before"])
    assert 'REFERENCES "customers_before"' in definitions(shop)["orders_before"]


def test_rows_of_others_that_would_lose_their_parents_are_an_error(manager, shop, form):
    backup = backed_up(manager, shop, form)
    with open_database(shop) as user:
        user.execute("INSERT INTO customers VALUES (20, 'new')")
        user.execute("INSERT INTO orders (customer, what, paid) VALUES (20, 'x', 1)")
    text = refused(manager, backup, shop, ["customers"], SourceError, overwrite=True)
    assert "1 row of orders, which is not restored, would refer to nothing any more" in text


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


VIRTUAL = {
    "full text": ("fts5(a)", "f(a) VALUES ('x')", "f_content"),
    "older full text": ("fts4(a)", "f(a) VALUES ('x')", "f_segdir"),
    "R-tree": ("rtree(id, low, high)", "f VALUES (1, 2, 3)", "f_node"),
}


@pytest.mark.parametrize("kind", VIRTUAL)
def test_virtual_tables_and_those_that_they_are_kept_in_are_not_restored_alone(manager, tmp_path, form, kind):
    module, values, kept_in = VIRTUAL[kind]
    path = make(
        tmp_path / "v.db",
        f"CREATE VIRTUAL TABLE f USING {module}; INSERT INTO {values};"
        "CREATE TABLE t(a); INSERT INTO t VALUES (7); CREATE TABLE '1'(a); INSERT INTO '1' VALUES (8)",
    )
    backup = backed_up(manager, path, form)
    for name, message in (("f", "is a virtual table"), (kept_in, "belongs to a virtual table")):
        text = refused(manager, backup, tmp_path / "new.db", [name], SourceError)
        assert f"{name} {message}" in text
        assert "restore all of the backup into a new database" in text
    put_back(manager, backup, tmp_path / "new.db", ["t", "1"])
    assert cells(tmp_path / "new.db", "t") == [(7,)]
    assert cells(tmp_path / "new.db", "1") == [(8,)]


def test_an_external_full_text_index_is_kept_by_triggers_that_come_along(manager, tmp_path, form, caplog):
    script = (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a); CREATE VIRTUAL TABLE f USING fts5(a, content=t, content_rowid=id);"
        "CREATE TRIGGER ti AFTER INSERT ON t BEGIN INSERT INTO f(rowid, a) VALUES (new.id, new.a); END;"
        "CREATE VIEW v AS SELECT * FROM nowhere; INSERT INTO t VALUES (1, 'word');"
    )
    path = make(tmp_path / "fts.db", script)
    backup = backed_up(manager, path, form)
    put_back(manager, backup, path, ["t"], overwrite=True)
    put_back(manager, backup, path, ["t=u"])
    assert "the virtual table f mentions a table that was replaced" in caplog.text
    assert rows_of(path, "SELECT rowid FROM f WHERE f MATCH 'word'") == [(1,)]
    assert 'ON "u"' in definitions(path)["ti_u"]
