"""What the tests of single tables begin with."""

from __future__ import annotations

import pytest
from plugins.sqlite.contents import make
from plugins.sqlite.tables import SHOP

from dumpty import BackupManager


@pytest.fixture(params=["sql", "native", "parallel"])
def form(request):
    return request.param


@pytest.fixture
def manager(tmp_path):
    return BackupManager(str(tmp_path / "backups"))


@pytest.fixture
def shop(tmp_path):
    return make(tmp_path / "shop.db", SHOP)
