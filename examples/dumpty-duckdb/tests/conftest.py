from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from dumpty import Backup, BackupManager


@pytest.fixture
def execute() -> Callable[..., list[tuple]]:
    """Run statements in a database file and return the last one's rows."""

    def run(path: Path, *statements: str) -> list[tuple]:
        with duckdb.connect(str(path)) as database:
            database.execute("SET TimeZone = 'UTC'")
            return [row for s in statements for row in [database.execute(s)]][-1].fetchall()

    return run


@pytest.fixture
def shop(tmp_path, execute) -> Path:
    path = tmp_path / "shop.duckdb"
    execute(path, "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL)")
    execute(path, "INSERT INTO item SELECT range, 'item ' || range FROM range(1000)")
    return path


@pytest.fixture
def manager(tmp_path) -> BackupManager:
    return BackupManager(str(tmp_path / "backups"))


@pytest.fixture
def take_backup(manager) -> Callable[..., Backup]:
    """Back a file up, which must succeed."""

    def take(path: Path, format: str = "parquet", **options: object) -> Backup:
        result = manager.create_backup(f"duckdb:///{path}", format=format, **options)
        assert result.success, result.error
        return result.backup

    return take
