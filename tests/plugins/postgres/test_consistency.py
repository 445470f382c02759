"""A dump is of one moment, and the evidence is of the same moment, whatever others do meanwhile."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import time

import psycopg2
import pytest
from support.drive import FileSink, defaults, dump, load

import dumpty_plugins.postgres.plugin as driver
from dumpty import Locked, SourceError


class HookedSink(FileSink):
    """Calls ``first`` before the first block is written."""

    def __init__(self, path, first) -> None:
        super().__init__(path)
        self._first = first

    def write(self, data) -> int:
        first, self._first = self._first, None
        if first:
            first()
        return super().write(data)


def back_up(source, sink, form="sql", **options):
    with contextlib.closing(sink):
        return driver.backup(source=source, sink=sink, format=form, options=defaults(driver, "backup", **options))


def waiting_for_lock(server, database: str) -> bool:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock' AND query ~ 'TRUNCATE'"
    return server.execute(sql, database)[0][0] > 0


def wait_until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def rows_in(text: bytes, table: str) -> list[bytes]:
    copies = re.findall(rb'\nCOPY "?public"?\."?' + table.encode() + rb'"? \([^\n]*\n(.*?)\\\.\n', text, re.DOTALL)
    return b"".join(copies).splitlines()


def test_truncate_during_the_dump_waits_for_its_end(dbs, tmp_path):
    name = dbs.new("CREATE TABLE t AS SELECT g FROM generate_series(1, 5000) g")
    truncate = threading.Thread(target=dbs.server.execute, args=("TRUNCATE t",), kwargs={"database": name})

    def start() -> None:
        truncate.start()
        wait_until(lambda: waiting_for_lock(dbs.server, name))

    evidence = back_up(dbs.source(name), HookedSink(tmp_path / "d", start))
    truncate.join()
    assert [o.rows for o in evidence.objects] == [5000]
    assert len(rows_in((tmp_path / "d").read_bytes(), "t")) == 5000
    assert dbs.server.execute("SELECT count(*) FROM t", database=name) == [(0,)]


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_truncate_between_snapshot_and_pg_dump_neither_empties_the_dump_nor_hangs_it(dbs, tmp_path, fake_client, form):
    # pg_dump starts only when TRUNCATE already waits for our lock, and would queue behind it for ever.
    name = dbs.new("CREATE TABLE t AS SELECT g FROM generate_series(1, 5000) g")
    bindir = fake_client(
        f'touch {tmp_path}/ready; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exec $REAL "$@"\n'
    )

    def truncate() -> None:
        wait_until((tmp_path / "ready").exists)
        thread = threading.Thread(target=dbs.server.execute, args=("TRUNCATE t",), kwargs={"database": name})
        thread.start()
        wait_until(lambda: waiting_for_lock(dbs.server, name))
        (tmp_path / "go").touch()
        thread.join()

    truncating = threading.Thread(target=truncate)
    truncating.start()
    made = dump(driver, dbs.source(name), tmp_path / "d", form, bindir=bindir, lock_timeout=1)
    truncating.join()
    # The one thing forbidden is a difference between dump and evidence; here the second attempt sees no rows.
    assert [o.rows for o in made.evidence.objects] == [0]
    load(driver, dbs.source(dbs.name()), made)


def test_a_table_made_while_the_locks_are_awaited_is_in_the_dump(dbs, tmp_path):
    name = dbs.new("CREATE TABLE t1 AS SELECT 1 AS a")
    with contextlib.closing(dbs.server.connect(name)) as other_session, other_session.cursor() as cursor:
        cursor.execute("BEGIN; CREATE TABLE t2 AS SELECT 2 AS a; LOCK TABLE t1 IN ACCESS EXCLUSIVE MODE")
        made: list = []
        backup = threading.Thread(target=lambda: made.append(dump(driver, dbs.source(name), tmp_path / "d", "sql")))
        backup.start()
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
        wait_until(lambda: dbs.server.execute(sql, name)[0][0] > 0)
        cursor.execute("COMMIT")
        backup.join()
    assert {o.path: o.rows for o in made[0].evidence.objects} == {"public.t1": 1, "public.t2": 1}


def test_a_table_that_stays_locked_is_an_error_within_the_timeout(dbs, tmp_path):
    name = dbs.new("CREATE TABLE t1 AS SELECT 1 AS a")
    with contextlib.closing(dbs.server.connect(name)) as other_session, other_session.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE t1 IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Locked, match="lock timeout"):
            dump(driver, dbs.source(name), tmp_path / "d", "sql", lock_timeout=1)


def test_a_killed_snapshot_holder_fails_the_backup(dbs, tmp_path):
    name = dbs.new("CREATE TABLE t AS SELECT g FROM generate_series(1, 5000) g")
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name = 'dumpty'"

    def kill() -> None:
        assert dbs.server.execute(sql, name) == [(True,)]

    with pytest.raises(SourceError, match=r"holding the snapshot .* connection was lost"):
        back_up(dbs.source(name), HookedSink(tmp_path / "d", kill))


def test_pg_dumps_own_connection_lost_fails_the_backup(dbs, tmp_path):
    # More than pipes and socket buffers hold, so that pg_dump is still reading when it loses its connection.
    name = dbs.new("CREATE TABLE t AS SELECT repeat(md5(g::text), 100) AS v FROM generate_series(1, 20000) g")
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name = 'pg_dump'"

    def kill() -> None:
        assert dbs.server.execute(sql, name) == [(True,)]

    with pytest.raises(RuntimeError, match=r"pg_dump failed \(status 1\): .*t.* failed"):
        back_up(dbs.source(name), HookedSink(tmp_path / "d", kill), "native")


def test_rows_hidden_by_row_security_are_an_error_not_a_smaller_dump(dbs, role, tmp_path):
    name = dbs.new("CREATE TABLE t AS SELECT g FROM generate_series(1, 10) g")
    dbs.server.script(
        name,
        f"ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (g < 5); GRANT SELECT ON t TO {role[0]}",
    )
    for counts in ("on", "off"):
        with pytest.raises((SourceError, RuntimeError), match="row-level security"):
            dump(driver, dbs.source(name, *role), tmp_path / "d", "sql", counts=counts)


def test_timeouts_set_for_the_user_do_not_end_a_backup(dbs, tmp_path):
    name = dbs.new("CREATE TABLE t AS SELECT g FROM generate_series(1, 10) g")
    for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        # Long enough for a busy machine to come from the connection to what frees it of them.
        dbs.server.execute(f"ALTER DATABASE {name} SET {setting} = '2s'")
    evidence = back_up(dbs.source(name), HookedSink(tmp_path / "d", lambda: time.sleep(2.5)))
    assert [o.rows for o in evidence.objects] == [10]


WRITER = """DO $$ DECLARE n integer := 0; BEGIN
  LOOP
    n := n + 1;
    INSERT INTO a VALUES (n, {writer}); INSERT INTO b VALUES (n, {writer});
    DELETE FROM b WHERE id = n - 300 AND w = {writer}; DELETE FROM a WHERE id = n - 300 AND w = {writer};
    PERFORM nextval('written_{writer}');
    COMMIT;
    PERFORM pg_sleep(0.004);
  END LOOP;
END $$"""


@pytest.fixture
def pairs(dbs):
    """A database with two writers that commit pairs: the same number into both tables, in one transaction."""
    name = dbs.new(
        "CREATE TABLE a (id integer, w integer); CREATE TABLE b (id integer, w integer);"
        "CREATE SEQUENCE written_0; CREATE SEQUENCE written_1"
    )
    connections = [dbs.server.connect(name) for _writer in (0, 1)]

    def write(writer: int) -> None:
        with contextlib.suppress(psycopg2.errors.QueryCanceled), connections[writer].cursor() as cursor:
            cursor.execute(WRITER.format(writer=writer))

    writers = [threading.Thread(target=write, args=(n,)) for n in (0, 1)]
    for writer in writers:
        writer.start()
    yield (
        name,
        lambda: dbs.server.execute("SELECT w.last_value, x.last_value FROM written_0 w, written_1 x", database=name)[0],
    )
    for connection, writer in zip(connections, writers, strict=True):
        connection.cancel()
        writer.join()
        connection.close()


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_no_backup_holds_half_a_pair_while_writers_commit(dbs, pairs, tmp_path, form):
    name, written = pairs
    wait_until(lambda: min(written()) > 20)
    before = sum(written())
    for number in range(50):
        made = dump(driver, dbs.source(name), tmp_path / str(number), form)
        text = b"".join(part.file.read_bytes() for part in made.parts if part.section != "whole")
        if form != "parallel":
            text = made.file.read_bytes()
        if form == "native":
            pg_restore = str(dbs.server.bindir / "pg_restore")
            text = subprocess.run([pg_restore, "-f", "-", str(made.file)], capture_output=True, check=True).stdout
        a, b = rows_in(text, "a"), rows_in(text, "b")
        assert sorted(a) == sorted(b)
        assert [o.rows for o in made.evidence.objects] == [len(a), len(b)]
    assert sum(written()) > before + 50, "the writers did not run"


def test_the_older_client_is_never_used_for_a_newer_server(newer_dbs, postgres, tmp_path, monkeypatch):
    monkeypatch.delenv("DUMPTY_PG_BINDIR", raising=False)
    name = newer_dbs.new()
    for counts in ("on", "off"):
        with pytest.raises(RuntimeError, match=rf"too old for .*PostgreSQL {newer_dbs.server.major}"):
            dump(driver, newer_dbs.source(name), tmp_path / "d", "sql", counts=counts)
    monkeypatch.setenv("DUMPTY_PG_BINDIR", str(newer_dbs.server.bindir))
    for counts in ("on", "off"):
        made = dump(driver, newer_dbs.source(name), tmp_path / "d", "sql", counts=counts)
        assert made.evidence.versions["pg_dump"].startswith(str(newer_dbs.server.major))


def test_the_servers_own_version_is_chosen_among_clients(dbs, newer_dbs, tmp_path, monkeypatch):
    monkeypatch.setenv("DUMPTY_PG_BINDIR", str(newer_dbs.server.bindir))
    made = dump(driver, dbs.source(dbs.new()), tmp_path / "d", "sql")
    assert made.evidence.versions["pg_dump"].startswith(str(dbs.server.major))
    assert made.evidence.notes == ()


def test_the_session_is_gone_after_every_backup(dbs, tmp_path):
    name = dbs.new("CREATE TABLE t AS SELECT 1 AS a")
    dump(driver, dbs.source(name), tmp_path / "d", "sql")
    with pytest.raises(KeyboardInterrupt):
        back_up(dbs.source(name), HookedSink(tmp_path / "e", lambda: (_ for _ in ()).throw(KeyboardInterrupt)))
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    wait_until(lambda: dbs.server.execute(sql, name) == [(0,)])
    with contextlib.closing(dbs.server.connect(name)) as connection:
        assert isinstance(connection, psycopg2.extensions.connection)
