"""dumpty's own repository keeps every rule of a repository, in memory and in files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dumpty.repository.plain import PlainRepository
from dumpty.testing import RepositorySuite
from dumpty_plugins.file import FileStore
from testing.suites import Repositories
from testing.vault import GoodRepository


class InFiles(GoodRepository):
    def make_repository(self, url, options):
        path = Path(url.rpartition("@")[2])
        path.mkdir(exist_ok=True)
        return PlainRepository(FileStore(str(path)))


class TestPlainInMemory(Repositories):
    plugin = GoodRepository()


class TestPlainInFiles(Repositories):
    plugin = InFiles()
    damage = RepositorySuite.damage

    @pytest.fixture
    def repository_url(self, tmp_path):
        return f"vault://tester:s3cret@{tmp_path}/vault"

    @pytest.fixture(autouse=True)
    def no_flushing(self, monkeypatch):
        """No computer loses its power here."""
        monkeypatch.setattr(os, "fsync", lambda _: None)
