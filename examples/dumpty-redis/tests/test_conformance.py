"""The driver keeps dumpty's contract."""

from __future__ import annotations

import dumpty_redis
import pytest
from proxy import cut_off

from dumpty.testing import DriverSuite
from dumpty.testing.databases import unreachable_url, with_secret


class TestRedis(DriverSuite):
    plugin = dumpty_redis
    libraries = ("redis",)
    source = pytest.fixture(lambda self, filled: filled.url(0))
    target = pytest.fixture(lambda self, filled: filled.url(1))
    empty_target = pytest.fixture(lambda self, filled: filled.url(2))
    full_target = pytest.fixture(lambda self, filled: filled.client(3).set("old", 1) and filled.url(3))
    large_source = pytest.fixture(lambda self, filled: filled.grow(4, 100) and filled.url(4))

    unreachable = pytest.fixture(lambda self: unreachable_url("redis://127.0.0.1/0"))

    @pytest.fixture
    def dying_source(self, filled, tmp_path):
        with cut_off(filled.socket, tmp_path / "proxy", after=6000) as path:
            yield filled.url(0, socket=str(path))

    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.server = server

    def number(self, url):
        return int(url.partition("?")[0].rpartition("/")[2])

    def content(self, url):
        return self.server.content(self.number(url))

    def drop(self, url):
        self.server.client(self.number(url)).flushdb()

    def with_password(self, url):
        return with_secret(url.replace("redis://", "redis://default@"))  # who has none, and takes any

    def rows(self, url):
        return {"hash": 2, "list": 1, "set": 2, "stream": 1, "string": 6, "zset": 2}
