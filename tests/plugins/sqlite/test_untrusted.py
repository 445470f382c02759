"""A dump is text from elsewhere: damaged ones are refused whole, hostile ones reach nothing but their own database."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from plugins.sqlite.contents import contents, dumped, make, open_database, restored, rows_of
from support.drive import FileDump

from dumpty import Evidence, IntegrityError, ObjectEvidence


def frames(*statements: str) -> bytes:
    text = b"-- dumpty: SQLite dump 1, made by SQLite 3.40.1\n"
    for statement in statements:
        body = statement.encode() + b";\n"
        text += b"-- dumpty: %d bytes\n" % len(body) + body
    return text


def crafted(
    path, *statements: str, end: bytes = b"-- dumpty: end of dump, 0 tables, 0 rows\n", evidence=None
) -> FileDump:
    path.write_bytes(frames("BEGIN TRANSACTION", *statements, "COMMIT") + end)
    return FileDump(path, "sql", evidence)


HOSTILE = {
    "ATTACH DATABASE '{other}' AS x": "ATTACH is not allowed",
    "ATTACH '{new}' AS x": "ATTACH is not allowed",
    "VACUUM INTO '{new}'": "ATTACH is not allowed|cannot VACUUM",
    "DETACH main": "not allowed",
    "SELECT load_extension('{other}')": r"load_extension\(\) is not allowed",
    "CREATE VIRTUAL TABLE x USING csv(filename='{other}')": "csv",
    "PRAGMA writable_schema=ON": "writable_schema is not allowed",
    "PRAGMA temp_store_directory='{new}'": "temp_store_directory is not allowed",
    "PRAGMA journal_mode=MEMORY": "journal_mode is not allowed",
    "PRAGMA locking_mode=EXCLUSIVE": "locking_mode is not allowed",
    "PRAGMA trusted_schema=ON": "trusted_schema is not allowed",
    "CREATE TEMP TABLE x(a)": "not allowed",
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT max(x) FROM c": "not allowed",
    "SELECT 1; ATTACH DATABASE '{other}' AS x": "does not load",
    "INSERT INTO missing VALUES(1)": "no such table",
}


@pytest.mark.parametrize("statement", HOSTILE)
def test_hostile_statements_are_refused_and_leave_nothing(statement, tmp_path):
    other = make(tmp_path / "other.db", "CREATE TABLE secret(a)")
    before = other.read_bytes()
    text = statement.format(other=other, new=tmp_path / "new.db")
    made = crafted(tmp_path / "dump.sql", text)
    with pytest.raises(IntegrityError, match=HOSTILE[statement]):
        restored(made, tmp_path / "back.db")
    # Outside a transaction, too: some statements are only possible there.
    made.file.write_bytes(frames(text) + b"-- dumpty: end of dump, 0 tables, 0 rows\n")
    with pytest.raises(IntegrityError):
        restored(made, tmp_path / "back.db")
    assert other.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["dump.sql", "other.db"]


def test_the_same_crafting_with_a_harmless_statement_is_accepted(tmp_path):
    # So that the refusals above are the statements' fault, and not the crafting's.
    made = crafted(
        tmp_path / "dump.sql",
        "CREATE TABLE t(a)",
        "INSERT INTO t VALUES(1)",
        end=b"-- dumpty: end of dump, 1 tables, 1 rows\n",
    )
    restored(made, tmp_path / "back.db")
    assert rows_of(tmp_path / "back.db", "SELECT a FROM t") == [(1,)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    path = make(
        directory / "a.db", "CREATE TABLE t(a); CREATE TABLE u(b); CREATE INDEX i ON t(a); PRAGMA user_version=3;"
    )
    with open_database(path) as database:
        database.executemany("INSERT INTO t VALUES(?)", [(f"row {i}; \n-- dumpty",) for i in range(40)])
    return dumped(path, directory / "dump.sql", "sql"), contents(path)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1, exclude_max=True))
def test_a_dump_cut_anywhere_is_refused(whole, tmp_path_factory, share):
    made, _ = whole
    text = made.file.read_bytes()
    directory = tmp_path_factory.mktemp("cut")
    (directory / "dump").write_bytes(text[: int(len(text) * share)])
    with pytest.raises(IntegrityError):
        restored(FileDump(directory / "dump", "sql", made.evidence), directory / "back.db")
    assert os.listdir(directory) == ["dump"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_dump_with_changed_bytes_is_refused_or_loads_whole(whole, tmp_path_factory, data):
    # The digest catches every change; this is about what is behind it: no crash, no hang, no half of a database.
    made, _ = whole
    text = bytearray(made.file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    directory = tmp_path_factory.mktemp("flip")
    (directory / "dump").write_bytes(text)
    try:
        restored(FileDump(directory / "dump", "sql", made.evidence), directory / "back.db")
    except IntegrityError:
        assert os.listdir(directory) == ["dump"]
    else:
        assert contents(directory / "back.db")["integrity"] == [("ok",)]
        assert rows_of(directory / "back.db", "SELECT count(*) FROM t") == [(40,)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text + b"SELECT 1;\n", "goes on after its end marker"),
        (lambda text: text + b"\0", "goes on after its end marker"),
        (lambda text: text.replace(b"2 tables, 40 rows", b"2 tables, 41 rows"), "41 rows in 2 tables, but 40 rows"),
        (lambda text: text.replace(b"2 tables, 40 rows", b"3 tables, 40 rows"), "in 3 tables, but"),
        (lambda text: text.replace(b"-- dumpty: 8 bytes\nCOMMIT;\n", b""), "without its COMMIT"),
        (lambda _: b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCOMMIT;\n", "not a SQL dump made by dumpty"),
        (lambda _: b"", "cut short"),
        (lambda text: text.replace(b"-- dumpty: 8 bytes", b"-- dumpty: 99999999999 bytes"), "no statement begins here"),
        (lambda text: text.replace(b"-- dumpty: 8 bytes", b"-- dumpty: 7 bytes"), "ends elsewhere"),
        (lambda text: text.replace(b"row 7;", b"row \xff;"), "not valid UTF-8"),
        (lambda text: text.replace(b"row 7;", b"row \0;"), "holds a NUL"),
    ],
)
def test_each_kind_of_damage_has_its_message(whole, tmp_path, change, message):
    made, _ = whole
    original = made.file.read_bytes()
    damaged = change(original)
    assert damaged != original
    (tmp_path / "dump").write_bytes(damaged)
    with pytest.raises(IntegrityError, match=message) as caught:
        restored(FileDump(tmp_path / "dump", "sql"), tmp_path / "back.db")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["dump"]


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
@pytest.mark.parametrize("wrong", [ObjectEvidence(path="t", rows=39), ObjectEvidence(path="gone", rows=0)])
def test_rows_that_differ_from_the_evidence_are_refused(whole, tmp_path, form, wrong):
    restored(whole[0], tmp_path / "a.db")
    made = dumped(tmp_path / "a.db", tmp_path / "dump", form)
    made.evidence = structs.replace(made.evidence, objects=(*made.evidence.objects, wrong))
    target = make(tmp_path / "b.db", "CREATE TABLE old(a)")
    with pytest.raises(IntegrityError, match=f": {wrong.path} (is missing|has 40 rows, and had 39)"):
        restored(made, target, overwrite=True)
    assert rows_of(target, "SELECT name FROM sqlite_master") == [("old",)]


def test_a_dump_without_evidence_is_restored_by_its_own_marker(whole, tmp_path):
    made, before = whole
    restored(FileDump(made.file, "sql", Evidence()), tmp_path / "back.db")
    assert contents(tmp_path / "back.db") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda image: b"",
        lambda image: image[:-1],
        lambda image: image[: len(image) // 2],
        lambda image: image + b"\0" * 512,
        lambda image: b"\xff" + image[1:],
        lambda image: image[:4096] + b"\xa5" * 4096 + image[8192:],
    ],
)
def test_damaged_images_are_refused(tmp_path, change):
    path = make(tmp_path / "a.db", "CREATE TABLE t(a); CREATE TABLE u(b);")
    with open_database(path) as database:
        database.executemany("INSERT INTO t VALUES(?)", [("x" * 100,)] * 200)
    made = dumped(path, tmp_path / "dump", "native")
    made.file.write_bytes(change(made.file.read_bytes()))
    with pytest.raises(IntegrityError):
        restored(FileDump(made.file, "native"), tmp_path / "back.db")
    assert sorted(os.listdir(tmp_path)) == ["a.db", "dump"]
