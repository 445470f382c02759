"""The suites, small enough to run over many broken plugins."""

from __future__ import annotations

import hashlib

import pytest

from dumpty.testing import CompressorSuite, StoreSuite, VerifierSuite
from testing.jsonl_suite import JsonLinesSuite


class Compressors(CompressorSuite):
    large = 4 << 20
    memory = 3 << 20
    libraries = ("colorsys",)


class Verifiers(VerifierSuite):
    large = 4 << 20
    memory = 1 << 20
    known = {b"abc": hashlib.sha256(b"abc").hexdigest()}  # noqa: RUF012 - never changed


class Stores(StoreSuite):
    large = 4 << 20
    memory = 1 << 20
    local = True
    patience = 2.0
    moment = 0.05

    @pytest.fixture
    def store_url(self, tmp_path):
        return f"shelf://tester:s3cret@{tmp_path}/shelf"


SMALL = {
    "broken_stores": Stores,
    "broken_compressors": Compressors,
    "broken_drivers": JsonLinesSuite,
    "broken_verifiers": Verifiers,
}
