"""The verifier keeps dumpty's contract, through the suite and through the facade."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import dumpty_blake3
from blake3 import blake3

from dumpty import BackupManager, IntegrityError
from dumpty.testing import VerifierSuite


class TestBlake3(VerifierSuite):
    plugin = dumpty_blake3
    libraries = ("blake3",)
    known = {  # noqa: RUF012 - never changed; from the authors' test_vectors.json
        b"": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        b"\0": "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    }


def test_the_digest_stands_beside_sha256_and_is_compared(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("CREATE TABLE t (i)")
    manager = BackupManager(str(tmp_path / "b"), verifier="blake3")
    backup = manager.create_backup(f"sqlite:///{tmp_path}/a.db").backup
    assert backup.digests == {"blake3": blake3(Path(backup.file_path).read_bytes()).hexdigest()}
    assert manager.restore(backup.id, f"sqlite:///{tmp_path}/b.db").success
    [manifest] = (tmp_path / "b").rglob("*.manifest.json")
    assert backup.digests["blake3"] in json.dumps(json.loads(manifest.read_text()))


def test_an_altered_file_is_found(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("CREATE TABLE t (i)")
    manager = BackupManager(str(tmp_path / "b"), verifier="blake3")
    backup = manager.create_backup(f"sqlite:///{tmp_path}/a.db").backup
    stored = Path(backup.file_path)
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.write_bytes(data)
    result = manager.restore(backup.id, f"sqlite:///{tmp_path}/b.db")
    assert isinstance(result.exception, IntegrityError)
    assert not (tmp_path / "b.db").exists()
