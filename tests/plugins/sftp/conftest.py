"""Stores on SSH servers of the tests' own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.sftp_server import SSHServer
from support.tcp_proxy import TCPProxy

from dumpty.registry.host import Host
from dumpty_plugins import sftp
from dumpty_plugins.sftp.connecting import PASSPHRASE


@pytest.fixture(autouse=True)
def _no_keys_of_this_machine(monkeypatch, tmp_path):
    """Whoever runs the tests has keys, an agent and a configuration: none of them is looked at."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for name in ("SSH_AUTH_SOCK", PASSPHRASE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def open_store():
    """Open the store of a URL, as core does."""
    host = Host([sftp], discover=False)

    def open_url(url):
        plugin = host.store(url)
        return host.open_store(plugin, url=url, options=host.options({"open_store": plugin}, {})["open_store"])

    return open_url


@pytest.fixture
def top(tmp_path) -> Path:
    """The directory that a store is in."""
    return tmp_path / "store"


@pytest.fixture
def store(open_store, ssh_server, top):
    """A store on a server that does as it is told."""
    return open_store(ssh_server.url(top))


@pytest.fixture
def unruly(open_store, unruly_ssh_server, top):
    """A store on a server whose SFTP goes wrong where a test wants it to."""
    return open_store(unruly_ssh_server.url(top))


@pytest.fixture
def proxy(ssh_server):
    """What stands between a store and ``ssh_server``."""
    with TCPProxy(ssh_server.port) as proxy:
        yield proxy


@pytest.fixture
def start_server(ssh_keys):
    """Start a server of the test's own."""
    servers = []

    def start(*arguments, **options):
        servers.append(SSHServer(ssh_keys, *arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def files(top):
    """Return what lies below the store's directory, under any name."""
    return lambda: {os.path.relpath(os.path.join(f, n), top) for f, _, names in os.walk(top) for n in names}
