"""What the server advises reaches the user, whichever program it came through."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest
from support.drive import FileDump, dump, load

import dumpty_plugins.postgres.plugin as driver
from dumpty import CommandError, SourceError

MARKER = b"\n-- PostgreSQL database dump complete\n"


def test_of_a_statement_in_a_plain_dump(dbs, tmp_path):
    path = tmp_path / "d"
    path.write_bytes(b"SELECT nix('a');" + MARKER)
    with pytest.raises(SourceError, match=r"nix.* does not exist \(No function matches"):
        load(driver, dbs.source(dbs.name()), FileDump(path, "sql"))


def test_of_a_command_of_pg_restore(dbs, tmp_path):
    name = dbs.new(
        "CREATE FUNCTION f() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';"
        "CREATE TABLE t (a integer CHECK (f())); INSERT INTO t VALUES (1);"
        "CREATE OR REPLACE FUNCTION f() RETURNS boolean LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no' USING HINT = 'Turn it left.'; END $$"
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", "native")
    with pytest.raises(CommandError, match=r"no.* \(Turn it left\.\)"):
        load(driver, dbs.source(dbs.name()), made)


def test_of_a_query_of_pg_dump(dbs, tmp_path, fake_client):
    name = dbs.new()
    bindir = fake_client(
        'printf "pg_dump: error: query failed: ERROR:  out of shared memory\\n'
        'HINT:  You might need to increase max_locks_per_transaction.\\n" >&2; exit 1\n'
    )
    with pytest.raises(CommandError, match=r"out of shared memory \(You might need to increase max_locks_per_tr"):
        dump(driver, dbs.source(name), tmp_path / "d", "sql", bindir=bindir)


@pytest.fixture
def crowded_database(dbs):
    """A database of two hundred tables, on a server that has room for sixty locks, and some in each session."""
    name = dbs.new("".join(f"CREATE TABLE t{i} (); " for i in range(200)))
    with contextlib.closing(dbs.server.connect(name)) as lock_holder, lock_holder.cursor() as cursor:
        with pytest.raises(psycopg2.errors.OutOfMemory):
            cursor.execute("SELECT pg_advisory_lock(g) FROM generate_series(1, 10000000) g")  # kept although it fails
        cursor.execute("SELECT pg_advisory_unlock(g) FROM generate_series(1, 60) g")
        yield name


@pytest.mark.parametrize("client", ["psycopg2", "psql"])
def test_of_a_lock_that_found_no_room(dbs, crowded_database, tmp_path, client, without_psycopg2):
    if client == "psql":
        without_psycopg2()
    with pytest.raises(SourceError, match=r'out of shared memory \(You might need to increase "?max_locks_per_tr'):
        dump(driver, dbs.source(crowded_database), tmp_path / "d", "sql", counts="auto")
