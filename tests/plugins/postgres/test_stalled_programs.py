"""Client programs that stall: given up where nothing comes of them, and waited for where they work."""

from __future__ import annotations

import pytest
from support.drive import dump, load

from dumpty import SourceError
from dumpty_plugins.postgres import plugin as driver

BUSY = 'end=$((SECONDS+4)); while [ $SECONDS -lt $end ]; do :; done; exec $REAL "$@"'
"""Works for seconds before it says a word: nothing comes of it for longer than the timeout."""

SILENT = "trap '' TERM; while :; do sleep 1000; done"


@pytest.mark.parametrize("form", ["sql", "native", "parallel", "directory"])
def test_a_pg_dump_that_stalls_is_given_up(dbs, tmp_path, fake_client, form):
    name = dbs.new("CREATE TABLE t AS SELECT generate_series(1, 10) AS n")
    with pytest.raises(SourceError, match=r"pg_dump with .* has stalled: not a byte came for 3 s"):
        dump(driver, dbs.source(name), tmp_path / "d", form, bindir=fake_client(SILENT), stall_timeout=3)


def test_a_pg_restore_that_stalls_is_given_up_and_its_database_removed(dbs, tmp_path, fake_client):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t AS SELECT 1 AS n")), tmp_path / "d", "native")
    before = dbs.made_databases()
    with pytest.raises(SourceError, match=r"pg_restore with .* has stalled"):
        load(driver, dbs.source(dbs.name()), made, bindir=fake_client(SILENT, "pg_restore"), stall_timeout=1)
    assert dbs.made_databases() == before


@pytest.mark.parametrize("form", ["sql", "directory"])
def test_a_pg_dump_that_works_in_silence_is_waited_for(dbs, tmp_path, fake_client, form):
    name = dbs.new("CREATE TABLE t AS SELECT generate_series(1, 10) AS n")
    made = dump(driver, dbs.source(name), tmp_path / "d", form, bindir=fake_client(BUSY), stall_timeout=2)
    assert made.evidence.objects[0].rows == 10


def test_a_statement_that_takes_its_time_is_waited_for(dbs, tmp_path):
    name = dbs.new(
        "CREATE FUNCTION slow(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS "
        "'BEGIN PERFORM pg_catalog.pg_sleep(3); RETURN n; END';"
        "CREATE TABLE t (n int); INSERT INTO t VALUES (1); CREATE INDEX i ON t (slow(n))"
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", "sql")
    target = dbs.name()
    load(driver, dbs.source(target), made, stall_timeout=2)
    assert dbs.server.execute("SELECT n FROM t", database=target) == [(1,)]


def test_a_psql_that_stalls_is_given_up(dbs, tmp_path, fake_client):
    name = dbs.new("CREATE TABLE t AS SELECT generate_series(1, 10) AS n")
    fake_client('exec $REAL "$@"\n')
    bindir = fake_client(SILENT, "psql")
    with pytest.raises(SourceError, match="stalled"):
        dump(driver, dbs.source(name), tmp_path / "d", "parallel", bindir=bindir, stall_timeout=1)
