"""The built-in store of SSH servers keeps the contract, on OpenSSH's own server."""

from __future__ import annotations

import contextlib

import pytest
from support.tcp_proxy import TCPProxy

from dumpty.testing import StoreSuite
from dumpty_plugins import sftp

DENIED = 3
TIMEOUT = 3


class TestSFTP(StoreSuite):
    plugin = sftp

    @pytest.fixture
    def proxy(self, ssh_server):
        with TCPProxy(ssh_server.port) as proxy:
            yield proxy

    @pytest.fixture
    def store_url(self, request, ssh_server, tmp_path):
        top = tmp_path / "store"
        if {"denied", "lost_answers"} & {*request.fixturenames}:
            return request.getfixturevalue("unruly_ssh_server").url(top)
        if {"stalled", "cut_off"} & {*request.fixturenames}:
            return ssh_server.url(top, port=request.getfixturevalue("proxy").port, timeout=TIMEOUT)
        return ssh_server.url(top)

    @pytest.fixture
    def denied(self, unruly_ssh_server):
        return lambda name: unruly_ssh_server.rules(refuse=[["remove", name, DENIED]])

    @pytest.fixture
    def lost_answers(self, unruly_ssh_server):
        return lambda: unruly_ssh_server.rules(lose=["hardlink@openssh.com"])

    @pytest.fixture
    def stalled(self, proxy):
        return lambda: contextlib.nullcontext(proxy.stall())

    @pytest.fixture
    def cut_off(self, proxy):
        return lambda name: contextlib.nullcontext(proxy.refuse())
