"""The verifier ``sha256``."""

from __future__ import annotations

import hashlib
import subprocess

from dumpty.registry.host import Host


def test_the_digest_is_the_one_that_sha256sum_prints():
    host = Host()
    digest = host.verify(host.named("verifier", "sha256"))
    digest.update(b"to be ")
    digest.update(memoryview(b"or not"))
    printed = subprocess.run(["sha256sum"], input=b"to be or not", capture_output=True, check=True).stdout
    assert digest.hexdigest() == printed.split()[0].decode()


def test_every_digest_is_fresh():
    host = Host()
    plugin = host.named("verifier", "sha256")
    host.verify(plugin).update(b"x")
    assert host.verify(plugin).hexdigest() == hashlib.sha256().hexdigest()
