"""Dumps that mean harm reach nothing but the tables that are asked for."""

from __future__ import annotations

import pytest
from plugins.sqlite.contents import contents, dumped, make, open_database, rows_of
from plugins.sqlite.test_tables_safety import restored_tables
from plugins.sqlite.test_untrusted import HOSTILE, crafted
from support.drive import FileDump

from dumpty import Evidence, IntegrityError, ObjectEvidence, SourceError

USERS = "CREATE TABLE users (name, admin); INSERT INTO users VALUES ('ann', 0); CREATE INDEX by_name ON users (name);"
SOURCE = (
    "CREATE TABLE users (name, admin); CREATE TABLE t (a, b); CREATE INDEX i ON t (a);"
    "CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END; INSERT INTO t VALUES (1, 2);"
)


@pytest.fixture
def target(tmp_path):
    return make(tmp_path / "target.db", USERS)


@pytest.mark.parametrize("statement", [text for text in HOSTILE if "{" in text and "load" not in text])
def test_hostile_statements_are_refused(statement, target, tmp_path):
    before, other = target.read_bytes(), make(tmp_path / "other.db", USERS)
    text = statement.format(other=other, new=tmp_path / "new.db")
    made = crafted(tmp_path / "dump.sql", "CREATE TABLE t (a)", text)
    with pytest.raises(IntegrityError):
        restored_tables(made, target, {"t": "t"})
    assert target.read_bytes() == before
    assert not (tmp_path / "new.db").exists()


def forged(path, name: str, sql: str) -> FileDump:
    """Return the image of a database in which ``name`` is defined by a text that SQLite never wrote there."""
    make(path, SOURCE)
    with open_database(path) as database:
        database.execute("PRAGMA writable_schema=ON")
        database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql, name))
    return FileDump(path, "native", Evidence())


FORGED = {
    "a trigger on another table": (
        "tr",
        "CREATE TRIGGER tr AFTER INSERT ON users BEGIN UPDATE users SET admin = 1; END",
    ),
    "an index on another table": ("i", "CREATE INDEX i ON users (admin)"),
    "a unique index on another": ("i", "CREATE UNIQUE INDEX i ON users (admin)"),
    "another name": ("tr", "CREATE TRIGGER other AFTER INSERT ON t BEGIN SELECT 1; END"),
    "a table of another name": ("t", "CREATE TABLE other (a, b)"),
    "a table for a trigger": ("tr", "CREATE TABLE tr (a)"),
    "a query": ("t", "CREATE TABLE t AS SELECT * FROM users"),
    "something odd before it": ("i", "CREATE /* x */ INDEX i ON t (a)"),
    "another schema": ("tr", "CREATE TEMP TRIGGER tr AFTER INSERT ON users BEGIN SELECT 1; END"),
    "a function that reaches out": ("i", "CREATE INDEX i ON t (load_extension(a))"),
}


@pytest.mark.parametrize("kind", FORGED)
@pytest.mark.parametrize("new", ["t", "renamed"])
@pytest.mark.parametrize("check", [True, False])
def test_images_whose_definitions_are_forged_touch_no_other_table(kind, new, check, target, tmp_path):
    before = target.read_bytes()
    made = forged(tmp_path / "forged.db", *FORGED[kind])
    with pytest.raises((IntegrityError, SourceError)):
        restored_tables(made, target, {"t": new}, check=check)
    assert target.read_bytes() == before


def test_no_trigger_fires_while_rows_are_restored(target, tmp_path):
    script = (
        "CREATE TABLE t (a, b AS (a + 1) STORED); INSERT INTO t VALUES (1), (2); CREATE TABLE users (name, admin);"
        "CREATE TRIGGER x BEFORE INSERT ON t BEGIN UPDATE users SET admin = 1; SELECT RAISE(ABORT, 'never'); END;"
        "CREATE TRIGGER y AFTER DELETE ON t BEGIN DELETE FROM users; END;"
    )
    made = dumped(make(tmp_path / "a.db", script), tmp_path / "dump", "sql")
    for _ in range(2):
        restored_tables(made, target, {"t": "t"})
    assert rows_of(target, "SELECT * FROM users") == [("ann", 0)]
    assert rows_of(target, "SELECT * FROM t") == [(1, 2), (2, 3)]


def test_a_view_that_is_called_as_the_table_is_no_table(target, tmp_path):
    before = target.read_bytes()
    end = b"-- dumpty: end of dump, 0 tables, 0 rows\n"
    made = crafted(tmp_path / "dump.sql", "CREATE VIEW t AS SELECT 1 AS a", end=end)
    with pytest.raises(SourceError, match="t is a view"):
        restored_tables(made, target, {"t": "t"})
    made.evidence = Evidence(objects=(ObjectEvidence(path="t", rows=1),))
    with pytest.raises(IntegrityError, match="t is missing"):
        restored_tables(made, target, {"t": "t"})
    assert target.read_bytes() == before


def test_views_and_triggers_of_others_in_the_dump_stay_there(target, tmp_path):
    script = (
        "CREATE TABLE t (a); CREATE TABLE u (a); CREATE VIEW broken AS SELECT * FROM gone, nowhere(1);"
        "CREATE TRIGGER x AFTER INSERT ON u BEGIN INSERT INTO gone VALUES (1); END; INSERT INTO t VALUES (1);"
    )
    made = dumped(make(tmp_path / "a.db", script), tmp_path / "dump", "sql")
    before = contents(target)
    restored_tables(made, target, {"t": "renamed"})
    assert rows_of(target, "SELECT * FROM renamed") == [(1,)]
    after = contents(target)
    assert [row for row in after["schema"] if row not in before["schema"]] == [
        ("table", "renamed", "renamed", 'CREATE TABLE "renamed" (a)')
    ]


def test_a_damaged_image_is_refused(target, tmp_path):
    path = make(tmp_path / "a.db", "CREATE TABLE t (a);")
    with open_database(path) as database:
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 100,)] * 200)
    made, before = dumped(path, tmp_path / "dump", "native"), target.read_bytes()
    image = made.file.read_bytes()
    made.file.write_bytes(image[:8192] + b"\xa5" * 4096 + image[12288:])
    for check in (True, False):
        with pytest.raises(IntegrityError):
            restored_tables(made, target, {"t": "t"}, check=check)
    assert target.read_bytes() == before
