"""The rows of one table, read for a comparison: each value exactly, told apart by the right key."""

from __future__ import annotations

import contextlib

import pytest
from support.drive import defaults

import dumpty_plugins.postgres.plugin as driver
from dumpty import BackupManager, DumptyError, SourceError
from dumpty.testing.streams import peak_memory
from dumpty.url import parse_url

KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


def _read_killing(found, kill):
    for number, _ in enumerate(found):
        if not number:
            kill()


@pytest.fixture
def database(postgres):
    name = postgres.create()
    yield name
    postgres.drop(name)


@pytest.fixture
def read(postgres, database):
    def run(table, url=""):
        with driver.read_rows(parse_url(url or postgres.url(database)), table, defaults(driver, "inspect")) as found:
            return found.key, found.columns, list(found)

    return run


def test_every_value_reads_as_the_server_writes_it(postgres, database, read):
    postgres.script(
        database,
        """
        CREATE TYPE color AS ENUM ('red', 'blue'); CREATE TYPE pair AS (a int, b text);
        CREATE DOMAIN short AS varchar(3);
        CREATE TABLE v (i int8 PRIMARY KEY, t text, c char(4), b bytea, f float4, d float8, n numeric, z timestamptz,
            ts timestamp, iv interval, j json, jb jsonb, a text[], e color, p pair, s short, o boolean, m money, u uuid,
            r int4range, x xml, twice int8 GENERATED ALWAYS AS (i * 2) STORED);
        INSERT INTO v VALUES (1, 'a', 'b ', '\\x00ff', 0.1, 'NaN', 1.10, '2024-01-02 03:04:05+02', '2024-01-02 03:04:05',
            '1 mon -3 days', '{"a":  1}', '{"a":  1}', '{a,NULL,"b c"}', 'blue', '(,"x y")', 'abc', true, 12.5,
            '00000000-0000-0000-0000-000000000001', '[1,5)', '<a/>');
        INSERT INTO v (i, t, p, a) VALUES (2, '', ROW(NULL, NULL), '{}'), (3, NULL, NULL, NULL);
        ALTER DATABASE """
        + database
        + """ SET DateStyle = 'German';
        ALTER DATABASE """
        + database
        + " SET extra_float_digits = 0; ALTER DATABASE "
        + database
        + " SET bytea_output = 'escape';",
    )
    key, columns, (first, second, third) = read("public.v")
    assert key == ("i",)
    assert "twice" not in columns
    assert first == (
        *(1, "a", "b   ", "\\x00ff", "0.1", "NaN", "1.10", "2024-01-02 01:04:05+00", "2024-01-02 03:04:05"),
        *("1 mon -3 days", '{"a":  1}', '{"a": 1}', '{a,NULL,"b c"}', "blue", '(,"x y")', "abc", "t", "$12.50"),
        *("00000000-0000-0000-0000-000000000001", "[1,5)", "<a/>"),
    )
    place = columns.index
    assert (second[place("t")], second[place("p")], second[place("a")]) == ("", "(,)", "{}")
    assert set(third[1:]) == {None}


def test_rows_are_told_apart_by_what_is_no_two_rows_alike(postgres, database, read):
    postgres.script(
        database,
        """
        CREATE TABLE two (b int, a int, c int, PRIMARY KEY (c, b) INCLUDE (a));
        CREATE TABLE other (a int UNIQUE, b int NOT NULL, c int NOT NULL, UNIQUE (c, b)); CREATE TABLE none (a int);
        CREATE TABLE late (a int NOT NULL UNIQUE DEFERRABLE); CREATE UNIQUE INDEX ON none (a);
        CREATE TABLE part (a int NOT NULL, b text NOT NULL); CREATE UNIQUE INDEX ON part (a) WHERE a > 0;
        CREATE UNIQUE INDEX ON part (lower(b));
        CREATE TABLE computed (a int, k int GENERATED ALWAYS AS (a) STORED PRIMARY KEY);
        CREATE TABLE changed (gone int, a int PRIMARY KEY, b int); ALTER TABLE changed DROP COLUMN gone;
        """,
    )
    assert [read(f"public.{t}")[0] for t in ("two", "other", "none", "late", "part", "computed", "changed")] == [
        ("c", "b"),
        ("c", "b"),
        (),
        (),
        (),
        (),
        ("a",),
    ]
    assert read("public.changed")[1] == ("a", "b")


def test_a_partitioned_table_is_read_with_its_partitions_and_a_parent_without_its_children(postgres, database, read):
    postgres.script(
        database,
        """
        CREATE TABLE m (i int PRIMARY KEY, t text) PARTITION BY RANGE (i);
        CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10); CREATE TABLE m2 (t text, i int NOT NULL);
        ALTER TABLE m ATTACH PARTITION m2 FOR VALUES FROM (10) TO (20); INSERT INTO m VALUES (1, 'a'), (11, 'b');
        CREATE TABLE parent (i int); CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (1);
        """,
    )
    assert sorted(read("public.m")[2]) == [(1, "a"), (11, "b")]
    assert read("public.m2")[1:] == (("t", "i"), [("b", 11)])
    assert read("public.parent")[2] == []


def test_many_and_large_rows_and_rows_without_columns_all_come(postgres, database, read):
    postgres.script(
        database,
        """
        CREATE TABLE many AS SELECT g AS i FROM generate_series(1, 12345) g; CREATE TABLE no_columns ();
        INSERT INTO no_columns DEFAULT VALUES; INSERT INTO no_columns DEFAULT VALUES;
        CREATE TABLE large AS SELECT g AS i, repeat(g::text, 900000) AS t FROM generate_series(1, 9) g;
        INSERT INTO large SELECT g, 'short' FROM generate_series(10, 300) g;
        """,
    )
    assert sorted(read("public.many")[2]) == [(i,) for i in range(1, 12346)]
    assert read("public.no_columns") == ((), (), [(), ()])
    rows = dict(read("public.large")[2])
    assert (len(rows), rows[9]) == (300, "9" * 900000)


@pytest.mark.parametrize(
    "options", ["ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", "ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"]
)
def test_text_in_any_encoding_is_told_apart(postgres, options):
    name = postgres.create(options=options)
    try:
        with contextlib.closing(postgres.connect(name)) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE t (i int PRIMARY KEY, a text)")
            cursor.execute("INSERT INTO t VALUES (1, convert_from('\\xe9', getdatabaseencoding())), (2, 'e')")
        with driver.read_rows(parse_url(postgres.url(name)), "public.t", defaults(driver, "inspect")) as found:
            texts = dict(found)
        assert texts == {1: "\udce9" if "ASCII" in options else "é", 2: "e"}
    finally:
        postgres.drop(name)


def test_no_function_of_the_databases_own_is_called(postgres, database, read):
    postgres.script(
        database,
        """
        CREATE TYPE pair AS (a int); CREATE TABLE calls (n int);
        CREATE FUNCTION spy(pair) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;
        CREATE CAST (pair AS text) WITH FUNCTION spy(pair);
        CREATE FUNCTION concat(pair) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;
        CREATE TABLE t (p pair); INSERT INTO t VALUES (ROW(1));
        """,
    )
    assert read("public.t")[2] == [("(1)",)]


@pytest.mark.parametrize("place", ["before", "meanwhile"])
def test_what_takes_the_name_of_a_table_is_not_read(postgres, database, place):
    """A view in its place would be read, and its functions called, with the rights of whoever compares."""
    postgres.script(
        database,
        """
        CREATE SCHEMA s; CREATE TABLE s.t AS SELECT g AS i FROM generate_series(1, 20000) g; CREATE TABLE spied (n int);
        CREATE FUNCTION spy() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;
        """,
    )
    swap = "ALTER SCHEMA s RENAME TO old; CREATE SCHEMA s; CREATE VIEW s.t AS SELECT spy() AS i"
    with driver.read_rows(parse_url(postgres.url(database)), "s.t", defaults(driver, "inspect")) as found:
        rows = iter(found)
        if place == "meanwhile":
            assert next(rows) == (1,)
        postgres.script(database, swap)
        with pytest.raises(SourceError, match="is not the table of that name any more"):
            list(rows)


def test_a_table_is_not_emptied_before_its_rows_are_read(postgres, database):
    postgres.script(database, "CREATE TABLE t AS SELECT 1 AS i")
    with driver.read_rows(parse_url(postgres.url(database)), "public.t", defaults(driver, "inspect")) as found:
        with pytest.raises(RuntimeError, match="lock timeout"):
            postgres.script(database, "SET lock_timeout = '200ms'; TRUNCATE t")
        assert list(found) == [(1,)]


def test_a_session_that_is_killed_midway_is_an_error(postgres, database):
    postgres.script(database, "CREATE TABLE t AS SELECT repeat('x', 2000) AS t FROM generate_series(1, 9000)")
    source = parse_url(postgres.url(database))
    with driver.read_rows(source, "public.t", defaults(driver, "inspect")) as found, pytest.raises(SourceError):
        _read_killing(found, lambda: postgres.execute(KILL, database))


def test_few_rows_are_held_where_they_are_large(postgres, database):
    postgres.script(
        database,
        "CREATE TABLE t AS SELECT 'small' AS t FROM generate_series(1, 9000);"
        "INSERT INTO t SELECT repeat(g::text, 500000) FROM generate_series(10, 60) g",
    )
    with driver.read_rows(parse_url(postgres.url(database)), "public.t", defaults(driver, "inspect")) as found:
        assert peak_memory(lambda: sum(1 for _ in found)) < 16 << 20


def test_a_partition_whose_rows_are_in_no_backup_is_said(postgres, database, read):
    postgres.script(
        database,
        """
        CREATE TABLE m (i int) PARTITION BY LIST (i); CREATE TABLE m1 PARTITION OF m FOR VALUES IN (1);
        CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
        CREATE FOREIGN TABLE m2 PARTITION OF m FOR VALUES IN (2) SERVER s;
        CREATE TABLE nothing (i int) PARTITION BY LIST (i);
        """,
    )
    with pytest.raises(SourceError, match=r"public\.m2, a partition of public\.m of .*, is a foreign table"):
        read("public.m")
    assert read("public.m1")[2] == []
    assert read("public.nothing")[2] == []


def test_rows_that_a_policy_hides_are_an_error(postgres, database, read):
    postgres.script(
        database,
        """
        CREATE ROLE rows_reader LOGIN PASSWORD 'pw';
        CREATE TABLE t (i int); INSERT INTO t VALUES (1), (2); GRANT SELECT ON t TO rows_reader;
        ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON t USING (i = 1);
        """,
    )
    with pytest.raises(SourceError, match="row-level security"):
        read("public.t", postgres.url(database, user="rows_reader", password="pw"))
    postgres.execute("DROP OWNED BY rows_reader", database=database)
    postgres.execute("DROP ROLE rows_reader")


@pytest.mark.parametrize("table", ["public.none", "public.seen", "pg_catalog.pg_largeobject", "public.counted"])
def test_what_holds_no_rows_of_its_own_is_an_error(postgres, database, read, table):
    postgres.script(database, "CREATE VIEW seen AS SELECT 1; CREATE MATERIALIZED VIEW counted AS SELECT 1")
    with pytest.raises(SourceError, match="has no table"):
        read(table)


def test_the_rows_of_a_table_are_compared_with_those_of_a_backup(postgres, database, tmp_path):
    postgres.script(
        database,
        """
        CREATE SCHEMA "Shop"; CREATE TABLE "Shop"."Ord ers" (id int PRIMARY KEY, price numeric, "at %s" timestamptz);
        INSERT INTO "Shop"."Ord ers" SELECT g, g, now() FROM generate_series(1, 3000) g;
        CREATE TABLE m (i int PRIMARY KEY, t text) PARTITION BY RANGE (i);
        CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10); INSERT INTO m VALUES (1, 'a'), (2, 'b');
        """,
    )
    manager, url = BackupManager(tmp_path), postgres.url(database)
    backup = manager.create_backup(url, format="parallel").raise_for_error()
    table = '"Shop"."Ord ers"'
    found = manager.diff_rows(backup.id, url, "Ord ers")
    assert (found.table, found.same, found.rows_first, found.rows_second) == (table, True, 3000, 3000)
    postgres.script(
        database,
        """
        DELETE FROM "Shop"."Ord ers" WHERE id = 7; UPDATE "Shop"."Ord ers" SET "at %s" = NULL WHERE id IN (8, 9);
        INSERT INTO "Shop"."Ord ers" VALUES (4000); ALTER TABLE m DETACH PARTITION m1;
        CREATE TABLE m2 PARTITION OF m FOR VALUES FROM (0) TO (100); INSERT INTO m VALUES (1, 'a'), (2, 'c');
        """,
    )
    found = manager.diff_rows(backup.id, url, table)
    assert [(r.kind, r.key, r.columns) for r in found.rows] == [
        ("removed", (7,), ()),
        ("changed", (8,), ("at %s",)),
        ("changed", (9,), ("at %s",)),
        ("added", (4000,), ()),
    ]
    found = manager.diff_rows(backup.id, url, "m")
    assert [(r.kind, r.key, r.columns) for r in found.rows] == [("changed", (2,), ("t",))]
    postgres.script(database, "DROP TABLE m1")
    with pytest.raises(DumptyError, match=r"has no table public\.m1"):
        manager.diff_rows(backup.id, url, "m1")
