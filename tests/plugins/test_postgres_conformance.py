"""The PostgreSQL driver keeps the contract."""

from __future__ import annotations

import pytest
from testing.server_databases import PostgresDatabases

from dumpty.testing import SQL_QUESTIONS, DriverSuite
from dumpty_plugins.postgres import plugin as postgres
from dumpty_plugins.postgres.dumping import plan


class TestPostgreSQL(DriverSuite):
    plugin = postgres
    libraries = ("psycopg2",)
    question = "SELECT (count(*) = 500)::int FROM item"
    questions = {**SQL_QUESTIONS, "write": "DELETE FROM item"}  # noqa: RUF012 - never changed
    system_databases = ("template0", "template1")
    memory = 6 << 20
    unreachable = pytest.fixture(lambda self, place: place.unreachable())
    formats = ("sql", "native", "parallel")  # custom and tar, for DatabaseBackup, come from the same pg_dump
    source = pytest.fixture(lambda self, place: place.filled(*place.shop))
    target = pytest.fixture(lambda self, place: place.missing())
    full_target = pytest.fixture(lambda self, place: place.filled("CREATE TABLE old (x INT)"))
    empty_target = pytest.fixture(lambda self, place: place.filled())
    dying_source = large_source = pytest.fixture(lambda self, place: place.filled(*place.large))

    @pytest.fixture(autouse=True)
    def place(self, postgres, monkeypatch):
        monkeypatch.setattr(plan, "LARGE_BYTES", 1)  # tables of a few rows come in parts, too
        place = PostgresDatabases(postgres)
        self.content, self.rows, self.kill = place.content, place.rows, place.kill
        self.drop, self.databases = place.drop_one, place.databases
        yield place
        place.drop()
