"""The built-in verifier keeps the contract."""

from __future__ import annotations

from dumpty.testing import VerifierSuite
from dumpty_plugins import sha256


class TestSha256(VerifierSuite):
    plugin = sha256
    known = {  # noqa: RUF012 - never changed
        b"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
