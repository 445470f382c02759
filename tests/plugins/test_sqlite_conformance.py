"""The SQLite driver keeps the contract."""

from __future__ import annotations

import pytest
from testing import sqlite_files

from dumpty.testing import DriverSuite
from dumpty_plugins.sqlite import plugin as sqlite


class TestSqlite(DriverSuite):
    plugin = sqlite
    libraries = ("sqlite3",)
    question = "SELECT count(*) = 2000 FROM item"
    memory = 8 << 20
    source = pytest.fixture(lambda self, tmp_path: sqlite_files.filled(tmp_path / "shop.db", sqlite_files.SHOP))
    target = pytest.fixture(lambda self, tmp_path: f"sqlite:///{tmp_path / 'again.db'}")
    full_target = pytest.fixture(
        lambda self, tmp_path: sqlite_files.filled(tmp_path / "full.db", "CREATE TABLE old (x)")
    )
    empty_target = pytest.fixture(lambda self, tmp_path: sqlite_files.filled(tmp_path / "empty.db", ""))
    dying_source = pytest.fixture(lambda self, tmp_path: sqlite_files.dying(tmp_path / "dying.db"))
    large_source = pytest.fixture(lambda self, tmp_path: sqlite_files.filled(tmp_path / "large.db", sqlite_files.LARGE))

    def content(self, url):
        return sqlite_files.content(url)[0]

    def rows(self, url):
        return sqlite_files.content(url)[1]
