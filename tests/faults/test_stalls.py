"""Servers that hang: a command that is asked to end does, and what it could not remove it names."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from faults.servers import MariaDB, Postgres, version_of
from faults.stalls import PATIENCE, Command, Stalling
from faults.vault import unfinished_files

from dumpty import BackupManager, Cancellation, Cancelled

MIDWAY = 400_000
"""Bytes: more than it takes to connect and look around, less than a whole backup or restore."""


@pytest.fixture(params=["postgres", "mariadb", "mysql"])
def server(request):
    """Each server, with a database of version 1 and a target of version 1000; what a test leaves behind is dropped."""
    running = (Postgres if request.param == "postgres" else MariaDB)(request.getfixturevalue(request.param))
    databases_before = running.databases()
    running.make("stalling", 1)
    running.make("target", 1000)
    yield running
    for name in running.databases() - databases_before:
        running.drop(name)


@pytest.fixture
def top(place, server):
    """A backup directory with one good backup."""
    result = BackupManager(str(place / "backups")).create_backup(server.url("stalling"))
    assert result.success, result.error
    return place / "backups"


@pytest.fixture
def proxied(place, server):
    """Make a proxy that stalls after so many bytes; return it and what makes a URL through it."""
    sockets = place / "p"
    sockets.mkdir()

    def make(after, **options):
        return Stalling(server.proxy_socket(str(sockets)), server.socket, after=after, **options)

    make.url = lambda database: server.through(database, str(sockets))
    return make


def argv_of(verb, top, url, *options):
    if verb == "backup":
        return ("backup", url("stalling"), "--dir", top, *options)
    return ("restore", "latest", "--dir", top, "--to", url("target"), "--overwrite", "--other", *options)


def untouched(server, top):
    """See that the one backup is whole, nothing stands beside it, and the target holds what it held."""
    manager = BackupManager(str(top))
    [backup] = manager.list_backups()
    manager.verify(backup.id)
    assert unfinished_files(top) == []
    assert version_of(server, "target") == 1000


@pytest.mark.parametrize("after", [0, 200, MIDWAY], ids=["connecting", "saying hello", "midway"])
@pytest.mark.parametrize(("verb", "number"), [("backup", signal.SIGTERM), ("restore", signal.SIGINT)])
def test_one_signal_ends_what_waits_for_a_stalled_server(server, top, place, proxied, verb, number, after):
    databases_before = server.databases()
    with (
        proxied(after) as proxy,
        Command(place, *argv_of(verb, top, proxied.url, "--json")) as command,
    ):
        command.wait_for_stall(proxy)
        command.send(number)
        assert command.wait() == 128 + number
        reply = command.json
        assert (reply["success"], reply["status"]) == (False, 128 + number)
        assert signal.Signals(number).name in reply["error"]
        require_named(server, databases_before, reply)
    untouched(server, top)


@pytest.mark.parametrize("server", ["postgres", "mariadb"], indirect=True)
@pytest.mark.parametrize(("verb", "after"), [("backup", 0), ("restore", MIDWAY)])
def test_a_token_ends_what_waits_for_a_stalled_server(server, top, proxied, verb, after):
    databases_before, token, results = server.databases(), Cancellation(), []
    manager = BackupManager(str(top))

    def call():
        if verb == "backup":
            results.append(manager.create_backup(proxied.url("stalling"), cancel=token))
        else:
            [backup] = manager.list_backups()
            results.append(manager.restore(backup.id, proxied.url("target"), overwrite=True, cancel=token))

    with proxied(after) as proxy:
        calling = threading.Thread(target=call)
        calling.start()
        assert proxy.stalled.wait(PATIENCE)
        token.cancel("the window closes")
        calling.join(PATIENCE)
        assert not calling.is_alive()
    [result] = results
    assert isinstance(result.exception, Cancelled)
    assert "was cancelled (the window closes)" in result.error
    require_named(server, databases_before, {"error": result.error})
    untouched(server, top)


@pytest.mark.parametrize("server", ["postgres", "mariadb"], indirect=True)
@pytest.mark.parametrize("target", ["target", "missing"])
def test_a_restore_that_is_cancelled_at_its_last_moment_leaves_its_target(server, top, target):
    manager, databases_before, phases, token = BackupManager(str(top)), server.databases(), [], Cancellation()
    [backup] = manager.list_backups()

    def cancel(progress):
        phases.append(str(progress.phase))
        if progress.phase == "committing":
            token.cancel()

    result = manager.restore(backup.id, server.url(target), overwrite=True, progress=cancel, cancel=token)
    assert isinstance(result.exception, Cancelled)
    assert list(dict.fromkeys(phases)) == ["inspecting", "loading", "committing"]
    assert server.databases() == databases_before
    untouched(server, top)


@pytest.mark.parametrize("server", ["mariadb", "mysql"], indirect=True)
def test_a_server_shows_the_old_tables_until_the_commit_point(server, top):
    """From there on others may write to what they see, and taking it back would lose that."""
    manager, visible = BackupManager(str(top)), []
    [backup] = manager.list_backups()
    server.execute("CREATE TABLE former (i int)", "target")

    def look(progress):
        if progress.phase == "committing":
            tables = server.execute(
                "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'target'", "target"
            )
            visible.append({name for (name,) in tables})

    result = manager.restore(backup.id, server.url("target"), overwrite=True, progress=look)
    assert result.success, result.error
    assert visible == [{"t", "u", "former"}]
    assert version_of(server, "target") == 1


def require_named(server, databases_before, reply):
    """See that every database that was not there before is named in the error."""
    for name in server.databases() - databases_before:
        assert name in reply["error"]


@pytest.mark.parametrize("verb", ["backup", "restore"])
def test_a_second_signal_ends_it_at_once(server, top, place, proxied, verb):
    databases_before = server.databases()
    with proxied(MIDWAY) as proxy, Command(place, *argv_of(verb, top, proxied.url, "--json")) as command:
        command.wait_for_stall(proxy)
        command.send(signal.SIGTERM)
        if not command.ends_within(0.5):  # so that the second is not taken for the echo of the first
            command.send(signal.SIGTERM)
        assert command.wait() == 128 + signal.SIGTERM
        assert (command.json["status"], command.json["success"]) == (128 + signal.SIGTERM, False)
        require_named(server, databases_before, command.json)
    manager = BackupManager(str(top))
    [backup] = manager.list_backups()
    manager.verify(backup.id)
    assert version_of(server, "target") == 1000
    result = manager.create_backup(server.url("stalling"))
    assert result.success, result.error
    assert unfinished_files(top) == []


@pytest.mark.parametrize("verb", ["backup", "restore"])
def test_a_server_that_went_silent_is_given_up(server, top, place, proxied, verb):
    databases_before = server.databases()

    def url(database):
        return f"{proxied.url(database)}&connect_timeout=2"  # so long it also waits for who could say what goes on

    argv = argv_of(verb, top, url, "--json", "-o", "stall_timeout=2")
    with proxied(MIDWAY), Command(place, *argv) as command:
        assert command.wait() == 1
        reply = command.json
        assert (reply["status"], reply["error_type"]) == (1, "SourceError")
        assert "has stalled: not a byte came for 2 s" in reply["error"]
        require_named(server, databases_before, reply)
    untouched(server, top)


@pytest.mark.parametrize("verb", ["backup", "restore"])
def test_connections_that_a_router_forgot_are_given_up_and_cleaned_up_after_over_others(
    server, top, place, proxied, verb
):
    databases_before = server.databases()
    argv = argv_of(verb, top, proxied.url, "--json", "-o", "stall_timeout=3")
    with proxied(MIDWAY, serve_new=True), Command(place, *argv) as command:
        assert command.wait() == 1
        assert "a new connection finds that it does not work on what was asked" in command.json["error"]
        assert server.databases() == databases_before
    untouched(server, top)


def test_a_server_that_is_at_work_is_waited_for(server, top, place):
    argv = ("backup", server.url("stalling"), "--dir", top, "--json", "-o", "stall_timeout=2", "-o", "lock_timeout=4")
    with server.locked("stalling"), Command(place, *argv) as command:
        assert command.wait() == 11, command.json
    untouched(server, top)


def test_the_timeout_is_a_number_of_seconds(server, top, place):
    with Command(place, "backup", server.url("stalling"), "--dir", top, "-o", "stall_timeout=-1") as command:
        assert command.wait() == 2
        assert "stall_timeout is a number of seconds" in command.err
    untouched(server, top)


def test_a_command_for_the_url_that_does_not_listen_is_ended(place):
    script = "trap '' TERM; echo $$ > pid; while :; do sleep 1000; done"
    argv = ("backup", f'cmd:sh -c "{script}"', "--dir", place / "b", "--json")
    with Command(place, *argv, cwd=place) as command:
        pid = int(read_when_written(place / "pid"))
        command.send(signal.SIGTERM)
        assert command.wait() == 128 + signal.SIGTERM
        assert command.json["status"] == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def read_when_written(path):
    """Return what is written to a file, once it is."""
    deadline = time.monotonic() + PATIENCE
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


def test_a_drill_on_a_server_that_stalls_ends(server, top, place, proxied):
    databases_before = server.databases()
    argv = ("drill", "latest", "--dir", top, "--on", proxied.url("target"), "--json", "-o", "superuser=on")
    with proxied(MIDWAY) as proxy, Command(place, *argv) as command:
        command.wait_for_stall(proxy)
        command.send(signal.SIGTERM)
        assert command.wait() == 128 + signal.SIGTERM
        require_named(server, databases_before, command.json)
    untouched(server, top)
    assert [p.level for p in BackupManager(str(top)).list_backups()[0].proofs] == ["digest"]
