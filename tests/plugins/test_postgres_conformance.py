"""The PostgreSQL driver keeps the contract."""

from __future__ import annotations

import pytest
from testing.server_databases import PostgresDatabases

from dumpty.testing import DriverSuite
from dumpty_plugins.postgres import plugin as postgres


class TestPostgreSQL(DriverSuite):
    plugin = postgres
    libraries = ("psycopg2",)
    question = "SELECT (count(*) = 500)::int FROM item"
    memory = 6 << 20
    formats = ("sql", "native")  # custom and tar, for DatabaseBackup, come from the same pg_dump
    source = pytest.fixture(lambda self, place: place.filled(*place.shop))
    target = pytest.fixture(lambda self, place: place.missing())
    full_target = pytest.fixture(lambda self, place: place.filled("CREATE TABLE old (x INT)"))
    empty_target = pytest.fixture(lambda self, place: place.filled())
    dying_source = large_source = pytest.fixture(lambda self, place: place.filled(*place.large))

    @pytest.fixture(autouse=True)
    def place(self, postgres):
        place = PostgresDatabases(postgres)
        self.content, self.rows, self.kill = place.content, place.rows, place.kill
        yield place
        place.drop()
