"""The MySQL driver keeps the contract."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from testing.server_databases import MariaDBDatabases

from dumpty.testing import SQL_QUESTIONS, DriverSuite
from dumpty_plugins.mysql import plugin as mysql


class TestMySQL(DriverSuite):
    plugin = mysql
    question = "SELECT count(*) = 500 FROM item"
    questions = {**SQL_QUESTIONS, "write": "DELETE FROM item"}  # noqa: RUF012 - never changed
    libraries = ("pymysql",)
    system_databases = ("information_schema", "mysql", "performance_schema", "sys")
    unreachable = pytest.fixture(lambda self, place: place.unreachable())
    source = pytest.fixture(lambda self, place: place.filled(*place.shop))
    target = pytest.fixture(lambda self, place: place.missing())
    full_target = pytest.fixture(lambda self, place: place.filled("CREATE TABLE old (x INT)"))
    empty_target = pytest.fixture(lambda self, place: place.filled())
    dying_source = large_source = pytest.fixture(lambda self, place: place.filled(*place.large))

    @pytest.fixture(autouse=True, params=["mariadb", "mysql"])
    def place(self, request, monkeypatch):
        server = request.getfixturevalue(request.param)
        if request.param == "mysql":  # a drill finds its program where the server's own is
            monkeypatch.setenv("PATH", f"{Path(server.program('server')).parent}{os.pathsep}{os.environ['PATH']}")
        place = MariaDBDatabases(server)
        self.content, self.rows, self.kill = place.content, place.rows, place.kill
        self.drop, self.databases, self.with_password = place.drop_one, place.databases, place.with_password
        yield place
        place.drop()
