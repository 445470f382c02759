"""Real servers: dumpty killed, its children failing in every way, connections cut, the server itself killed.

Sessions killed one by one (the holder of the snapshot, pg_dump's own, the holder of the locks) are in the drivers' own
tests: ``plugins/postgres/test_consistency.py`` and ``plugins/mysql/test_snapshot.py``. So are the writers who commit
pairs across tables.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.ledger import FACTOR, LEDGER
from faults.servers import ROWS, MariaDB, Postgres, Proxy, idle, version_of
from faults.stalls import PATIENCE
from faults.vault import unfinished_files

from dumpty import BackupManager
from dumpty.cli import main
from dumpty_plugins.postgres.server import errors

KILLS = 5
CUTS = 5
FORMATS = [
    *(("postgres", form) for form in ("sql", "native", "parallel")),
    *(("mariadb", form) for form in ("sql", "parallel")),
]
PART_BYTES = 16384
IN_PARTS = {"parallel": ("-o", f"part_size={PART_BYTES}", "-o", "jobs=2")}
"""So that a small database comes in many parts."""


@pytest.fixture(params=["postgres", "mariadb"])
def server(request):
    """Each server, with a database of version 1 and a target of version 1000; what a test leaves behind is dropped."""
    running = (Postgres if request.param == "postgres" else MariaDB)(request.getfixturevalue(request.param))
    databases_before = running.databases()
    running.make("faulty", 1)
    running.make("target", 1000)
    yield running
    for name in running.databases() - databases_before:
        running.drop(name)


@pytest.fixture
def top(place, server):
    """A backup directory with one good backup of version 1, to which the database's version 2 will be added."""
    result = BackupManager(str(place / "backups")).create_backup(server.url("faulty"))
    assert result.success, result.error
    server.execute("UPDATE t SET version = 2", "faulty")
    server.execute("UPDATE u SET version = 2", "faulty")
    return place / "backups"


def verified_new_ids(top, server, known_ids, event):
    """Check that the older backups are there and all that is listed is whole; restore the newest; return new ids."""
    manager = BackupManager(str(top))
    assert manager.listing().problems == []
    backup_ids = [b.id for b in manager.list_backups()]
    for backup_id in known_ids:
        if backup_id not in backup_ids:
            LEDGER.record_lost_backup(f"{backup_id} after {event}")
    for backup_id in backup_ids:
        manager.verify(backup_id)
    new_ids = [backup_id for backup_id in backup_ids if backup_id not in known_ids]
    if new_ids:
        server.drop("back")
        result = manager.restore(new_ids[-1], server.url("back"))
        if not result.success:
            LEDGER.record_false_success(f"{event}: {result.error}")
        assert version_of(server, "back") == 2
        LEDGER.restored += 1
    return new_ids


@pytest.mark.parametrize(("server", "form"), FORMATS, indirect=["server"])
def test_backups_of_servers_killed_at_random_moments(zygote, server, top, dice, form):
    known_ids = [b.id for b in BackupManager(str(top)).list_backups()]
    argv = ("backup", server.url("faulty"), "--dir", top, "--format", form, *IN_PARTS.get(form, ()))
    seconds = zygote.run(*argv).seconds
    known_ids += verified_new_ids(top, server, known_ids, "no fault")
    for turn in range(KILLS * FACTOR):
        event = f"round {turn}: kill -9 of a backup of {server.name}, {form}"
        outcome = zygote.run(*argv, signal=signal.SIGKILL, delay=dice.uniform(0.1, 0.9) * seconds)
        LEDGER.rounds += 1
        LEDGER.fault("kills of backups")
        assert outcome.status in {0, -signal.SIGKILL}, outcome
        known_ids += verified_new_ids(top, server, known_ids, event)
        assert idle(server, "faulty"), f"{event}: somebody is still in the database"
    result = BackupManager(str(top)).create_backup(server.url("faulty"))
    assert result.success, result.error
    assert unfinished_files(top) == []
    assert verified_new_ids(top, server, known_ids, "the next run") == [result.backup.id]


@pytest.mark.parametrize(("server", "form"), FORMATS, indirect=["server"])
def test_restores_into_servers_killed_at_random_moments(zygote, server, top, dice, form):
    options = {"part_size": PART_BYTES} if form == "parallel" else {}
    result = BackupManager(str(top)).create_backup(server.url("faulty"), format=form, **options)
    assert result.success, result.error
    argv = ("restore", result.backup.id, "--dir", top, "--overwrite", "--other", "--to", server.url("target"))
    seconds = zygote.run(*argv).seconds
    databases_before = server.databases()
    versions_found = set()
    for turn in range(KILLS * FACTOR):
        server.execute("UPDATE t SET version = 1000", "target")
        server.execute("UPDATE u SET version = 1000", "target")
        event = f"round {turn}: kill -9 of a restore into {server.name}, {form}"
        outcome = zygote.run(*argv, signal=signal.SIGKILL, delay=dice.uniform(0.1, 0.95) * seconds)
        LEDGER.rounds += 1
        LEDGER.fault("kills of restores")
        assert idle(server, "target"), event
        version = version_of(server, "target")
        assert version in {1000, 2}, event
        if outcome.status == 0 and version != 2:
            LEDGER.record_false_success(event)
        versions_found.add(version)
        repeated = zygote.run(*argv)
        if repeated.status and "target__dumpty_old" in repeated.err:
            # Killed between the swap and its end: the old content is kept aside until somebody decides.
            assert "DROP DATABASE `target__dumpty_old`" in repeated.err, event
            server.drop("target__dumpty_old")
            repeated = zygote.run(*argv)
        assert repeated.status == 0, (event, repeated.err)
        seconds = min(seconds, repeated.seconds)
        assert version_of(server, "target") == 2, event
    assert 1000 in versions_found
    # What a killed restore was loading stays on the server, under a name that says whose it is.
    assert all(name.startswith("target__dumpty_") for name in server.databases() - databases_before)


@pytest.mark.parametrize(("server", "form"), FORMATS, indirect=["server"])
def test_restores_of_a_table_killed_at_random_moments(zygote, server, top, dice, form):
    options = {"part_size": PART_BYTES} if form == "parallel" else {}
    result = BackupManager(str(top)).create_backup(server.url("faulty"), format=form, **options)
    assert result.success, result.error
    only_t = ("--table", "t", "--overwrite", "--other", "--to", server.url("target"))
    argv = ("restore", result.backup.id, "--dir", top, *only_t)
    seconds = zygote.run(*argv).seconds
    databases_before = server.databases()
    rows_found = set()
    for turn in range(KILLS * FACTOR):
        server.execute("UPDATE t SET version = 1000", "target")
        event = f"round {turn}: kill -9 of a restore of a table into {server.name}, {form}"
        outcome = zygote.run(*argv, signal=signal.SIGKILL, delay=dice.uniform(0.1, 0.95) * seconds)
        LEDGER.rounds += 1
        LEDGER.fault("kills of restores")
        assert idle(server, "target"), event
        sql = "SELECT version, count(*) FROM {} GROUP BY version"
        assert [tuple(row) for row in server.execute(sql.format("u"), "target")] == [(1000, 1)], event
        [(version, count)] = server.execute(sql.format("t"), "target")
        assert (version, count) in {(1000, ROWS), (2, ROWS)}, event
        if outcome.status == 0 and version != 2:
            LEDGER.record_false_success(event)
        rows_found.add(version)
        repeated = zygote.run(*argv)
        assert repeated.status == 0, (event, repeated.err)
        seconds = min(seconds, repeated.seconds)
        assert [tuple(row) for row in server.execute(sql.format("t"), "target")] == [(2, ROWS)], event
    assert 1000 in rows_found
    assert all(name.startswith("target__dumpty_") for name in server.databases() - databases_before)


@pytest.mark.parametrize("verb", ["backup", "restore"])
def test_connections_cut_after_any_number_of_bytes(zygote, server, top, dice, place, verb):
    """The server goes away midway: for the client that is the same as a restart, at the worst moment."""
    sockets = place / "p"
    sockets.mkdir()
    [backup_id] = [b.id for b in BackupManager(str(top)).list_backups()]
    known_ids = [backup_id]
    directory = str(sockets)

    def run():
        if verb == "backup":
            return zygote.run("backup", server.through("faulty", directory), "--dir", top)
        return zygote.run(
            "restore", backup_id, "--dir", top, "--overwrite", "--other", "--to", server.through("target", directory)
        )

    with Proxy(server.proxy_socket(directory), server.socket) as proxy:
        outcome = run()
        assert outcome.status == 0, outcome
        total = proxy.passed
    known_ids += verified_new_ids(top, server, known_ids, "no fault")
    databases_before = server.databases()
    for turn in range(CUTS * FACTOR):
        server.execute("UPDATE t SET version = 1000", "target")
        server.execute("UPDATE u SET version = 1000", "target")
        with Proxy(server.proxy_socket(directory), server.socket, cut_after=dice.randrange(total)) as proxy:
            outcome = run()
        event = f"round {turn}: connections of a {verb} cut, {server.name}"
        LEDGER.rounds += 1
        if not proxy.cut:
            assert outcome.status == 0, (event, outcome)
            continue
        LEDGER.fault("connections cut")
        new_ids = verified_new_ids(top, server, known_ids, event)
        version = version_of(server, "target")
        assert idle(server, "target"), event
        if verb == "backup" and outcome.status == 0:
            assert len(new_ids) == 1, event  # cut after all was said
            known_ids += new_ids
        elif outcome.status == 0:
            assert version == 1, event
        else:
            assert outcome.status == 1, (event, outcome)
            [line] = outcome.err.splitlines()
            assert "this is a bug" not in line, (event, line)
            assert new_ids == [], event
            assert version in {1000, 1}, event
        assert unfinished_files(top) == [], event
    if verb == "restore":
        assert (
            zygote.run(
                "restore", backup_id, "--dir", top, "--overwrite", "--other", "--to", server.url("target")
            ).status
            == 0
        )
        assert version_of(server, "target") == 1
        assert all(name.startswith("target__dumpty_") for name in server.databases() - databases_before)


CHILDREN = {
    "dies": '"$REAL" "$@" | head -c {half}; kill -9 $$',
    "fails": '"$REAL" "$@" | head -c {half}; echo "disk on fire" >&2; exit 3',
    "ends early with status 0": '"$REAL" "$@" | head -c {half}; exit 0',
    "says nothing with status 0": "exit 0",
    "closes its output and fails late": '"$REAL" "$@"; exec 1>&-; sleep 0.2; exit 1',
    "writes rubbish": "head -c {half} /dev/urandom",
}


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
@pytest.mark.parametrize("way", CHILDREN)
def test_a_pg_dump_that_goes_wrong_makes_no_backup(zygote, postgres, place, way, form):
    server = Postgres(postgres)
    server.make("faulty", 2)
    top = place / "backups"
    result = BackupManager(str(top)).create_backup(server.url("faulty"), format=form)
    assert result.success, result.error
    fake = place / "bin"
    fake.mkdir()
    script = CHILDREN[way].format(half=result.backup.plain_size_bytes // 2)
    (fake / "pg_dump").write_text(
        f'#!/bin/bash\nREAL={postgres.bindir}/pg_dump\ncase "$*" in *--version*) exec $REAL --version;; esac\n{script}\n'
    )
    (fake / "pg_dump").chmod(0o755)
    for program in ("pg_restore", "psql"):
        os.symlink(postgres.bindir / program, fake / program)
    outcome = zygote.run("backup", server.url("faulty"), "--dir", top, "--format", form, "-o", f"bindir={fake}")
    LEDGER.rounds += 1
    LEDGER.fault("children gone wrong")
    event = f"a pg_dump that {way}, {form}"
    if outcome.status == 0:
        LEDGER.record_false_success(event)
    assert len(outcome.err.splitlines()) == 1, outcome
    assert verified_new_ids(top, server, [result.backup.id], event) == []
    assert unfinished_files(top) == []
    assert idle(server, "faulty")


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_pg_dump_that_stalls_ends_with_the_backup(zygote, postgres, place, signal_):
    server = Postgres(postgres)
    server.make("faulty", 2)
    fake = place / "bin"
    fake.mkdir()
    (fake / "pg_dump").write_text(
        f'#!/bin/bash\nREAL={postgres.bindir}/pg_dump\ncase "$*" in *--version*) exec $REAL --version;; esac\n'
        f'echo $$ > {place}/pid; "$REAL" "$@" | head -c 3000; sleep 333\n'
    )
    (fake / "pg_dump").chmod(0o755)
    top = place / "backups"
    argv = ("backup", server.url("faulty"), "--dir", top, "-o", f"bindir={fake}")
    outcome = zygote.run(*argv, signal=signal_, once=f"{place}/pid", delay=0.5)
    LEDGER.rounds += 1
    LEDGER.fault("children gone wrong")
    assert outcome.status == 128 + signal_, outcome
    assert len(outcome.err.splitlines()) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int((place / "pid").read_text()), 0)
    assert [n for n in os.listdir(top) if not n.startswith(".")] == []
    assert idle(server, "faulty")


def test_a_server_that_is_killed_and_restarted_midway(zygote, tmp_path_factory, place):
    from support.mariadb_server import running_server

    with running_server() as started:
        server = MariaDB(started)
        server.make("faulty", 2)
        top = place / "backups"
        result = BackupManager(str(top)).create_backup(server.url("faulty"))
        assert result.success, result.error
        mariadbd = int((started.directory / "pid").read_text())
        os.kill(mariadbd, signal.SIGSTOP)  # it hangs with the backup's first words, and then dies
        fired = time.monotonic()
        os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", f"sleep 1; kill -9 {mariadbd}")
        outcome = zygote.run("backup", server.url("faulty"), "--dir", top)
        LEDGER.rounds += 1
        LEDGER.fault("servers killed")
        assert outcome.status == 1, outcome
        assert time.monotonic() - fired > 0.9
        assert len(outcome.err.splitlines()) == 1
        assert [b.id for b in BackupManager(str(top)).list_backups()] == [result.backup.id]
        assert unfinished_files(top) == []
    with running_server() as started:  # another server, empty: the backup brings it all back
        server = MariaDB(started)
        result = BackupManager(str(top)).restore(result.backup.id, server.url("faulty"))
        assert result.success, result.error
        assert version_of(server, "faulty") == 2
    shutil.rmtree(top)


@pytest.fixture
def plain_role(server):
    """A role, which is its password, too, that may not create databases, and owns the empty database ``hollow``."""
    server.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'", "postgres")
    server.server.create("hollow")
    server.execute("ALTER DATABASE hollow OWNER TO plain", "postgres")
    yield "plain"
    server.drop("hollow")
    server.execute("DROP ROLE plain", "postgres")


@pytest.mark.parametrize("server", ["postgres"], indirect=True)
@pytest.mark.parametrize("target", ["target", "hollow"])
def test_a_restore_whose_last_answer_is_lost_does_not_say_that_nothing_was_restored(server, plain_role, place, target):
    """Swapped in by a superuser, or loaded in one transaction: the server has committed, and nobody was told."""
    made = BackupManager(str(place / "backups")).create_backup(server.url("faulty")).raise_for_error()
    sockets = place / "p"
    sockets.mkdir()
    url = server.through(target, str(sockets))
    options = {}
    if target == "hollow":
        url, options = url.replace("postgres@", f"{plain_role}:{plain_role}@"), {"owner": "off", "privileges": "off"}
    with Proxy(server.proxy_socket(str(sockets)), server.socket, cut_behind=b"COMMIT\0") as proxy:
        result = BackupManager(str(place / "backups")).restore(made.id, url, overwrite=True, **options)
    assert proxy.cut
    assert "it may hold that by now, or what it held before; look at it" in result.error
    assert version_of(server, target) == 1
    assert not [name for name in server.databases() if name.endswith("__dumpty_new")]


@pytest.mark.parametrize("server", ["postgres"], indirect=True)
def test_who_is_interrupted_while_a_restore_is_committed_is_told_which_database_to_look_at(
    server, place, monkeypatch, capsys
):
    made = BackupManager(str(place / "backups")).create_backup(server.url("faulty")).raise_for_error()
    real = errors.rows

    def rows(connection, statement):
        answer = real(connection, statement)
        if statement == "COMMIT":
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(errors, "rows", rows)
    status = main(["restore", made.id, "-d", str(place / "backups"), "--to", server.url("interrupted"), "-q"])
    assert status == 130
    assert ", which may hold what was restored by now, or what it held before: look at it" in capsys.readouterr().err
    assert version_of(server, "interrupted") == 1


SLOW_RESTORE = """
import sys
from faults.servers import Proxy
from dumpty import BackupManager
top, backup_id, url, proxy_socket, socket = sys.argv[1:]
with Proxy(proxy_socket, socket, pause=0.001):
    BackupManager(top).restore(backup_id, url).raise_for_error()
"""


@pytest.mark.parametrize("server", ["postgres"], indirect=True)
def test_a_slow_server_leaves_the_other_threads_of_a_program_at_work(server, place):
    """Here one of them is what the server is reached by: would it stop, the restore would never end.

    It would where the end of a table's data no longer fits into what the socket takes: with some of so many sizes it does.
    """
    for kilobytes in range(220, 440, 4):
        server.execute(f"CREATE TABLE of_{kilobytes} AS SELECT repeat('x', {kilobytes << 10}) AS a", "faulty")
    made = BackupManager(str(place / "backups")).create_backup(server.url("faulty"), format="sql").raise_for_error()
    sockets = place / "p"
    sockets.mkdir()
    arguments = (place / "backups", made.id, server.through("slow", str(sockets)))
    sockets_of_both = (server.proxy_socket(str(sockets)), server.socket)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    argv = [sys.executable, "-c", SLOW_RESTORE, *arguments, *sockets_of_both]
    subprocess.run(argv, check=True, timeout=PATIENCE, env=environment)
    assert version_of(server, "slow") == 1
