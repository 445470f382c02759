"""A dump is of one moment or there is none: through the facade, in every format, with psycopg2 and without."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest
from support.drive import dump, load

import dumpty_plugins.postgres.plugin as driver
from dumpty import BackupFormat, DatabaseBackup, Locked, SourceError
from dumpty_plugins.postgres import backup as backup_module

TORN = "TRUNCATE t; INSERT INTO u SELECT generate_series(1, 100)"


@pytest.fixture(params=["psycopg2", "psql"])
def library(request, without_psycopg2):
    if request.param == "psql":
        without_psycopg2()
    return request.param


@pytest.fixture
def name(dbs):
    return dbs.new("CREATE TABLE t AS SELECT generate_series(1, 100) AS a; CREATE TABLE u (a integer)")


@pytest.fixture
def wait_for_locks(monkeypatch):
    """Set how many seconds the facade waits for locks."""
    real = backup_module.back_up

    def wait(seconds: int) -> None:
        def back_up(address, sink, form, options):
            return real(address, sink, form, {**options, "lock_timeout": seconds})

        monkeypatch.setattr(backup_module, "back_up", back_up)

    return wait


def waits_for_lock(server, database: str, program: str = "%") -> bool:
    sql = """SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'
             AND application_name LIKE %s"""
    return server.execute(sql, database, program)[0][0] > 0


def wait_until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("form", list(BackupFormat))
def test_a_lock_held_beyond_the_timeout_is_an_error_and_pg_dump_is_never_run(
    dbs, name, library, wait_for_locks, tmp_path, form
):
    wait_for_locks(1)
    backups = DatabaseBackup(str(tmp_path / "store"))
    backup_ended = threading.Event()
    with contextlib.closing(dbs.server.connect(name)) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; " + TORN)

        def let_pg_dump_through() -> None:
            while not backup_ended.is_set():
                if waits_for_lock(dbs.server, name, "pg_dump"):
                    cursor.execute("COMMIT")
                    return
                backup_ended.wait(0.02)

        helper = threading.Thread(target=let_pg_dump_through)
        helper.start()
        try:
            with pytest.raises(Locked, match="lock timeout") as caught:
                backups.backup_postgres(dbs.server.url(name), "b", form)
        finally:
            backup_ended.set()
            helper.join()
    assert isinstance(caught.value, RuntimeError)
    assert backups.list_backups() == []
    assert [p.name for p in (tmp_path / "store").iterdir() if p.suffix not in (".json", ".lock")] == []


@pytest.mark.parametrize("form", ["sql", "custom", "directory", "tar"])
@pytest.mark.parametrize("counts", ["auto", "off"])
def test_what_was_committed_while_the_lock_was_awaited_is_there_as_a_whole(
    dbs, name, library, without_psycopg2, tmp_path, form, counts
):
    made: list = []
    with contextlib.closing(dbs.server.connect(name)) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; " + TORN)
        backup = threading.Thread(
            target=lambda: made.append(dump(driver, dbs.source(name), tmp_path / "d", form, counts=counts))
        )
        backup.start()
        wait_until(lambda: waits_for_lock(dbs.server, name))
        cursor.execute("COMMIT")
        backup.join()
    evidence = made[0].evidence
    assert {o.path: o.rows for o in evidence.objects} == ({"public.t": 0, "public.u": 100} if counts == "auto" else {})
    assert ("psql" in evidence.versions) == (library == "psql")
    if library == "psql":
        without_psycopg2()
    restored = load(driver, dbs.source(dbs.name()), made[0])
    assert {o.path: o.rows for o in restored.objects} == {"public.t": 0, "public.u": 100}


def test_a_directory_dump_whose_jobs_meet_a_waiting_truncate_is_made_again(dbs, name, library, tmp_path, fake_client):
    # Its jobs lock every table anew, and never wait: pg_dump's own error text is "could not obtain lock on relation".
    script = (
        f'if [ -e {tmp_path}/once ]; then exec $REAL "$@"; fi; touch {tmp_path}/once\n'
        'for a in "$@"; do case "$a" in --file=*) touch "${a#--file=}/half";; esac; done\n'
        'echo "pg_dump: error: could not obtain lock on relation \\"public.t\\"" >&2; exit 1\n'
    )
    bindir = fake_client(script)
    (Path(bindir) / "psql").symlink_to(dbs.server.bindir / "psql")
    made = dump(driver, dbs.source(name), tmp_path / "d", "directory", bindir=bindir, counts="auto", jobs=2)
    assert {o.path: o.rows for o in made.evidence.objects} == {"public.t": 100, "public.u": 0}
    assert not (made.file / "half").exists()


def test_rows_that_are_being_counted_when_pg_dump_meets_that_lock_are_counted_anew(dbs, library, tmp_path, fake_client):
    name = dbs.new("CREATE UNLOGGED TABLE t AS SELECT generate_series(1, 3000000) AS a")
    refuse = 'echo "pg_dump: error: could not obtain lock on relation \\"public.t\\"" >&2; exit 1'
    bindir = fake_client(f'if [ -e {tmp_path}/once ]; then exec $REAL "$@"; fi; touch {tmp_path}/once; {refuse}\n')
    (Path(bindir) / "psql").symlink_to(dbs.server.bindir / "psql")
    made = dump(driver, dbs.source(name), tmp_path / "d", "directory", bindir=bindir, counts="auto")
    assert [o.rows for o in made.evidence.objects] == [3000000]


def test_a_server_that_cannot_be_reached_is_an_error_before_pg_dump(dbs, library, tmp_path, fake_client):
    bindir = fake_client(f"touch {tmp_path}/ran\nexit 1\n")
    (Path(bindir) / "psql").symlink_to(dbs.server.bindir / "psql")
    with pytest.raises(SourceError, match=r"cannot connect to .*not_there.*pg_dump was not run"):
        dump(driver, dbs.source("not_there"), tmp_path / "d", "custom", bindir=bindir, counts="auto")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", ["sql", "custom", "directory", "tar"])
def test_psql_finds_what_psycopg2_finds(dbs, tmp_path, without_psycopg2, form):
    name = dbs.new(
        """CREATE SCHEMA "a ""b"; CREATE TABLE "a ""b"."it's: ; :c \\x é" AS SELECT generate_series(1, 7) AS a;
        CREATE TABLE p (a integer) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);
        INSERT INTO p SELECT generate_series(0, 8); CREATE MATERIALIZED VIEW m AS SELECT 1 AS one;
        SELECT lo_from_bytea(0, 'large'); CREATE EXTENSION hstore; CREATE TABLE h (h hstore)"""
    )
    dbs.server.script(name, f"COMMENT ON DATABASE {name} IS E'it''s\\n: \\\\ \"mine\"'")
    options = {"counts": "auto", "fingerprint": True}
    evidence = dump(driver, dbs.source(name), tmp_path / "a", form, **options).evidence
    without_psycopg2()
    psql_evidence = dump(driver, dbs.source(name), tmp_path / "b", form, **options).evidence
    assert psql_evidence.objects == evidence.objects
    assert len(psql_evidence.objects) == 6
    assert psql_evidence.properties == evidence.properties


def test_a_psql_that_loses_its_session_fails_the_backup(dbs, name, tmp_path, without_psycopg2, fake_client):
    without_psycopg2()
    bindir = fake_client(
        f'touch {tmp_path}/ready; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exec $REAL "$@"\n'
    )
    (Path(bindir) / "psql").symlink_to(dbs.server.bindir / "psql")
    errors: list[BaseException] = []

    def back_up() -> None:
        try:
            dump(driver, dbs.source(name), tmp_path / "d", "sql", bindir=bindir, counts="auto")
        except SourceError as error:
            errors.append(error)

    backup = threading.Thread(target=back_up)
    backup.start()
    wait_until((tmp_path / "ready").exists)
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name = 'psql'"
    assert dbs.server.execute(sql, name) == [(True,)]
    (tmp_path / "go").touch()
    backup.join()
    assert "holding the snapshot of" in str(errors[0])
    wait_until(lambda: dbs.server.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s", name) == [])


def test_without_psycopg2_and_psql_it_is_said_how_to_get_them(dbs, name, tmp_path, without_psycopg2, fake_client):
    without_psycopg2()
    with pytest.raises(RuntimeError, match="psql was not found"):
        dump(driver, dbs.source(name), tmp_path / "d", "sql", bindir=fake_client('exec $REAL "$@"\n'), counts="auto")
    with pytest.raises(ImportError, match=r'pip install "dumpty\[postgres\]"'):
        dump(driver, dbs.source(name), tmp_path / "d", "sql")


def test_no_secret_of_psqls_shows(dbs, role, name, tmp_path, without_psycopg2, fake_client):
    without_psycopg2()
    note = f"tr '\\0' ' ' < /proc/$$/cmdline >> {tmp_path}/seen\n" + 'exec $REAL "$@"\n'
    fake_client(note)
    bindir = fake_client(note, "psql")
    dbs.server.execute(f"GRANT pg_read_all_data TO {role[0]}")
    made = dump(driver, dbs.source(name, *role), tmp_path / "d", "sql", bindir=bindir, counts="auto")
    assert [o.rows for o in made.evidence.objects] == [100, 0]
    process_list = (tmp_path / "seen").read_text()
    assert "bin/psql " in process_list
    assert role[1] not in process_list
    with pytest.raises(SourceError, match="password authentication failed") as caught:
        dump(driver, dbs.source(name, role[0], "Wr0ng-secret"), tmp_path / "e", "sql", bindir=bindir, counts="auto")
    assert "Wr0ng-secret" not in str(caught.value)
