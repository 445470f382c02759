"""The built-in store keeps the contract."""

from __future__ import annotations

import pytest

from dumpty.testing import StoreSuite
from dumpty_plugins import file


class TestFile(StoreSuite):
    plugin = file
    libraries = ("filelock",)
    local = True

    @pytest.fixture
    def store_url(self, tmp_path):
        return str(tmp_path / "store")
