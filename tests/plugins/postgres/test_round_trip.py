"""What goes in comes back: pg_dump of the original and of the restored database agree."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.drive import dump, load

import dumpty_plugins.postgres.plugin as driver
from dumpty import BackupManager, IntegrityError

sys.path.insert(0, str(Path(__file__).parent))
import zoo

FORMATS = ("sql", "native", "parallel", "custom", "tar", "directory")


def assert_same(before: str, after: str) -> None:
    if before != after:
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="")
        pytest.fail("\n".join(list(lines)[:40]))


@pytest.fixture(scope="module")
def original(postgres):
    postgres.script("postgres", zoo.ROLES)
    name = postgres.create()
    postgres.script(name, zoo.COMMON + zoo.EXTENSIONS)
    yield name, postgres.dump(name)
    postgres.drop(name)


@pytest.fixture(scope="module")
def newer_original(postgres_newer):
    postgres_newer.script("postgres", zoo.ROLES)
    name = postgres_newer.create()
    postgres_newer.script(name, zoo.COMMON)
    yield name, postgres_newer.dump(name)
    postgres_newer.drop(name)


@pytest.mark.parametrize("form", FORMATS)
def test_every_kind_of_object_comes_back(dbs, original, tmp_path, form):
    name, before = original
    made = dump(driver, dbs.source(name), tmp_path / "dump", form)
    copy = dbs.name()
    evidence = load(driver, dbs.source(copy), made)
    assert_same(before, dbs.server.dump(copy))
    assert evidence.objects == made.evidence.objects
    counts = {o.path: o.rows for o in evidence.objects}
    assert counts["app.child"] == 100
    assert counts['"Mixed Case"."Odd "" name; -- x"'] == 3
    assert counts["public.measured"] is None  # its partitions are counted
    assert counts["public.measured_old"] == 11
    assert counts["app.summary"] is None  # materialized views are computed anew
    roots = {o.path: o.part_of for o in evidence.objects}
    partitions = {"public.measured_old", "public.measured_new", "app.measured_new_0", "public.measured_new_1"}
    assert {path for path, root in roots.items() if root == "public.measured"} == partitions
    assert roots["public.measured"] is None


@pytest.mark.parametrize("form", ["sql", "native", "parallel", "tar"])
def test_every_kind_of_object_comes_back_on_the_newer_server(newer_dbs, newer_original, tmp_path, form):
    name, before = newer_original
    server = newer_dbs.server
    made = dump(driver, newer_dbs.source(name), tmp_path / "dump", form, bindir=str(server.bindir))
    copy = newer_dbs.name()
    load(driver, newer_dbs.source(copy), made, bindir=str(server.bindir))
    assert_same(before, server.dump(copy))


@pytest.mark.parametrize("form", ["sql", "native", "parallel", "directory"])
def test_dumps_of_a_newer_client_go_back_to_the_older_server(dbs, postgres_newer, original, tmp_path, form):
    name, before = original
    newer = str(postgres_newer.bindir)
    made = dump(driver, dbs.source(name), tmp_path / "dump", form, bindir=newer)
    assert any("newer" in n or "for a server" in n for n in made.evidence.notes)
    copy = dbs.name()
    load(driver, dbs.source(copy), made, bindir=newer)
    assert_same(before, dbs.server.dump(copy))


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_dumps_of_the_older_server_go_to_the_newer_one(dbs, newer_dbs, tmp_path, form):
    dbs.server.script("postgres", zoo.ROLES)
    newer_dbs.server.script("postgres", zoo.ROLES)
    name = dbs.new(zoo.COMMON)
    made = dump(driver, dbs.source(name), tmp_path / "dump", form)
    copy = newer_dbs.name()
    load(driver, newer_dbs.source(copy), made, bindir=str(newer_dbs.server.bindir))
    rows = "SELECT id, name, doubled FROM app.parent ORDER BY 1"
    assert newer_dbs.server.execute(rows, database=copy) == dbs.server.execute(rows, database=name)


def test_psql_alone_loads_the_plain_dump(dbs, original, tmp_path):
    name, before = original
    made = dump(driver, dbs.source(name), tmp_path / "dump", "sql")
    copy = dbs.new()
    argv = [str(dbs.server.bindir / "psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", str(made.file)]
    subprocess.run([*argv, dbs.server.url(copy)], check=True)
    assert_same(before, dbs.server.dump(copy))


def test_pg_restore_alone_loads_the_native_dump(dbs, original, tmp_path):
    name, before = original
    made = dump(driver, dbs.source(name), tmp_path / "dump", "native")
    copy = dbs.new()
    subprocess.run(
        [str(dbs.server.bindir / "pg_restore"), "-e", "-j2", "-d", dbs.server.url(copy), str(made.file)], check=True
    )
    assert_same(before, dbs.server.dump(copy))


@pytest.mark.parametrize(
    ("encoding", "form"),
    [
        *(("LATIN1", "sql"), ("SQL_ASCII", "sql"), ("EUC_JP", "native"), ("UTF8", "sql")),
        *(("LATIN1", "parallel"), ("SQL_ASCII", "parallel"), ("EUC_JP", "parallel"), ("UTF8", "parallel")),
    ],
)
def test_a_new_database_gets_the_old_ones_encoding_and_locale(dbs, tmp_path, monkeypatch, encoding, form):
    monkeypatch.setenv("PGCLIENTENCODING", "WIN1252")  # must not reach pg_dump
    name = dbs.new(options=f"TEMPLATE template0 ENCODING {encoding} LC_COLLATE 'C' LC_CTYPE 'C'")
    text = {"LATIN1": "é", "SQL_ASCII": "plain", "EUC_JP": "日本", "UTF8": "é 日本 \U0001f600"}[encoding]
    dbs.server.execute(f"CREATE TABLE t AS SELECT '{text}'::text AS v", database=name)
    made = dump(driver, dbs.source(name), tmp_path / "dump", form)
    copy = dbs.name()
    load(driver, dbs.source(copy), made)
    sql = "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database WHERE datname = %s"
    assert dbs.server.execute(sql, copy) == [(encoding, "C", "C")]
    assert dbs.server.execute("SELECT v FROM t", database=copy) == [(text,)]


@pytest.mark.parametrize("form", ["sql", "parallel"])
def test_bytes_that_are_no_text_survive_in_an_sql_ascii_database(dbs, tmp_path, form):
    name = dbs.new(options="TEMPLATE template0 ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C'")
    dbs.server.execute("CREATE TABLE t AS SELECT convert_from('\\xe9ff80'::bytea, 'SQL_ASCII') AS v", database=name)
    made = dump(driver, dbs.source(name), tmp_path / "dump", form)
    copy = dbs.name()
    load(driver, dbs.source(copy), made)
    assert dbs.server.execute("SELECT convert_to(v, 'SQL_ASCII') = '\\xe9ff80' FROM t", database=copy) == [(True,)]


def test_backslashes_without_standard_conforming_strings_survive(dbs, tmp_path):
    name = dbs.new()
    dbs.server.execute(f"ALTER DATABASE {name} SET standard_conforming_strings = off")
    dbs.server.script(name, r"CREATE VIEW v AS SELECT E'it\\''s; \\' AS a; COMMENT ON VIEW v IS E'\\''; \\';")
    made = dump(driver, dbs.source(name), tmp_path / "dump", "sql")
    copy = dbs.name()
    load(driver, dbs.source(copy), made)
    assert dbs.server.execute("SELECT a FROM v", database=copy) == [("it\\'s; \\",)]
    assert dbs.server.execute("SELECT obj_description('v'::regclass)", database=copy) == [("\\'; \\",)]


def test_an_empty_database_round_trips_in_every_format(dbs, tmp_path):
    name = dbs.new()
    for form in FORMATS:
        made = dump(driver, dbs.source(name), tmp_path / form, form)
        load(driver, dbs.source(f"{name}_{form}"), made)
        assert_same(dbs.server.dump(name), dbs.server.dump(f"{name}_{form}"))


def test_settings_of_the_database_come_back_with_a_missing_one(dbs, tmp_path):
    name = dbs.new("CREATE TABLE t ()")
    dbs.server.script(
        name, f"ALTER DATABASE {name} SET search_path = 'a b', public; ALTER DATABASE {name} SET work_mem = '5MB'"
    )
    made = dump(driver, dbs.source(name), tmp_path / "dump", "native")
    copy = dbs.name()
    load(driver, dbs.source(copy), made)
    sql = "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase WHERE datname = %s"
    assert dbs.server.execute(sql, copy) == dbs.server.execute(sql, name) != []


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_what_every_database_has_and_this_one_has_not_is_not_there_afterwards(dbs, tmp_path, form):
    name = dbs.new("CREATE SCHEMA own; CREATE TABLE own.t (); DROP SCHEMA public; DROP EXTENSION plpgsql")
    made = dump(driver, dbs.source(name), tmp_path / "dump", form)
    copy = dbs.name()
    assert load(driver, dbs.source(copy), made).notes == ()
    sql = """SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'public'),
             (SELECT count(*) FROM pg_extension WHERE extname = 'plpgsql')"""
    assert dbs.server.execute(sql, database=copy) == [(0, 0)]
    assert_same(dbs.server.dump(name), dbs.server.dump(copy))
    manager = BackupManager(str(tmp_path / "store"))
    result = manager.create_backup(dbs.server.url(name), format=form)
    assert result.success, result.error
    manager.drill(result.backup.id, on=dbs.server.url(), superuser=True)
    manager.drill(result.backup.id)


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_what_somebody_dropped_from_an_empty_target_is_made_again(dbs, role, tmp_path, form):
    content = (
        "CREATE FUNCTION f() RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'; CREATE TABLE t (a integer)"
    )
    made = dump(driver, dbs.source(dbs.new(content)), tmp_path / "dump", form)
    target = dbs.new("DROP SCHEMA public; DROP EXTENSION plpgsql")
    dbs.server.execute(f"ALTER DATABASE {target} OWNER TO {role[0]}")
    load(driver, dbs.source(target, *role), made, owner=False, privileges=False)
    assert dbs.server.execute("SELECT f(), has_schema_privilege('pg_monitor', 'public', 'USAGE')", database=target) == [
        (1, True)
    ]


def test_what_may_not_be_dropped_is_told(dbs, role, tmp_path):
    name = dbs.new("CREATE SCHEMA own; CREATE TABLE own.t (); DROP EXTENSION plpgsql")
    made = dump(driver, dbs.source(name), tmp_path / "dump", "sql")
    dbs.server.execute(f"ALTER ROLE {role[0]} CREATEDB")
    [note, *_] = load(driver, dbs.source(dbs.name(), *role), made, owner=False, privileges=False).notes
    assert note.startswith("the original has no EXTENSION plpgsql, the new database does: must be owner")


@pytest.mark.parametrize("form", ["native", "custom", "directory", "tar"])
def test_every_archive_but_tar_is_restored_by_as_many_jobs_as_were_asked_for(dbs, tmp_path, fake_client, form):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t (a int)")), tmp_path / "d", form)
    bindir = fake_client(f'echo "$@" >> {tmp_path}/seen\nexec $REAL "$@"\n', "pg_restore")
    load(driver, dbs.source(dbs.name()), made, jobs=3, bindir=bindir)
    seen = (tmp_path / "seen").read_text().splitlines()
    assert [("--jobs=3" in line, "--jobs" in line) for line in seen] == (
        [(False, False)] if form == "tar" else [(True, True)] * 2
    )


PARTITIONED = """
CREATE TABLE pk (a int PRIMARY KEY, b int) PARTITION BY RANGE (a);
CREATE TABLE pk_low PARTITION OF pk FOR VALUES FROM (0) TO (10);
CREATE TABLE pk_high PARTITION OF pk FOR VALUES FROM (10) TO (100) PARTITION BY LIST (a);
CREATE TABLE pk_high_1 PARTITION OF pk_high FOR VALUES IN (11);
CREATE TABLE pk_high_rest PARTITION OF pk_high DEFAULT;
CREATE INDEX ON pk (b);
CREATE TABLE fk (a int REFERENCES pk);
INSERT INTO pk SELECT g, g FROM generate_series(1, 20) g;
INSERT INTO fk SELECT a FROM pk;
"""


@pytest.mark.parametrize("form", ["native", "directory", "parallel"])
def test_indexes_of_partitions_are_attached_by_one_session(dbs, tmp_path, fake_client, form):
    """By several, PostgreSQL may leave the index of the partitioned table invalid, and foreign keys are refused."""
    name = dbs.new(PARTITIONED)
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    archive = next(part.file for part in made.parts if part.section == "whole")
    script = f"""n=$(ls {tmp_path}/seen | wc -l)
for a in "$@"; do case $a in --use-list=*) (cat "${{a#--use-list=}}"; echo "$@") > {tmp_path}/seen/$n;; esac; done
exec $REAL "$@"
"""
    (tmp_path / "seen").mkdir()
    copy = dbs.name()
    load(driver, dbs.source(copy), made, jobs=3, bindir=fake_client(script, "pg_restore"))
    seen = [path.read_text().split("\n") for path in (tmp_path / "seen").iterdir()]
    argv = [str(dbs.server.bindir / "pg_restore"), "--list", str(archive)]
    entries = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    attachments = set(re.findall(r"(?m)^(\d+;).* INDEX ATTACH ", entries))
    assert len(attachments) == 8
    loaded = [line for lines in seen for line in lines if line.endswith(";")]
    assert len(loaded) == len({*loaded})
    assert {*re.findall(r"(?m)^\d+;", entries)} <= {*loaded}
    assert {("--jobs=1" in lines[-2], attachments <= {*lines}) for lines in seen if attachments & {*lines}} == {
        (True, True)
    }
    assert dbs.server.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid", database=copy) == [(0,)]
    assert_same(dbs.server.dump(name), dbs.server.dump(copy))


@pytest.mark.parametrize("form", ["native", "parallel"])
def test_an_index_that_is_left_invalid_though_all_of_it_is_there_fails_the_restore(dbs, tmp_path, fake_client, form):
    made = dump(driver, dbs.source(dbs.new(PARTITIONED.replace("REFERENCES pk", ""))), tmp_path / "d", form)
    script = f"""$REAL "$@" || exit
for a in "$@"; do case $a in --dbname=*) target="${{a#--dbname=}}";; --use-list=*/behind)
    {dbs.server.bindir}/psql -qX -c "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'pk_b_idx'::regclass" "$target"
esac; done
"""
    before = dbs.made_databases()
    with pytest.raises(IntegrityError, match=r"the index public\.pk_b_idx is not valid .* all that it consists of is"):
        load(driver, dbs.source(dbs.name()), made, bindir=fake_client(script, "pg_restore"))
    assert dbs.made_databases() == before


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_an_index_that_lacks_those_of_some_partitions_comes_back_as_it_was(dbs, tmp_path, form):
    """One of its partitions is a foreign table, or nobody has made its index yet."""
    name = dbs.new(
        "CREATE TABLE t (a int) PARTITION BY RANGE (a);"
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (a);"
        "CREATE TABLE t_1_1 PARTITION OF t_1 FOR VALUES FROM (0) TO (5);"
        "CREATE TABLE t_1_2 PARTITION OF t_1 FOR VALUES FROM (5) TO (10);"
        "CREATE INDEX on_t ON ONLY t (a); CREATE INDEX on_t_1 ON ONLY t_1 (a); CREATE INDEX on_t_1_1 ON t_1_1 (a);"
        "ALTER INDEX on_t ATTACH PARTITION on_t_1; ALTER INDEX on_t_1 ATTACH PARTITION on_t_1_1;"
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE TABLE u (a int) PARTITION BY RANGE (a);"
        "CREATE TABLE u_1 PARTITION OF u FOR VALUES FROM (0) TO (10);"
        "CREATE FOREIGN TABLE u_2 PARTITION OF u FOR VALUES FROM (10) TO (20) SERVER s; CREATE INDEX on_u ON u (a)"
    )
    manager = BackupManager(tmp_path / "backups")
    backup = manager.create_backup(dbs.server.url(name), format=form).raise_for_error()
    copy = dbs.name()
    manager.restore(backup.id, dbs.server.url(copy)).raise_for_error()
    invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid ORDER BY 1"
    assert dbs.server.execute(invalid, database=copy) == [("on_t",), ("on_t_1",), ("on_u",)]
    assert_same(dbs.server.dump(name), dbs.server.dump(copy))
    assert manager.drill(backup.id, superuser=True).ok
