"""Where a restore goes: a missing, an empty or a full database, with and without the right to create one."""

from __future__ import annotations

import contextlib

import pytest
from support.drive import FileDump, dump, load

import dumpty_plugins.postgres.plugin as driver
from dumpty import Evidence, IntegrityError, Locked, SourceError, TargetNotEmpty

EMPTY = b"SELECT 1;\n-- PostgreSQL database dump complete\n"


@pytest.fixture
def name(dbs):
    return dbs.new("CREATE TABLE t AS SELECT g AS a FROM generate_series(1, 10) g")


@pytest.fixture
def made(dbs, name, tmp_path):
    return dump(driver, dbs.source(name), tmp_path / "dump", "sql")


def content(dbs, database: str):
    return dbs.server.execute("SELECT count(*) FROM t", database=database)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE x ()",
        "CREATE VIEW x AS SELECT 1",
        "CREATE SEQUENCE x",
        "CREATE FUNCTION x() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE x AS ENUM ('a')",
        "CREATE DOMAIN x AS text",
        "CREATE SCHEMA x",
        "CREATE EXTENSION citext",
        "SELECT lo_create(0)",
        "CREATE COLLATION x (LOCALE = 'C')",
        "CREATE FOREIGN DATA WRAPPER x",
        "CREATE PUBLICATION x",
        "CREATE TEXT SEARCH DICTIONARY x (TEMPLATE = simple)",
    ],
)
def test_a_target_that_holds_anything_is_refused(dbs, tmp_path, sql):
    target = dbs.new()
    assert driver.inspect(source=dbs.source(target), options={}).empty
    dbs.server.script(target, sql)
    assert not driver.inspect(source=dbs.source(target), options={}).empty
    (tmp_path / "d").write_bytes(EMPTY)
    with pytest.raises(TargetNotEmpty, match=r"it holds .*overwrite"):
        load(driver, dbs.source(target), FileDump(tmp_path / "d", "sql", Evidence()))


def test_an_emptied_target_counts_as_empty(dbs, made):
    target = dbs.new("CREATE TABLE x (); DROP TABLE x; DROP SCHEMA public; CREATE SCHEMA public")
    load(driver, dbs.source(target), made)
    assert content(dbs, target) == [(10,)]


def test_overwriting_carries_over_what_the_dump_does_not_hold(dbs, made, role):
    target = dbs.new("CREATE TABLE old ()", "TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'")
    dbs.server.script(
        target,
        f"""ALTER DATABASE {target} OWNER TO {role[0]}; COMMENT ON DATABASE {target} IS 'it''s \\ mine';
        ALTER DATABASE {target} SET search_path = "a b", public; ALTER DATABASE {target} SET work_mem = '3MB';
        ALTER ROLE {role[0]} IN DATABASE {target} SET statement_timeout = '7s';
        REVOKE ALL ON DATABASE {target} FROM PUBLIC; GRANT CONNECT ON DATABASE {target} TO pg_monitor WITH GRANT OPTION;
        ALTER DATABASE {target} WITH CONNECTION LIMIT 17;""",
    )
    sql = """SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datconnlimit, datistemplate,
             shobj_description(oid, 'pg_database'), (SELECT array_agg(x::text ORDER BY 1) FROM unnest(datacl) x),
             (SELECT array_agg(setrole || array_to_string(setconfig, ';') ORDER BY setrole) FROM pg_db_role_setting
              WHERE setdatabase = pg_database.oid) FROM pg_database WHERE datname = %s"""
    before, databases = dbs.server.execute(sql, target), dbs.made_databases()
    evidence = load(driver, dbs.source(target), made, overwrite=True)
    after = dbs.server.execute(sql, target)
    assert after[0][:6] == before[0][:6]
    assert sorted(after[0][6]) == sorted(before[0][6])
    assert after[0][7] == before[0][7]
    assert content(dbs, target) == [(10,)]
    assert dbs.server.execute("SELECT to_regclass('old')", database=target) == [(None,)]
    assert evidence.notes == ()
    assert dbs.made_databases() == databases  # nothing remains of the old, nor of the new


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_open_sessions_refuse_the_swap_and_nothing_changes(dbs, name, tmp_path, form):
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    target = dbs.new("CREATE TABLE precious ()")
    with contextlib.closing(dbs.server.connect(target, application_name="the shop")):
        with pytest.raises(Locked, match=r"1 session\(s\) use the database .*the shop.*Nothing was changed"):
            load(driver, dbs.source(target), made, overwrite=True)
        assert dbs.made_databases() == {name, target}
    assert dbs.server.execute("SELECT to_regclass('precious')::text", database=target) == [("precious",)]


def test_a_session_opened_during_the_load_refuses_the_swap(dbs, name, made):
    target = dbs.new("CREATE TABLE precious ()")
    sessions = []
    real = made.open

    def connect_and_open():
        sessions.append(dbs.server.connect(target, application_name="late"))
        return real()

    made.open = connect_and_open
    with pytest.raises(Locked, match="late"):
        load(driver, dbs.source(target), made, overwrite=True)
    sessions[0].close()
    assert dbs.made_databases() == {name, target}
    assert dbs.server.execute("SELECT to_regclass('precious')::text", database=target) == [("precious",)]


def test_an_old_database_that_cannot_be_dropped_is_kept_and_named(dbs, made, monkeypatch):
    from dumpty_plugins.postgres.loading import swap

    target = dbs.new("CREATE TABLE precious ()")
    real = swap.rows
    sessions = []

    def rows(connection, sql, *args):
        if sql.startswith("DROP DATABASE") and "IF EXISTS" not in sql:  # somebody is faster, and knows the new name
            sessions.append(dbs.server.connect(sql.split('"')[1]))
        return real(connection, sql, *args)

    monkeypatch.setattr(swap, "rows", rows)
    evidence = load(driver, dbs.source(target), made, overwrite=True)
    sessions[0].close()
    assert content(dbs, target) == [(10,)]
    assert "the old database is still there, as " in evidence.notes[0]
    old = evidence.notes[0].split(" as ")[1].split(":")[0]
    assert dbs.server.execute("SELECT to_regclass('precious')::text", database=old) == [("precious",)]


@pytest.mark.parametrize("form", ["sql", "native", "parallel", "directory"])
def test_missing_roles_and_extensions_are_listed_before_anything_is_loaded(dbs, newer_dbs, tmp_path, form):
    dbs.server.script("postgres", "CREATE ROLE zz_only_here; CREATE ROLE zz_reader")
    try:
        name = dbs.new(
            "CREATE EXTENSION pgcrypto; CREATE EXTENSION sslinfo; CREATE TABLE t (v text);"
            "ALTER TABLE t OWNER TO zz_only_here; GRANT SELECT ON t TO zz_reader"
        )
        made = dump(driver, dbs.source(name), tmp_path / "d", form)
        target = newer_dbs.name()
        with pytest.raises(
            SourceError, match="lacks the roles zz_only_here, zz_reader and the extensions pgcrypto, sslinfo"
        ):
            load(driver, newer_dbs.source(target), made, bindir=str(newer_dbs.server.bindir))
        if form != "sql":  # an archive tells by itself
            made.evidence = Evidence()
            with pytest.raises(SourceError, match="lacks the roles zz_only_here and the extensions pgcrypto, sslinfo"):
                load(driver, newer_dbs.source(target), made, bindir=str(newer_dbs.server.bindir))
        assert newer_dbs.made_databases() == set()
    finally:
        for database in dbs.made_databases():
            dbs.server.drop(database)
        dbs.server.script("postgres", "DROP ROLE zz_only_here; DROP ROLE zz_reader")


def test_a_locale_the_server_lacks_is_a_clear_error(dbs, made):
    properties = {**made.evidence.properties, "collate": "xx_YY.utf8", "ctype": "xx_YY.utf8"}
    forged = FileDump(made.file, "sql", Evidence(objects=made.evidence.objects, properties=properties))
    with pytest.raises(SourceError, match=r"locale.*create .* yourself with a locale of this server"):
        load(driver, dbs.source(dbs.name()), forged)


@pytest.mark.parametrize("form", ["sql", "native", "parallel", "tar", "directory"])
def test_without_createdb_an_empty_database_is_filled_in_one_transaction(dbs, role, tmp_path, form):
    name = dbs.new()
    dbs.server.script(
        name,
        f"ALTER DATABASE {name} OWNER TO {role[0]}; SET ROLE {role[0]}; SELECT lo_from_bytea(7, 'x');"
        "CREATE TABLE t AS SELECT g AS a FROM generate_series(1, 10) g",
    )
    made = dump(driver, dbs.source(name, *role), tmp_path / "d", form)
    target = dbs.new()
    dbs.server.execute(f"ALTER DATABASE {target} OWNER TO {role[0]}")
    evidence = load(driver, dbs.source(target, *role), made)
    assert content(dbs, target) == [(10,)]
    assert dbs.server.execute("SELECT lo_get(7)", database=target)[0][0].tobytes() == b"x"
    assert [o.rows for o in evidence.objects] == [10, 1]  # the table, and the large objects

    miscounted = Evidence(objects=[type(made.evidence.objects[0])(path="public.t", rows=11)])
    wrong = FileDump(made.file, form, miscounted, made.parts)
    other = dbs.new()
    dbs.server.execute(f"ALTER DATABASE {other} OWNER TO {role[0]}")
    with pytest.raises(IntegrityError, match="10 rows, and had 11"):
        load(driver, dbs.source(other, *role), wrong)
    inspection = driver.inspect(source=dbs.source(other), options={})
    assert inspection.empty
    assert dbs.server.execute("SELECT count(*) FROM pg_largeobject_metadata", database=other) == [(0,)]


def test_without_createdb_other_targets_are_refused_with_the_reason(dbs, name, role, made):
    with pytest.raises(SourceError, match="does not exist, and this user may not create it"):
        load(driver, dbs.source(dbs.name(), *role), made)
    target = dbs.new("CREATE TABLE precious ()")
    dbs.server.execute(f"ALTER DATABASE {target} OWNER TO {role[0]}")
    with pytest.raises(SourceError, match="grant CREATEDB"):
        load(driver, dbs.source(target, *role), made, overwrite=True)
    assert dbs.server.execute("SELECT to_regclass('precious')::text", database=target) == [("precious",)]


def test_a_database_of_somebody_else_is_not_replaced(dbs, role, made):
    dbs.server.execute(f"ALTER ROLE {role[0]} CREATEDB")
    target = dbs.new("CREATE TABLE precious ()")
    with pytest.raises(SourceError, match="to rename this one"):
        load(driver, dbs.source(target, *role), made, overwrite=True)


def test_createdb_alone_is_enough_for_ones_own_database(dbs, role, tmp_path):
    dbs.server.execute(f"ALTER ROLE {role[0]} CREATEDB")
    name = dbs.new()
    dbs.server.script(
        name, f"ALTER DATABASE {name} OWNER TO {role[0]}; SET ROLE {role[0]}; CREATE TABLE t AS SELECT 1 AS a"
    )
    dbs.server.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    made = dump(driver, dbs.source(name, *role), tmp_path / "d", "native")
    load(driver, dbs.source(name, *role), made, overwrite=True)
    assert content(dbs, name) == [(1,)]
    copy = dbs.name()
    load(driver, dbs.source(copy, *role), made)
    assert content(dbs, copy) == [(1,)]


def test_the_maintenance_database_itself_can_be_restored(newer_dbs, tmp_path):
    server = newer_dbs.server
    made = dump(
        driver,
        newer_dbs.source(newer_dbs.new("CREATE TABLE t AS SELECT 1 AS a")),
        tmp_path / "d",
        "sql",
        bindir=str(server.bindir),
    )
    load(driver, newer_dbs.source("postgres"), made)
    assert content(newer_dbs, "postgres") == [(1,)]
    server.script("template1", "DROP DATABASE postgres")
    server.script("template1", "CREATE DATABASE postgres")


def test_long_and_odd_names_are_restored_under_their_own_name(dbs, made):
    for odd in ("x" * 63, 'A "quoted" näme; -- = c\'d'):
        load(driver, dbs.source(odd), made)
        assert content(dbs, odd) == [(10,)]
        load(driver, dbs.source(odd), made, overwrite=True)
        assert content(dbs, odd) == [(10,)]


@pytest.mark.parametrize("form", ["native", "parallel", "custom", "tar", "directory"])
def test_a_restore_that_fails_in_pg_restore_leaves_no_database(dbs, tmp_path, form):
    # A check that held when the rows came in and does not when they come back.
    name = dbs.new(
        "CREATE TABLE ok AS SELECT 1 AS a; CREATE FUNCTION f() RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE TABLE t (a integer CHECK (f())); INSERT INTO t VALUES (1);"
        "CREATE OR REPLACE FUNCTION f() RETURNS boolean LANGUAGE sql AS 'SELECT false'"
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    with pytest.raises(RuntimeError, match="violates check constraint"):
        load(driver, dbs.source(dbs.name()), made)
    assert dbs.made_databases() == {name}
