"""Each kind of thing that a SQLite database holds, in both formats and through the sqlite3 program."""

from __future__ import annotations

import random
import struct
import sys

import pytest
from plugins.sqlite.contents import (
    contents,
    dumped,
    identifier,
    make,
    open_database,
    require_round_trip,
    restored,
    rows_of,
    through_program,
)

from dumpty import SourceError

SCHEMAS = {
    "without_rowid": "CREATE TABLE t(a TEXT COLLATE NOCASE, b, PRIMARY KEY(b DESC, a)) WITHOUT ROWID;"
    "INSERT INTO t VALUES('x', 1), ('Y', NULL IS NULL), ('y', 3), ('é', x'00');",
    "strict": "CREATE TABLE t(a INT, b REAL, c TEXT, d BLOB, e ANY) STRICT;"
    "INSERT INTO t VALUES(1, 2, 'x', x'ff', '5'), (NULL, 1e300, '', x'', 5.0);",
    "generated_columns": "CREATE TABLE t(a, b AS (a * 2) STORED, c, d TEXT AS (a || c) VIRTUAL UNIQUE);"
    "INSERT INTO t(a, c) VALUES(1, 'x'), (2.5, 'y');",
    "only_column_is_generated_from": "CREATE TABLE t(a INTEGER PRIMARY KEY, b AS (a + 1)); INSERT INTO t VALUES(7);",
    "implicit_rowids_with_gaps": "CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES(5, 'x'), (-3, 'y'),"
    " (9223372036854775807, 'z');",
    "column_called_rowid": "CREATE TABLE t(rowid, a); INSERT INTO t(oid, rowid, a) VALUES(9, 'not nine', 1);",
    "every_rowid_name_taken": "CREATE TABLE t(rowid, oid, _rowid_); INSERT INTO t VALUES(1, 2, 3), (4, 5, 6);",
    "descending_key_is_no_alias": "CREATE TABLE t(a INTEGER PRIMARY KEY DESC, b);"
    "INSERT INTO t(rowid, a, b) VALUES(10, 3, 'x'), (20, 1, 'y');",
    "autoincrement": "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT, b); INSERT INTO t(b) VALUES('x'), ('y');"
    "DELETE FROM t WHERE a = 2; CREATE TABLE u(a INTEGER PRIMARY KEY AUTOINCREMENT);",
    "sequence_left_behind": "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES(4); DROP TABLE t;",
    "statistics": "CREATE TABLE t(a, b); CREATE INDEX i ON t(a); INSERT INTO t VALUES(1, 2), (1, 3); ANALYZE;",
    "names": 'CREATE TABLE "it\'s ""a"" [t]; --\n"("sel""ect" TEXT, "" INT, "a\nb");'
    "INSERT INTO \"it's \"\"a\"\" [t]; --\n\" VALUES('o''k', 1, 'two\nlines;\n');"
    'CREATE INDEX "i ""x""" ON "it\'s ""a"" [t]; --\n"("a\nb");',
    "indexes": "CREATE TABLE t(a, b); INSERT INTO t VALUES('A', 1), ('b', NULL);"
    "CREATE UNIQUE INDEX p ON t(a) WHERE b IS NOT NULL; CREATE INDEX e ON t(lower(a), b + 1 DESC);",
    "views_and_triggers": "CREATE VIEW w AS SELECT * FROM v; CREATE TABLE t(a); CREATE VIEW v AS SELECT a FROM t;"
    "CREATE TRIGGER one INSTEAD OF INSERT ON v BEGIN\n  INSERT INTO t VALUES(new.a);\nEND;"
    "CREATE TRIGGER two AFTER INSERT ON t BEGIN UPDATE t SET a = a + 1; SELECT CASE 1 WHEN 1 THEN ';' END;\nEND;"
    "INSERT INTO t VALUES(1);",
    "broken_view_is_kept": "CREATE VIEW v AS SELECT x FROM missing;",
    "foreign_keys_both_ways": "CREATE TABLE a(i INTEGER PRIMARY KEY, j REFERENCES b(j));"
    "CREATE TABLE b(j INTEGER PRIMARY KEY, i REFERENCES a(i)); INSERT INTO a VALUES(1, 2), (3, 99);"
    "INSERT INTO b VALUES(2, 1);",
    "rows_that_break_a_check": "CREATE TABLE t(a CHECK(a > 0)); PRAGMA ignore_check_constraints=ON;"
    "INSERT INTO t VALUES(-1), (1);",
    "fts5": "CREATE VIRTUAL TABLE f USING fts5(a, b, tokenize='porter'); INSERT INTO f VALUES('running dogs', 'x');"
    "INSERT INTO f(rowid, a) VALUES(77, 'it''s'); DELETE FROM f WHERE rowid = 1;",
    "fts5_contentless": "CREATE VIRTUAL TABLE f USING fts5(a, content=''); INSERT INTO f(rowid, a) VALUES(4, 'dogs');",
    "fts3": "CREATE VIRTUAL TABLE f USING fts3(a); INSERT INTO f VALUES('dogs'); INSERT INTO f(f) VALUES('automerge=2');",
    "fts4_of_a_table_without_columns": "CREATE TABLE t(a, b); INSERT INTO t VALUES('one', 'two');"
    "CREATE VIRTUAL TABLE f USING fts4(content='t'); INSERT INTO f(f) VALUES('rebuild');"
    "CREATE VIRTUAL TABLE terms USING fts4aux(f);",
    "rtree": "CREATE VIRTUAL TABLE r USING rtree(id, x1, x2, +label); INSERT INTO r VALUES(1, 1.5, 2.5, 'a');"
    "INSERT INTO r VALUES(2, -1, 9, 'b');",
    "no_tables": "PRAGMA user_version=3;",
    "settings": "PRAGMA page_size=8192; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA encoding='UTF-16be';"
    "PRAGMA user_version=-7; PRAGMA application_id=1234567; CREATE TABLE t(a); INSERT INTO t VALUES('ä€😀');",
    "wal": "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1);",
    "definitions_with_crlf": "CREATE TABLE t(a,\n b -- comment; with semicolon\n); INSERT INTO t VALUES(1, 2);",
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_comes_back_the_same(name, tmp_path):
    require_round_trip(make(tmp_path / "original.db", SCHEMAS[name]), tmp_path)


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_values_at_the_edges_come_back_with_their_type_and_bytes(encoding, tmp_path):
    path = make(tmp_path / "original.db", f"PRAGMA encoding='{encoding}'; CREATE TABLE t(k INTEGER PRIMARY KEY, a)")
    plain = [
        *(-(2**63), 2**63 - 1, 0, 1.0, -0.0, float("inf"), float("-inf"), float("nan"), 5e-324, 1.7976931348623157e308),
        *(
            "",
            "a\0b",
            "\0",
            "it's",
            "a\r\nb",
            "\r\n\\r\r\n\\rr",
            "\r",
            "x\n.quit\n/\ngo\n",
            "\ufeffbom",
            "\ufffe",
            "😀",
        ),
        *(b"", b"\0\xff", None),
    ]
    bad = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"a\xffb\0", b"\x00\xd8", b"\xd8\x00", b"ab\r\n\xfe", b"'\xff"]
    with open_database(path) as database:
        database.executemany("INSERT INTO t(a) VALUES(?)", [(value,) for value in plain])
        database.executemany("INSERT INTO t(a) VALUES(CAST(? AS TEXT))", [(value,) for value in bad])
    require_round_trip(path, tmp_path)


@pytest.mark.parametrize("value", ["a\0b", "\0", b"\xff", b"it's\xc0", "a\r\nb"])
def test_a_value_that_is_odd_in_one_way_only_comes_back(value, tmp_path):
    path = make(tmp_path / "original.db", "CREATE TABLE t(a)")
    with open_database(path) as database:
        database.execute("INSERT INTO t VALUES(CAST(? AS TEXT))", (value,))
    require_round_trip(path, tmp_path)


def test_every_random_double_comes_back_bit_for_bit(tmp_path):
    generator = random.Random(7)
    path = make(tmp_path / "original.db", "CREATE TABLE t(a)")
    doubles = [struct.unpack("d", generator.randbytes(8)) for _ in range(20000)]
    doubles += [
        (sign * generator.random() * 10**size,) for sign in (1, -1) for size in range(-6, 16) for _ in range(200)
    ]
    doubles += [(generator.randrange(10**15) / 10**places,) for places in range(12) for _ in range(200)]
    doubles += [(2.0**power,) for power in range(-1074, 1024)]
    with open_database(path) as database:
        database.execute("BEGIN")
        database.executemany("INSERT INTO t VALUES(?)", doubles)
        # Otherwise this test could not fail: the fifteen digits that text has by default must not do for some of them.
        inexact = database.execute("SELECT count(*) FROM t WHERE CAST(printf('%.15g', a) AS REAL) <> a").fetchone()[0]
        database.execute("COMMIT")
    assert inexact > 0
    require_round_trip(path, tmp_path)


def test_full_text_index_over_another_table_still_finds_its_rows(tmp_path):
    # Its index knows rows by rowid alone: a dump that renumbers them makes it find the wrong ones, without an error.
    path = make(
        tmp_path / "original.db",
        "CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES(100, 'wolf'), (7, 'dog');"
        "CREATE VIRTUAL TABLE f USING fts5(a, content='t'); INSERT INTO f(f) VALUES('rebuild');",
    )
    require_round_trip(path, tmp_path)
    for back in ("sql.db", "native.db"):
        assert rows_of(tmp_path / back, "SELECT rowid, a FROM f WHERE f MATCH 'wolf'") == [(100, "wolf")]
        with open_database(tmp_path / back) as database:
            database.execute("INSERT INTO f(f) VALUES('integrity-check')")


def test_triggers_do_not_fire_while_loading_and_do_afterwards(tmp_path):
    path = make(
        tmp_path / "original.db",
        "CREATE TABLE t(a); CREATE TABLE log(a); CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log VALUES(1); END;"
        "INSERT INTO t VALUES(1);",
    )
    require_round_trip(path, tmp_path)
    with open_database(tmp_path / "sql.db") as database:
        database.execute("INSERT INTO t VALUES(2)")
        assert database.execute("SELECT count(*) FROM log").fetchone() == (2,)


def test_tables_with_two_thousand_columns(tmp_path):
    columns = ", ".join(f"c{i}" for i in range(2000))
    path = make(
        tmp_path / "original.db",
        f"CREATE TABLE t({columns}); INSERT INTO t VALUES({', '.join(['1.5'] * 2000)});"
        "INSERT INTO t(c0) VALUES(1), (2), (3)",
    )
    require_round_trip(path, tmp_path)
    with open_database(path) as database:
        database.execute("DELETE FROM t WHERE c0 = 1")
    with pytest.raises(SourceError, match=r"no room for the numbers of its rows.*native"):
        dumped(path, tmp_path / "dump", "sql")
    restored(dumped(path, tmp_path / "dump", "native"), tmp_path / "native.db", overwrite=True)
    assert contents(tmp_path / "native.db") == contents(path)


def test_crlf_far_into_a_table_keeps_every_row_once(tmp_path):
    # Formatting changes to its careful form in the middle of the table, and goes on where it was.
    path = make(tmp_path / "original.db", "CREATE TABLE t(a, b); CREATE TABLE w(a PRIMARY KEY, b) WITHOUT ROWID")
    with open_database(path) as database:
        database.execute("BEGIN")
        for table in ("t", "w"):
            database.executemany(
                f"INSERT INTO {table} VALUES(?, ?)",
                [(i, "x" * 300 + ("\r\n" if i == 2500 else "")) for i in range(3000)],
            )
        database.execute("COMMIT")
    require_round_trip(path, tmp_path)


def test_statements_stay_small_whatever_the_table_holds(tmp_path):
    path = make(tmp_path / "original.db", "CREATE TABLE t(a)")
    with open_database(path) as database:
        database.executemany("INSERT INTO t VALUES(?)", [("y" * 1000,)] * 3000 + [(b"\xab" * 400_000,)] * 3)
    made = dumped(path, tmp_path / "dump.sql", "sql")
    sizes = [int(line.split()[2]) for line in made.file.read_bytes().split(b"\n") if line.endswith(b" bytes")]
    assert sum(size > (1 << 17) + 2000 for size in sizes) <= 3  # the giant rows, one each
    restored(made, tmp_path / "back.db")
    assert contents(tmp_path / "back.db") == contents(path)


def test_temporary_tables_of_other_connections_do_not_matter(tmp_path):
    path = make(tmp_path / "original.db", "CREATE TABLE t(a)")
    with open_database(path) as database:
        database.execute("CREATE TEMP TABLE scratch(a)")
        made = dumped(path, tmp_path / "dump.sql", "sql")
    assert [table.path for table in made.evidence.objects] == ["t"]
    assert b"scratch" not in made.file.read_bytes()


def test_native_keeps_what_only_the_application_can_read(tmp_path):
    path = tmp_path / "original.db"
    with open_database(path) as database:
        database.create_collation("mine", lambda a, b: (a < b) - (a > b))
        database.create_function("own", 1, lambda a: a, deterministic=True)
        database.executescript(
            "CREATE TABLE t(a TEXT COLLATE mine UNIQUE, b CHECK(own(b) > 0), c TEXT AS (own(b)) NOT NULL);"
            "INSERT INTO t VALUES('x', 1), ('y', 2);"
            "CREATE INDEX i ON t(own(b)); CREATE TABLE w(a TEXT COLLATE mine PRIMARY KEY) WITHOUT ROWID;"
            "INSERT INTO w VALUES('a'), ('b');"
        )
    made = dumped(path, tmp_path / "dump.db", "native")
    assert {table.path: table.rows for table in made.evidence.objects} == {"t": 2, "w": 2}
    assert made.evidence.notes == ()
    restored(made, tmp_path / "back.db")
    assert (tmp_path / "back.db").read_bytes()[100:] == path.read_bytes()[100:]


def test_the_program_and_dumpty_build_the_same_from_one_dump(tmp_path):
    path = make(tmp_path / "original.db", "CREATE TABLE t(a); INSERT INTO t VALUES('a\r\nb'), (x'0d0a'), (1e999);")
    made = dumped(path, tmp_path / "dump.sql", "sql")
    through_program(made, tmp_path / "program.db")
    restored(made, tmp_path / "dumpty.db")
    assert contents(tmp_path / "program.db") == contents(tmp_path / "dumpty.db") == contents(path)


def test_a_database_without_a_schema_format_yet_keeps_its_settings(tmp_path):
    path = make(tmp_path / "original.db", "PRAGMA page_size=1024; PRAGMA user_version=9;")
    require_round_trip(path, tmp_path)


def test_names_that_only_quoting_keeps_apart(tmp_path):
    path = tmp_path / "original.db"
    with open_database(path) as database:
        for name in ("a b", "a  b", "a\tb", "a\nb", "A\vB", "ünï", "😀", "1", "-- x", "/* x", "';drop", "#x", ".quit"):
            database.execute(f"CREATE TABLE {identifier(name)}({identifier(name)} DEFAULT {name!r})")
            database.execute(f"INSERT INTO {identifier(name)} VALUES(?)", (sys.maxsize,))
    require_round_trip(path, tmp_path)
