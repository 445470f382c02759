"""What is proved of a SQLite dump: its structure, its rows, and every value in them."""

from __future__ import annotations

import gzip
import hashlib
import os
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace
from plugins.sqlite.contents import dumped, make, open_database, source

import dumpty_plugins.sqlite.plugin as driver
from dumpty import BackupManager, IntegrityError, NotProvable, OptionError
from dumpty.repository.manifest import decode, encode

SHOP = (
    "PRAGMA journal_mode=WAL; CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT);"
    "CREATE TABLE orders(id INTEGER PRIMARY KEY, customer REFERENCES customers, price REAL, note);"
    "INSERT INTO customers VALUES (1, 'Humpty'), (2, 'Alice');"
    "INSERT INTO orders VALUES (1, 1, 9.99, 'egg cup'), (2, 2, 0.1, x'00ff'), (3, 2, -0.0, NULL);"
    "CREATE INDEX by_customer ON orders(customer); CREATE VIRTUAL TABLE words USING fts5(a); INSERT INTO words VALUES('w');"
)


@pytest.fixture
def shop(tmp_path):
    return make(tmp_path / "shop.db", SHOP)


@pytest.fixture
def manager(tmp_path):
    return BackupManager(str(tmp_path / "backups"))


def backed_up(manager, shop, **options):
    made = manager.create_backup(f"sqlite:///{shop}", **options)
    assert made.success, made.error
    return made.backup


def fingerprints(path) -> dict:
    options = {"busy_timeout": 1.0, "evidence": "fingerprint"}
    inspection = driver.inspect(source=source(path), options=options)
    return {table.path: table.fingerprint for table in inspection.evidence.objects}


def altered(backup, change) -> None:
    """Change the dump of a backup, or its first part with rows, and make every digest in its manifest agree again."""
    data = next(path for path in map(Path, backup.files) if len(backup.files) == 1 or ".rows." in path.name)
    plain = change(gzip.decompress(data.read_bytes()))
    data.write_bytes(gzip.compress(plain))
    [manifest] = data.parent.glob(data.name.split(".")[0] + ".manifest.json")
    record = decode(manifest.read_bytes(), "the manifest")
    number = next(n for n, entry in enumerate(record.objects) if entry.name.endswith(data.name))
    entry = replace(
        record.objects[number],
        plain_size=len(plain),
        plain_sha256=hashlib.sha256(plain).hexdigest(),
        size=data.stat().st_size,
        sha256=hashlib.sha256(data.read_bytes()).hexdigest(),
    )
    objects = (*record.objects[:number], entry, *record.objects[number + 1 :])
    manifest.write_bytes(encode(replace(record, objects=objects)))


def one_cell(form, tmp_path):
    """Return a change of one cell of one row, as long as the old one."""

    def change(plain: bytes) -> bytes:
        if form != "native":
            assert plain.count(b"'egg cup'") == 1
            return plain.replace(b"'egg cup'", b"'egg mug'")
        image = tmp_path / "altered.db"
        image.write_bytes(plain)
        with open_database(image) as database:
            database.execute("UPDATE orders SET note = 'egg mug' WHERE id = 1")
            database.execute("PRAGMA journal_mode=DELETE")
        return image.read_bytes()

    return change


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_a_default_backup_is_drilled_and_says_that_it_compared_counts_only(manager, shop, form):
    backup = backed_up(manager, shop, format=form)
    proof = manager.drill(backup.id)
    assert proof.ok
    proved = [line.what for line in proof.proved]
    assert any(text.startswith("counts only: 7 objects and") for text in proved)
    assert any("integrity_check, foreign_key_check" in text for text in proved)
    assert any("fingerprint=on" in text for text in proof.not_proved)
    assert proof.versions["sqlite"] == sqlite3.sqlite_version


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_with_fingerprints_a_drill_compares_every_value(manager, shop, form):
    proof = manager.drill(backed_up(manager, shop, format=form, fingerprint=True).id)
    assert any(line.what.startswith("every value: 7 objects and") for line in proof.proved)
    assert proof.not_proved == ("the rows of what nobody counted: words",)


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_one_altered_cell_is_caught_by_fingerprints(manager, shop, form, tmp_path):
    backup = backed_up(manager, shop, format=form, fingerprint=True)
    altered(backup, one_cell(form, tmp_path))
    assert manager.verify(backup.id).verification_status.proven.level == "digest"  # the digests were made to agree
    with pytest.raises(IntegrityError, match="orders has as many rows, but another content"):
        manager.drill(backup.id)
    assert manager.get_backup(backup.id).verification_status.failed.level == "restore"


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_one_altered_cell_is_not_caught_by_counts_which_say_so(manager, shop, form, tmp_path):
    backup = backed_up(manager, shop, format=form)
    altered(backup, one_cell(form, tmp_path))
    proof = manager.drill(backup.id)
    assert any(line.what.startswith("counts only") for line in proof.proved)
    assert any(text.startswith("that every value is the same") for text in proof.not_proved)


def test_a_lost_row_is_caught_by_counts(manager, shop):
    backup = backed_up(manager, shop)
    altered(backup, lambda plain: plain.replace(b"'Humpty'),\n(2,'Alice')", b"'Humpty');           "))
    for prove in (manager.drill, lambda backup_id: manager.verify(backup_id, level="structure")):
        with pytest.raises(IntegrityError):
            prove(backup.id)


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_the_level_structure_reads_a_dump_to_its_end(manager, shop, form):
    backup = backed_up(manager, shop, format=form)
    [proof] = manager.verify(backup.id, level="structure").proofs
    assert any("sqlite reads the dump to its end: 8 objects" in line.what for line in proof.proved)


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_examining_a_dump_that_is_cut_short_fails(shop, tmp_path, form, share):
    made = dumped(shop, tmp_path / "dump", form)
    cut = made.parts[len(made.parts) // 2]
    os.truncate(cut.file, int(cut.size * share))
    with pytest.raises(IntegrityError):
        driver.examine(dump=made)
    assert not os.listdir(made.workspace())


def test_examining_finds_pages_that_are_damaged(tmp_path):
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX i ON t(b);"
        "WITH RECURSIVE n(v) AS (VALUES (1) UNION ALL SELECT v + 1 FROM n WHERE v < 2000)"
        "INSERT INTO t SELECT v, hex(randomblob(50)) FROM n;",
    )
    made = dumped(path, tmp_path / "dump", "native")
    data = bytearray(made.file.read_bytes())
    data[8 * 4096 : 8 * 4096 + 64] = b"\xa5" * 64
    made.file.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"corrupt|malformed|does not load"):
        driver.examine(dump=made)


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_scratch_file_is_gone_with_all_beside_it_whatever_happens(shop, tmp_path, failure):
    made = dumped(shop, tmp_path / "dump", "native")

    def used():
        with driver.scratch(dump=made, on=None) as scratch_database:
            path = scratch_database.target.database
            make(path, "PRAGMA journal_mode=WAL; CREATE TABLE t(a)")
            for end in ("-wal", "-shm", "-journal"):
                Path(path + end).touch()
            raise failure

    with pytest.raises(failure):
        used()
    assert os.listdir(made.workspace()) == []


def test_a_server_for_sqlite_is_refused(manager, shop):
    with pytest.raises(OptionError, match="no server"):
        manager.drill(backed_up(manager, shop).id, on=f"sqlite:///{shop}")
    assert manager.list_backups()[0].proofs == ()


def test_assertions_can_only_read_the_restored_database(manager, shop):
    backup = backed_up(manager, shop)
    manager.drill(backup.id, assertions=["SELECT count(*) = 3 FROM orders", "SELECT max(price) > 9 FROM orders"])
    with pytest.raises(IntegrityError, match="it gives 0"):
        manager.drill(backup.id, assertions=["SELECT count(*) > 1000 FROM orders"])
    for statement in ("DELETE FROM orders RETURNING 1", "SELECT 1 FROM nowhere", "SELEKT", ""):
        with pytest.raises((OptionError, IntegrityError)):
            manager.drill(backup.id, assertions=[statement])


def test_references_that_led_nowhere_before_are_no_damage_but_new_ones_are(manager, tmp_path):
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p); INSERT INTO c VALUES (7), (7);"
        "INSERT INTO p VALUES (3);",
    )
    backup = backed_up(manager, path)
    assert any(
        "2 of c refer to nothing in p: as in the original" in line.what for line in manager.drill(backup.id).proved
    )
    altered(backup, lambda plain: plain.replace(b"(3)", b"(7)"))
    with pytest.raises(IntegrityError, match="foreign_key_check"):
        manager.drill(backup.id)


def test_a_fingerprint_knows_no_order_and_no_layout(tmp_path):
    small_pages = make(
        tmp_path / "1.db",
        "PRAGMA page_size=512; CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (2, 'y')",
    )
    large_pages = make(
        tmp_path / "2.db",
        "PRAGMA page_size=8192; CREATE TABLE t(a, b); CREATE INDEX i ON t(b, a); INSERT INTO t VALUES (9, 'z'), (2, 'y');"
        "DELETE FROM t WHERE a = 9; INSERT INTO t VALUES (2, 'y'), (1, 'x'); VACUUM",
    )
    assert fingerprints(small_pages) == fingerprints(large_pages)


@pytest.mark.parametrize(
    ("value", "other_value"),
    [
        ("1", "1.0"),
        ("1", "'1'"),
        ("'a'", "x'61'"),
        ("''", "NULL"),
        ("''", "x''"),
        ("0.0", "-0.0"),
        ("0.1", "0.10000000000000002"),
        ("9e999", "-9e999"),
        ("'a'", "'a' || char(0)"),
        ("'a' || char(0) || 'b'", "'a' || char(0) || 'c'"),
        ("CAST(x'00d8' AS TEXT)", "CAST(x'01d8' AS TEXT)"),
        ("char(233)", "'e' || char(769)"),
        ("9007199254740993", "9007199254740992"),
    ],
)
@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le"])
def test_a_fingerprint_tells_any_two_values_apart(tmp_path, value, other_value, encoding):
    digests = []
    for number, literal in enumerate((value, other_value)):
        path = make(
            tmp_path / f"{number}.db",
            f"PRAGMA encoding='{encoding}'; CREATE TABLE t(a); INSERT INTO t VALUES ({literal})",
        )
        digests.append(fingerprints(path)["t"])
    assert digests[0] != digests[1]


def test_a_fingerprint_tells_where_a_value_stands_and_how_often(tmp_path):
    rows = ("(1, 2)", "(2, 1)", "(1, 2), (1, 2)", "(1, 1), (2, 2)", "(12, NULL)", "(NULL, 12)")
    digests = [
        fingerprints(make(tmp_path / f"{number}.db", f"CREATE TABLE t(a, b); INSERT INTO t VALUES {values}"))["t"]
        for number, values in enumerate(rows)
    ]
    assert len(set(digests)) == len(rows)


def test_tables_that_nobody_can_read_have_no_fingerprint_and_empty_ones_have(tmp_path):
    path = make(tmp_path / "a.db", "CREATE VIRTUAL TABLE v USING rtree(id, a, b); CREATE TABLE empty(a)")
    fingerprints_found = fingerprints(path)
    assert fingerprints_found["v"] is None
    assert fingerprints_found["empty"].startswith("rowsum-blake2b-1:")


def test_a_fingerprint_needs_no_collation_or_function_of_the_application(tmp_path):
    path = tmp_path / "a.db"
    with open_database(path) as database:
        database.create_function("twice", 1, lambda x: 2 * x, deterministic=True)
        database.create_collation("odd", lambda a, b: (a > b) - (a < b))
        database.executescript(
            "CREATE TABLE t(a INTEGER, b AS (twice(a)) STORED, c TEXT COLLATE odd PRIMARY KEY) WITHOUT ROWID;"
            "INSERT INTO t(a, c) VALUES (1, 'x')"
        )
    assert fingerprints(path)["t"].startswith("rowsum-blake2b-1:")


# Under the stand-ins that counting rows makes do with, each of these indexes looks out of order or short of rows.
OF_AN_APPLICATION = {
    "no such collation sequence: reverse": "CREATE TABLE t(a TEXT COLLATE reverse); CREATE INDEX i ON t(a);",
    "collation sequence: reverse": "CREATE TABLE t(a TEXT COLLATE reverse PRIMARY KEY) WITHOUT ROWID;",
    "unknown function: twice": "CREATE TABLE t(a TEXT); CREATE INDEX i ON t(twice(a));",
    "function: twice": "CREATE TABLE t(a TEXT); CREATE INDEX i ON t(a) WHERE twice(a) = 'bb';",
}


@pytest.fixture(params=OF_AN_APPLICATION)
def application(request, tmp_path):
    """Return a sound database whose indexes need its application, beside a table that does not, and what it lacks."""
    path = tmp_path / "a.db"
    with open_database(path) as database:
        database.create_function("twice", 1, lambda x: x + x, deterministic=True)
        database.create_collation("reverse", lambda a, b: (a < b) - (a > b))
        database.executescript(
            OF_AN_APPLICATION[request.param] + "INSERT INTO t VALUES ('a'), ('b'), ('c');"
            "CREATE TABLE plain(a, b); CREATE INDEX p ON plain(a); INSERT INTO plain VALUES (1, 2), (3, 4)"
        )
    return path, request.param


def test_a_sound_database_whose_indexes_need_its_application_is_not_provable_and_not_corrupt(
    manager, application, tmp_path
):
    path, missing = application
    backup = backed_up(manager, path, format="native")
    with pytest.raises(NotProvable, match=f"every page and row is sound.*table 't': .*{missing}"):
        manager.drill(backup.id)
    with pytest.raises(IntegrityError, match="is not true of what was restored"):
        manager.drill(backup.id, assertions=["SELECT count(*) = 4 FROM plain"])
    assert manager.restore(backup.id, f"sqlite:///{tmp_path}/back.db").success


def test_a_damaged_index_is_found_beside_one_that_needs_the_application(manager, application):
    path, _ = application
    with open_database(path) as database:
        # The index says that it holds b, and its entries are those of a: every page is sound, and they do not fit.
        database.executescript(
            "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql = replace(sql, '(a)', '(b)') WHERE name = 'p'"
        )
    backup = backed_up(manager, path, format="native")
    with pytest.raises(IntegrityError, match="index p"):
        manager.drill(backup.id)


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_a_backup_of_a_database_without_tables_is_drilled_too(manager, tmp_path, form):
    path = make(tmp_path / "bare.db", "CREATE TABLE t(a); DROP TABLE t")
    proof = manager.drill(backed_up(manager, path, format=form).id)
    assert any("recorded nothing to compare with" in text for text in proof.not_proved)
