"""The compressor keeps dumpty's contract, through the suite and through the facade."""

from __future__ import annotations

import contextlib
import io
import sqlite3
from pathlib import Path

import brotli
import dumpty_brotli
import pytest

from dumpty import BackupManager, IntegrityError
from dumpty.testing import CompressorSuite


class TestBrotli(CompressorSuite):
    plugin = dumpty_brotli
    libraries = ("brotli", "_brotli")
    detects_corruption = False


def test_the_stored_file_is_plain_brotli_and_comes_back(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("CREATE TABLE t (i)")
        database.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(5000)])
        database.commit()
    manager = BackupManager(str(tmp_path / "b"), compressor="brotli")
    result = manager.create_backup(f"sqlite:///{tmp_path}/a.db", quality=9)
    assert result.success, result.error
    assert result.backup.file_path.endswith(".sql.br")
    text = brotli.decompress(Path(result.backup.file_path).read_bytes())
    assert len(text) == result.backup.plain_size_bytes
    assert manager.restore(result.backup.id, f"sqlite:///{tmp_path}/b.db").success


def test_a_second_stream_behind_the_first_is_refused_wherever_blocks_end():
    stored = brotli.compress(b"one" * 1000)

    class Halves(io.RawIOBase):
        """Gives the first stream in one read, the second in another."""

        parts = [stored, stored]  # noqa: RUF012

        def read(self, _size: int = -1) -> bytes:
            return self.parts.pop(0) if self.parts else b""

    reader = dumpty_brotli.decompress(stream=Halves())
    with pytest.raises(IntegrityError, match="followed"):
        reader.read(-1)
