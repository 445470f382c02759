"""The format that suits: parallel, and native, with a word of why, where the server cannot be read so."""

from __future__ import annotations

import contextlib
import os
from urllib.parse import quote

import pytest
from support.drive import FileSink, defaults

import dumpty_plugins.postgres.plugin as driver
from dumpty import BackupManager, CommandError, SourceError

ROWS = "CREATE TABLE t AS SELECT g AS a FROM generate_series(1, 1000) g"


@pytest.fixture
def name(dbs):
    return dbs.new(ROWS)


def made(tmp_path, url, **options):
    manager = BackupManager(str(tmp_path / "b"))
    return manager.create_backup(url, format="auto", **options).raise_for_error()


def assert_native(dbs, name, tmp_path, backup, why):
    [note] = [
        note
        for note in backup.evidence.notes
        if note.startswith("not in the format parallel, as it would be without --format native: ")
    ]
    assert why in note
    assert (backup.format, len(backup.files)) == ("native", 1)
    copy = dbs.name()
    BackupManager(str(tmp_path / "b")).restore(backup.id, dbs.server.url(copy)).raise_for_error()
    assert dbs.server.execute("SELECT count(*), sum(a) FROM t", database=copy) == [(1000, 500500)]


def test_a_server_is_read_in_parallel(dbs, name, tmp_path):
    backup = made(tmp_path, dbs.server.url(name))
    assert (backup.format, backup.evidence.notes) == ("parallel", ())
    assert len(backup.files) > 1


def test_a_pooler_is_read_by_one_program(dbs, name, pooler, tmp_path):
    backup = made(tmp_path, f"postgresql://postgres@127.0.0.1:{pooler}/{name}")
    assert_native(dbs, name, tmp_path, backup, "is a pooler, and a parallel dump needs sessions of the server itself")


def test_a_machine_without_psql_reads_by_pg_dump_alone(dbs, name, tmp_path, fake_client):
    bindir = fake_client('exec $REAL "$@"\n')
    os.unlink(os.path.join(bindir, "psql"))
    assert_native(dbs, name, tmp_path, made(tmp_path, dbs.server.url(name), bindir=bindir), "psql was not found in")
    manager = BackupManager(str(tmp_path / "b"))
    asked = manager.create_backup(dbs.server.url(name), format="parallel", bindir=bindir)
    assert isinstance(asked.exception, CommandError)


@pytest.mark.parametrize(("limit", "form"), [(2, "native"), (3, "parallel")])
def test_a_user_with_room_for_no_session_beside_pg_dump_is_served(dbs, name, role, tmp_path, limit, form):
    user, password = role
    dbs.server.script(name, f"GRANT SELECT ON t TO {user}; ALTER ROLE {user} CONNECTION LIMIT {limit}")
    url = f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{dbs.server.port}/{name}"
    backup = made(tmp_path, url, jobs=1)
    assert backup.format == form
    if form == "native":
        assert_native(dbs, name, tmp_path, backup, "too many connections for role")


@pytest.mark.parametrize(("asked", "sessions"), [(0, 4), (8, 7)])
def test_half_of_the_room_for_sessions_is_left_to_others_unless_told_otherwise(
    dbs, role, tmp_path, monkeypatch, asked, sessions
):
    name = dbs.new("CREATE TABLE t AS SELECT g AS a FROM generate_series(1, 20000) g")
    user, password = role
    dbs.server.script(name, f"GRANT SELECT ON t TO {user}; ALTER ROLE {user} CONNECTION LIMIT 9")
    monkeypatch.setattr("dumpty_plugins.postgres.backup.job_count", lambda options: 8)
    question = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND application_name = 'psql'"
    seen = []

    class Sink(FileSink):
        def part(self, **how):
            seen.append(dbs.server.execute(question, user)[0][0])
            return super().part(**how)

    with contextlib.closing(Sink(tmp_path / "d")) as sink:
        options = defaults(driver, "backup", jobs=asked)
        driver.backup(source=dbs.source(name, user, password), sink=sink, format="parallel", options=options)
    assert max(seen) == sessions


def test_a_server_that_falls_silent_is_not_asked_again_in_another_way(dbs, name, tmp_path, fake_client):
    fake_client('exec $REAL "$@"\n')
    bindir = fake_client("trap '' TERM; while :; do sleep 1000; done", "psql")
    manager = BackupManager(str(tmp_path / "b"))
    result = manager.create_backup(dbs.server.url(name), format="auto", bindir=bindir, stall_timeout=1)
    assert isinstance(result.exception, SourceError)
    assert "has stalled" in result.error
    assert manager.list_backups() == []
