"""The driver keeps dumpty's contract."""

from __future__ import annotations

import dumpty_redis
import pytest
from proxy import cut_off

from dumpty.testing import DriverSuite


class TestRedis(DriverSuite):
    plugin = dumpty_redis
    libraries = ("redis",)
    source = pytest.fixture(lambda self, filled: filled.url(0))
    target = pytest.fixture(lambda self, filled: filled.url(1))
    empty_target = pytest.fixture(lambda self, filled: filled.url(2))
    full_target = pytest.fixture(lambda self, filled: filled.client(3).set("old", 1) and filled.url(3))
    large_source = pytest.fixture(lambda self, filled: filled.grow(4, 100) and filled.url(4))

    @pytest.fixture
    def dying_source(self, filled, tmp_path):
        with cut_off(filled.socket, tmp_path / "proxy", after=6000) as path:
            yield filled.url(0, socket=str(path))

    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.server = server

    def content(self, url):
        return self.server.content(int(url.partition("?")[0].rpartition("/")[2]))

    def rows(self, url):
        return {"hash": 2, "list": 1, "set": 2, "stream": 1, "string": 6, "zset": 2}
