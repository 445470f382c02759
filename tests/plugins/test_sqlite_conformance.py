"""The SQLite driver keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from testing import sqlite_files

from dumpty.testing import SQL_QUESTIONS, DriverSuite
from dumpty_plugins.sqlite import plugin as sqlite


class TestSqlite(DriverSuite):
    plugin = sqlite
    libraries = ("sqlite3",)
    question = "SELECT count(*) = 2000 FROM item"
    questions = {**SQL_QUESTIONS, "write": "DELETE FROM item RETURNING 1"}  # noqa: RUF012 - never changed
    takes_password = False
    memory = 8 << 20
    source = pytest.fixture(lambda self, tmp_path: sqlite_files.filled(tmp_path / "shop.db", sqlite_files.SHOP))
    target = pytest.fixture(lambda self, tmp_path: f"sqlite:///{tmp_path / 'again.db'}")
    full_target = pytest.fixture(
        lambda self, tmp_path: sqlite_files.filled(tmp_path / "full.db", sqlite_files.SHOP + "CREATE TABLE old (x);")
    )
    empty_target = pytest.fixture(lambda self, tmp_path: sqlite_files.filled(tmp_path / "empty.db", ""))
    dying_source = pytest.fixture(lambda self, tmp_path: sqlite_files.dying(tmp_path / "dying.db"))
    large_source = pytest.fixture(lambda self, tmp_path: sqlite_files.filled(tmp_path / "large.db", sqlite_files.LARGE))

    def content(self, url):
        return sqlite_files.content(url)[0]

    def drop(self, url):
        Path(url.removeprefix("sqlite:///")).unlink()

    def rows(self, url):
        return sqlite_files.content(url)[1]
