"""The driver keeps dumpty's contract."""

from __future__ import annotations

from pathlib import Path

import dumpty_duckdb
import pytest
from databases import SHOP, contents, damaged, filled

from dumpty.testing import DriverSuite


class TestDuckDB(DriverSuite):
    plugin = dumpty_duckdb
    libraries = ("duckdb",)
    memory = 6 << 20
    takes_password = False
    source = pytest.fixture(lambda self, tmp_path: filled(tmp_path / "shop.duckdb", *SHOP))
    target = pytest.fixture(lambda self, tmp_path: f"duckdb:///{tmp_path / 'again.duckdb'}")
    full_target = pytest.fixture(lambda self, tmp_path: filled(tmp_path / "full.duckdb", "CREATE TABLE old (i INT)"))
    empty_target = pytest.fixture(lambda self, tmp_path: filled(tmp_path / "empty.duckdb", "SELECT 1"))
    dying_source = pytest.fixture(lambda self, tmp_path: damaged(tmp_path / "dying.duckdb"))
    large_source = pytest.fixture(
        lambda self, tmp_path: filled(tmp_path / "l.duckdb", "CREATE TABLE t AS SELECT uuid() u FROM range(1000000)")
    )

    def drop(self, url):
        Path(url.removeprefix("duckdb:///")).unlink()

    def content(self, url):
        return contents(url)[0]

    def rows(self, url):
        return contents(url)[1]
