"""The built-in cipher keeps the contract."""

from __future__ import annotations

from dumpty.testing import CipherSuite
from dumpty_plugins import age


class TestAge(CipherSuite):
    plugin = age
    libraries = ("pyrage",)
