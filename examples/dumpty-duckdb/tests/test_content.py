"""What goes in comes out: every type, and everything else that a DuckDB database can hold."""

from __future__ import annotations

import threading
import time

import duckdb
import pytest
from dumpty_duckdb.content import knows_triggers

FORMATS = ["parquet", "native"]

TYPES = {
    "BIGNUM": "'123456789012345678901234567890123456789012345678901234567890'",
    "BIT": "'0010101'",
    "BLOB": r"'\x00\xff\x27'::BLOB",
    "BOOLEAN": "true",
    "DATE": "'infinity'",
    "DECIMAL(38,10)": "1234567890123456789012345678.0123456789",
    "DOUBLE": "0.1::DOUBLE + 0.2::DOUBLE",
    "ENUM('sad', 'o''k')": "'o''k'",
    "FLOAT": "'nan'",
    "HUGEINT": "170141183460469231731687303715884105727",
    "HUGEINT[]": "[-170141183460469231731687303715884105727, NULL]",
    "INTEGER[3]": "[1, NULL, 3]",
    "INTERVAL": "INTERVAL '1 month 40 days 3.000004 seconds'",
    "INTERVAL[]": "[INTERVAL '4 microseconds']",
    "JSON": """'{"a":  [1, null]}'""",
    "MAP(STRUCT(a INTEGER), UUID[])": "MAP {{'a': 1}: ['ba1e62e4-829b-401b-8cb4-81a16b8088a9'::UUID]}",
    "STRUCT(h HUGEINT, t TIMETZ, s VARCHAR)": "{'h': 1::HUGEINT << 100, 't': '12:00:00+02'::TIMETZ, 's': 'a, ''b'': }\"'}",
    "STRUCT(a INTEGER, b STRUCT(c VARCHAR[])[])": "{'a': 1, 'b': [{'c': ['', NULL]}, NULL]}",
    "TIME": "'24:00:00'",
    "TIMESTAMP": "'-infinity'",
    "TIMESTAMPTZ": "'2020-01-01 00:00:00.123456+02'",
    "TIMESTAMP_MS": "'2020-01-01 00:00:00.123'",
    "TIMESTAMP_NS": "'2020-01-01 00:00:00.123456789'",
    "TIMESTAMP_S": "'290000-01-01 00:00:00'",
    "TIMETZ": "'12:34:56.789+02'",
    "TINYINT": "-128",
    "UBIGINT": "18446744073709551615",
    "UHUGEINT": "340282366920938463463374607431768211455",
    "UNION(num INTEGER, str VARCHAR)": "'5'::VARCHAR",
    "UUID": "'ba1e62e4-829b-401b-8cb4-81a16b8088a9'",
    "VARCHAR": "'NUL \\0, quote '', \n, ü, 𝄞'",
    "VARCHAR COLLATE NOCASE": "''",
    "VARCHAR[][]": "[['a'], [NULL, ''], NULL, []]",
}


def rows_as_text(path, table) -> list[tuple]:
    with duckdb.connect(str(path), read_only=True) as database:
        database.execute("SET TimeZone = 'UTC'")
        return database.execute(f"SELECT typeof(COLUMNS(*)), COLUMNS(*)::VARCHAR FROM {table}").fetchall()


@pytest.mark.parametrize("form", FORMATS)
def test_every_type_comes_back_exactly(form, tmp_path, take_backup, manager, execute):
    source, target = tmp_path / "s.duckdb", tmp_path / "t.duckdb"
    columns = ", ".join(f"c{i} {kind}" for i, kind in enumerate(TYPES))
    execute(source, f"CREATE TABLE every ({columns})", f"INSERT INTO every VALUES ({', '.join(TYPES.values())})")
    execute(source, "INSERT INTO every (c0) VALUES (NULL)")
    result = manager.restore(take_backup(source, form).id, f"duckdb:///{target}")
    assert result.success, result.error
    assert len(rows_as_text(source, "every")) == 2
    assert rows_as_text(target, "every") == rows_as_text(source, "every")
    assert execute(target, "DESCRIBE every") == execute(source, "DESCRIBE every")


OBJECTS = (
    'CREATE SCHEMA "my schema"',
    "CREATE SEQUENCE number START 5 INCREMENT 3 MAXVALUE 100 CYCLE",
    "CREATE TYPE mood AS ENUM ('sad', 'happy')",
    "CREATE TABLE z_parent (id INTEGER DEFAULT nextval('number') PRIMARY KEY, m mood, CHECK (id > 0))",
    "CREATE TABLE child (parent INTEGER REFERENCES z_parent (id), half DOUBLE GENERATED ALWAYS AS (parent / 2))",
    "INSERT INTO z_parent (m) VALUES ('sad'), ('happy')",
    "INSERT INTO child VALUES (5)",
    'CREATE TABLE "my schema"."we""ird na/me" ("co l" HUGEINT, g HUGEINT AS ("co l" * 2))',
    'CREATE TABLE "my schema".we_ird_na_me (i INTERVAL)',
    'INSERT INTO "my schema"."we""ird na/me" VALUES (7)',
    "INSERT INTO \"my schema\".we_ird_na_me VALUES (INTERVAL '1 microsecond')",
    "CREATE VIEW z_view AS SELECT * FROM child",
    "CREATE VIEW a_view AS SELECT * FROM z_view",
    "CREATE MACRO plus(a, b := 2) AS a + b, (a, b, c) AS a + b + c",
    "CREATE MACRO pairs(x) AS TABLE SELECT x, plus(x, b := 1) AS y",
    "CREATE INDEX by_mood ON z_parent (m)",
    "COMMENT ON TABLE child IS 'it''s a child'",
    "COMMENT ON COLUMN child.parent IS 'whose'",
    "COMMENT ON VIEW a_view IS 'seen'",
)


@pytest.mark.parametrize("form", FORMATS)
def test_schemas_constraints_views_sequences_macros_and_comments_come_back(
    form, tmp_path, take_backup, manager, execute
):
    source, target = tmp_path / "s.duckdb", tmp_path / "t.duckdb"
    execute(source, *OBJECTS)
    result = manager.restore(take_backup(source, form).id, f"duckdb:///{target}")
    assert result.success, result.error
    for query in (
        "SELECT table_name, comment, sql FROM duckdb_tables() ORDER BY ALL",
        "SELECT table_name, column_name, comment, column_default FROM duckdb_columns() WHERE NOT internal ORDER BY ALL",
        "SELECT view_name, comment, sql FROM duckdb_views() WHERE NOT internal ORDER BY ALL",
        "SELECT table_name, constraint_text FROM duckdb_constraints() ORDER BY ALL",
        "SELECT index_name, sql FROM duckdb_indexes()",
        "SELECT type_name, labels FROM duckdb_types() WHERE NOT internal",
        "FROM a_view",
        "FROM pairs(3)",
        'FROM "my schema"."we""ird na/me"',
        'FROM "my schema".we_ird_na_me',
    ):
        assert execute(target, query) == execute(source, query) != [], query
    assert execute(target, "SELECT nextval('number')") == [(11,)]
    with pytest.raises(duckdb.ConstraintException):
        execute(target, "INSERT INTO child VALUES (99)")


if knows_triggers():  # DuckDB 2.0 brought them

    @pytest.mark.parametrize("form", FORMATS)
    def test_a_trigger_comes_back_and_does_not_fire_while_loading(form, tmp_path, take_backup, manager, execute):
        source, target = tmp_path / "s.duckdb", tmp_path / "t.duckdb"
        execute(source, "CREATE TABLE t (i INTEGER)", "CREATE TABLE audit (i INTEGER)")
        execute(source, "CREATE TRIGGER tr AFTER INSERT ON t FOR EACH STATEMENT INSERT INTO audit VALUES (1)")
        execute(source, "INSERT INTO t VALUES (1)")
        result = manager.restore(take_backup(source, form).id, f"duckdb:///{target}")
        assert result.success, result.error
        assert execute(target, "FROM audit") == [(1,)]
        execute(target, "INSERT INTO t VALUES (2)")
        assert execute(target, "FROM audit") == [(1,), (1,)]


def test_what_parquet_cannot_carry_is_refused_by_name(tmp_path, manager, take_backup, execute):
    source = tmp_path / "s.duckdb"
    execute(
        source,
        f"ATTACH '{tmp_path}/other.duckdb'",
        "CREATE TABLE other.t (i INTEGER)",
        "CREATE VIEW reaches_out AS FROM other.t",
    )
    result = manager.create_backup(f"duckdb:///{source}", format="parquet")
    assert not result.success
    assert "reaches_out" in result.error
    assert "--format native" in result.error
    assert manager.list_backups() == []
    execute(source, "DROP VIEW reaches_out")
    execute(source, "CREATE TABLE odd (u STRUCT(u UNION(a INTEGER, b INTEGER)))")
    execute(source, "INSERT INTO odd VALUES ({'u': union_value(b := 1)})")
    result = manager.create_backup(f"duckdb:///{source}", format="parquet")
    assert not result.success
    assert "odd" in result.error
    assert "native" in result.error
    assert take_backup(source, "native").evidence.objects


def test_evidence_has_every_table_with_its_rows(shop, take_backup, execute):
    execute(shop, "CREATE TABLE empty (i INTEGER)")
    for form in FORMATS:
        assert {o.path: o.rows for o in take_backup(shop, form).evidence.objects} == {
            "main.item": 1000,
            "main.empty": 0,
        }


def test_a_backup_beside_a_writer_of_this_process_is_of_one_moment(tmp_path, manager, take_backup, execute):
    source, target = tmp_path / "s.duckdb", tmp_path / "t.duckdb"
    with duckdb.connect(str(source)) as database:
        database.execute("CREATE TABLE a (i INTEGER); CREATE TABLE b (i INTEGER)")
        stop = threading.Event()

        def write() -> None:
            with database.cursor() as writer:
                while not stop.is_set():
                    writer.execute("BEGIN; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); COMMIT")

        thread = threading.Thread(target=write)
        thread.start()
        try:
            while thread.is_alive() and database.execute("SELECT count(*) FROM b").fetchone() == (0,):
                time.sleep(0.005)
            backups = [take_backup(source) for _ in range(2)]
        finally:
            stop.set()
            thread.join()
    for backup in backups:
        assert manager.restore(backup.id, f"duckdb:///{target}", overwrite=True).success
        [(a, b)] = execute(target, "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)")
        assert a == b > 0


def test_a_parquet_dump_goes_back_without_dumpty(tmp_path, manager, execute):
    import subprocess

    source = tmp_path / "s.duckdb"
    execute(source, *OBJECTS)
    plain = type(manager)(str(tmp_path / "plain"), compressor=None)
    backup = plain.create_backup(f"duckdb:///{source}", format="parquet").backup
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", backup.file_path, "-C", tmp_path / "out"], check=True)
    execute(tmp_path / "t.duckdb", f"IMPORT DATABASE '{tmp_path / 'out'}'")
    assert execute(tmp_path / "t.duckdb", "FROM a_view") == execute(source, "FROM a_view")
    assert execute(tmp_path / "t.duckdb", "FROM z_parent") == execute(source, "FROM z_parent")
