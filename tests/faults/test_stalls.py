"""Servers that hang: a command that is asked to end does, and what it could not remove it names."""

from __future__ import annotations

import signal

import pytest
from faults.servers import MariaDB, Postgres, version_of
from faults.stalls import PATIENCE, Command, Stalling
from faults.vault import leftovers

from dumpty import BackupManager

MIDWAY = 400_000
"""Bytes: more than it takes to connect and look around, less than a whole backup or restore."""


@pytest.fixture(params=["postgres", "mariadb"])
def server(request):
    """Each server, with a database of version 1 and a target of version 1000; what a test leaves behind is dropped."""
    running = (Postgres if request.param == "postgres" else MariaDB)(request.getfixturevalue(request.param))
    before = running.others()
    running.make("stalling", 1)
    running.make("target", 1000)
    yield running
    for name in running.others() - before:
        running.drop(name)


@pytest.fixture
def top(place, server):
    """A backup directory with one good backup."""
    made = BackupManager(str(place / "backups")).create_backup(server.url("stalling"))
    assert made.success, made.error
    return place / "backups"


@pytest.fixture
def proxied(place, server):
    """Make a proxy that stalls after so many bytes; return it and what makes a URL through it."""
    sockets = place / "p"
    sockets.mkdir()

    def make(after):
        return Stalling(server.proxy_socket(str(sockets)), server.socket, after=after)

    make.url = lambda database: server.through(database, str(sockets))
    return make


def argv_of(verb, top, url, *more):
    if verb == "backup":
        return ("backup", url("stalling"), "--dir", top, *more)
    return ("restore", "latest", "--dir", top, "--to", url("target"), "--overwrite", "--other", *more)


def untouched(server, top):
    """See that the one backup is whole, nothing stands beside it, and the target holds what it held."""
    manager = BackupManager(str(top))
    [one] = manager.list_backups()
    manager.verify(one.id)
    assert leftovers(top) == []
    assert version_of(server, "target") == 1000


@pytest.mark.parametrize("after", [0, 200, MIDWAY], ids=["connecting", "saying hello", "midway"])
@pytest.mark.parametrize(("verb", "number"), [("backup", signal.SIGTERM), ("restore", signal.SIGINT)])
def test_one_signal_ends_what_waits_for_a_stalled_server(server, top, place, proxied, verb, number, after):
    before = server.others()
    with (
        proxied(after) as proxy,
        Command(place, *argv_of(verb, top, proxied.url, "--json")) as command,
    ):
        assert proxy.stalled.wait(PATIENCE)
        command.send(number)
        assert command.ended() == 128 + number
        told = command.json
        assert (told["success"], told["status"]) == (False, 128 + number)
        assert signal.Signals(number).name in told["error"]
        for name in server.others() - before:
            assert name in told["error"]
    untouched(server, top)
