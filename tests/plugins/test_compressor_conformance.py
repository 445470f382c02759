"""The built-in compressors keep the contract."""

from __future__ import annotations

from dumpty.testing import CompressorSuite
from dumpty_plugins import gzip, zstd


class TestGzip(CompressorSuite):
    plugin = gzip
    libraries = ("isal",)


class TestZstd(CompressorSuite):
    plugin = zstd
    libraries = ("backports.zstd", "compression.zstd")
