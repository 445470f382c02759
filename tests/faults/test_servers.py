"""Real servers: dumpty killed, its children failing in every way, connections cut, the server itself killed.

Sessions killed one by one (the holder of the snapshot, pg_dump's own, the holder of the locks) are in the drivers' own
tests: ``plugins/postgres/test_consistency.py`` and ``plugins/mysql/test_snapshot.py``. So are the writers who commit
pairs across tables.
"""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest
from faults.ledger import FACTOR, LEDGER
from faults.servers import MariaDB, Postgres, Proxy, idle, version_of
from faults.vault import leftovers

from dumpty import BackupManager

KILLS = 5
CUTS = 5


@pytest.fixture(params=["postgres", "mariadb"])
def server(request):
    """Each server, with a database of version 1 and a target of version 1000; what a test leaves behind is dropped."""
    running = (Postgres if request.param == "postgres" else MariaDB)(request.getfixturevalue(request.param))
    before = running.others()
    running.make("faulty", 1)
    running.make("target", 1000)
    yield running
    for name in running.others() - before:
        running.drop(name)


@pytest.fixture
def top(place, server):
    """A backup directory with one good backup of version 1, to which the database's version 2 will be added."""
    made = BackupManager(str(place / "backups")).create_backup(server.url("faulty"))
    assert made.success, made.error
    server.execute("UPDATE t SET version = 2", "faulty")
    server.execute("UPDATE u SET version = 2", "faulty")
    return place / "backups"


def whole(top, server, known, what):
    """Check that the older backups are there and all that is listed is whole; restore the newest; return new ids."""
    own = BackupManager(str(top))
    assert own.listing().problems == []
    listed = [b.id for b in own.list_backups()]
    for one in known:
        if one not in listed:
            LEDGER.lose(f"{one} after {what}")
    for one in listed:
        own.verify(one)
    new = [one for one in listed if one not in known]
    if new:
        server.drop("back")
        result = own.restore(new[-1], server.url("back"))
        if not result.success:
            LEDGER.lie(f"{what}: {result.error}")
        assert version_of(server, "back") == 2
        LEDGER.restored += 1
    return new


@pytest.mark.parametrize("form", ["sql", "native"])
def test_backups_of_servers_killed_at_random_moments(zygote, server, top, dice, form):
    if (server.name, form) == ("mariadb", "native"):
        form = "sql"
    known = [b.id for b in BackupManager(str(top)).list_backups()]
    argv = ("backup", server.url("faulty"), "--dir", top, "--format", form)
    seconds = zygote.run(*argv).seconds
    known += whole(top, server, known, "no fault")
    for turn in range(KILLS * FACTOR):
        what = f"round {turn}: kill -9 of a backup of {server.name}, {form}"
        ended = zygote.run(*argv, signal=signal.SIGKILL, delay=dice.uniform(0.1, 0.9) * seconds)
        LEDGER.rounds += 1
        LEDGER.fault("kills of backups")
        assert ended.status in {0, -signal.SIGKILL}, ended
        known += whole(top, server, known, what)
        assert idle(server, "faulty"), f"{what}: somebody is still in the database"
    made = BackupManager(str(top)).create_backup(server.url("faulty"))
    assert made.success, made.error
    assert leftovers(top) == []
    assert whole(top, server, known, "the next run") == [made.backup.id]


@pytest.mark.parametrize("form", ["sql", "native"])
def test_restores_into_servers_killed_at_random_moments(zygote, server, top, dice, form):
    if (server.name, form) == ("mariadb", "native"):
        form = "sql"
    made = BackupManager(str(top)).create_backup(server.url("faulty"), format=form)
    assert made.success, made.error
    argv = ("restore", made.backup.id, "--dir", top, "--overwrite", "--other", "--to", server.url("target"))
    seconds = zygote.run(*argv).seconds
    before = server.others()
    seen = set()
    for turn in range(KILLS * FACTOR):
        server.execute("UPDATE t SET version = 1000", "target")
        server.execute("UPDATE u SET version = 1000", "target")
        what = f"round {turn}: kill -9 of a restore into {server.name}, {form}"
        ended = zygote.run(*argv, signal=signal.SIGKILL, delay=dice.uniform(0.1, 0.95) * seconds)
        LEDGER.rounds += 1
        LEDGER.fault("kills of restores")
        assert idle(server, "target"), what
        found = version_of(server, "target")
        assert found in {1000, 2}, what
        if ended.status == 0 and found != 2:
            LEDGER.lie(what)
        seen.add(found)
        again = zygote.run(*argv)
        if again.status and "target__dumpty_old" in again.err:
            # Killed between the swap and its end: the old content is kept aside until somebody decides.
            assert "DROP DATABASE `target__dumpty_old`" in again.err, what
            server.drop("target__dumpty_old")
            again = zygote.run(*argv)
        assert again.status == 0, (what, again.err)
        assert version_of(server, "target") == 2, what
    assert 1000 in seen
    # What a killed restore was loading stays on the server, under a name that says whose it is.
    assert all(name.startswith("target__dumpty_") for name in server.others() - before)


@pytest.mark.parametrize("verb", ["backup", "restore"])
def test_connections_cut_after_any_number_of_bytes(zygote, server, top, dice, place, verb):
    """The server goes away midway: for the client that is the same as a restart, at the worst moment."""
    sockets = place / "p"
    sockets.mkdir()
    [one] = [b.id for b in BackupManager(str(top)).list_backups()]
    known = [one]
    here = str(sockets)

    def run():
        if verb == "backup":
            return zygote.run("backup", server.through("faulty", here), "--dir", top)
        return zygote.run(
            "restore", one, "--dir", top, "--overwrite", "--other", "--to", server.through("target", here)
        )

    with Proxy(server.proxy_socket(here), server.socket, cut_after=1 << 40) as proxy:
        ended = run()
        assert ended.status == 0, ended
        total = proxy.passed
    known += whole(top, server, known, "no fault")
    before = server.others()
    for turn in range(CUTS * FACTOR):
        server.execute("UPDATE t SET version = 1000", "target")
        server.execute("UPDATE u SET version = 1000", "target")
        with Proxy(server.proxy_socket(here), server.socket, cut_after=dice.randrange(total)) as proxy:
            ended = run()
        what = f"round {turn}: connections of a {verb} cut, {server.name}"
        LEDGER.rounds += 1
        if not proxy.cut:
            assert ended.status == 0, (what, ended)
            continue
        LEDGER.fault("connections cut")
        new = whole(top, server, known, what)
        found = version_of(server, "target")
        assert idle(server, "target"), what
        if verb == "backup" and ended.status == 0:
            assert len(new) == 1, what  # cut after all was said
            known += new
        elif ended.status == 0:
            assert found == 1, what
        else:
            assert ended.status == 1, (what, ended)
            [line] = ended.err.splitlines()
            assert "bug" not in line, (what, line)
            assert new == [], what
            assert found in {1000, 1}, what
        assert leftovers(top) == [], what
    if verb == "restore":
        assert (
            zygote.run("restore", one, "--dir", top, "--overwrite", "--other", "--to", server.url("target")).status == 0
        )
        assert version_of(server, "target") == 1
        assert all(name.startswith("target__dumpty_") for name in server.others() - before)


CHILDREN = {
    "dies": '"$REAL" "$@" | head -c {half}; kill -9 $$',
    "fails": '"$REAL" "$@" | head -c {half}; echo "disk on fire" >&2; exit 3',
    "ends early with status 0": '"$REAL" "$@" | head -c {half}; exit 0',
    "says nothing with status 0": "exit 0",
    "closes its output and fails late": '"$REAL" "$@"; exec 1>&-; sleep 0.2; exit 1',
    "writes rubbish": "head -c {half} /dev/urandom",
}


@pytest.mark.parametrize("form", ["sql", "native"])
@pytest.mark.parametrize("way", CHILDREN)
def test_a_pg_dump_that_goes_wrong_makes_no_backup(zygote, postgres, place, way, form):
    server = Postgres(postgres)
    server.make("faulty", 2)
    top = place / "backups"
    made = BackupManager(str(top)).create_backup(server.url("faulty"), format=form)
    assert made.success, made.error
    fake = place / "bin"
    fake.mkdir()
    script = CHILDREN[way].format(half=made.backup.plain_size_bytes // 2)
    (fake / "pg_dump").write_text(
        f'#!/bin/bash\nREAL={postgres.bindir}/pg_dump\ncase "$*" in *--version*) exec $REAL --version;; esac\n{script}\n'
    )
    (fake / "pg_dump").chmod(0o755)
    for other in ("pg_restore", "psql"):
        os.symlink(postgres.bindir / other, fake / other)
    ended = zygote.run("backup", server.url("faulty"), "--dir", top, "--format", form, "-o", f"bindir={fake}")
    LEDGER.rounds += 1
    LEDGER.fault("children gone wrong")
    what = f"a pg_dump that {way}, {form}"
    if ended.status == 0:
        LEDGER.lie(what)
    assert len(ended.err.splitlines()) == 1, ended
    assert whole(top, server, [made.backup.id], what) == []
    assert leftovers(top) == []
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
    ended = zygote.run(
        *("backup", server.url("faulty"), "--dir", top, "-o", f"bindir={fake}"), signal=signal_, delay=1.0
    )
    LEDGER.rounds += 1
    LEDGER.fault("children gone wrong")
    assert ended.status == 128 + signal_, ended
    assert len(ended.err.splitlines()) == 1
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
        made = BackupManager(str(top)).create_backup(server.url("faulty"))
        assert made.success, made.error
        mariadbd = int((started.directory / "pid").read_text())
        os.kill(mariadbd, signal.SIGSTOP)  # it hangs with the backup's first words, and then dies
        fired = time.monotonic()
        os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", f"sleep 1; kill -9 {mariadbd}")
        ended = zygote.run("backup", server.url("faulty"), "--dir", top)
        LEDGER.rounds += 1
        LEDGER.fault("servers killed")
        assert ended.status == 1, ended
        assert time.monotonic() - fired > 0.9
        assert len(ended.err.splitlines()) == 1
        assert [b.id for b in BackupManager(str(top)).list_backups()] == [made.backup.id]
        assert leftovers(top) == []
    with running_server() as started:  # another server, empty: the backup brings it all back
        server = MariaDB(started)
        result = BackupManager(str(top)).restore(made.backup.id, server.url("faulty"))
        assert result.success, result.error
        assert version_of(server, "faulty") == 2
    shutil.rmtree(top)
