"""The native image is the source, page for page, whatever the size of its pages and of the file."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import pytest
from plugins.sqlite.contents import dumped, make

COUNTERS = ((24, 28), (40, 44), (92, 100))
"""Where SQLite's header counts changes, and says by which version: of the copy, not of the source."""
BLOCK = 1 << 20


def require_equal_pages(image, source):
    assert os.path.getsize(image) == os.path.getsize(source)
    with open(image, "rb") as image_stream, open(source, "rb") as source_stream:
        image_head, source_head = bytearray(image_stream.read(BLOCK)), bytearray(source_stream.read(BLOCK))
        for begin, end in COUNTERS:
            image_head[begin:end] = source_head[begin:end] = bytes(end - begin)
        assert image_head == source_head
        while block := image_stream.read(BLOCK):
            assert block == source_stream.read(BLOCK)


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("page_size", [512, 4096, 32768, 65536])
@pytest.mark.parametrize("bytes_of_content", [0, 3_000, 60_000, 64_000, 70_000, 500_000, 3_000_000])
def test_the_image_holds_every_page_of_the_source(tmp_path, page_size, bytes_of_content, journal):
    path = make(
        tmp_path / "x.db",
        f"PRAGMA page_size={page_size}; PRAGMA journal_mode={journal}; CREATE TABLE t (a); CREATE INDEX i ON t (a);"
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
        f"INSERT INTO t SELECT randomblob(100) FROM n LIMIT {bytes_of_content // 220}",
    )
    made = dumped(path, tmp_path / "dump", "native")
    require_equal_pages(made.file, path)
    with contextlib.closing(sqlite3.connect(made.file)) as image:
        assert image.execute("PRAGMA page_size").fetchone() == (page_size,)


def test_the_image_is_whole_beyond_the_page_that_sqlite_locks(tmp_path):
    # Around 1 GiB lies the page that SQLite never uses, and one of the copy's pages has sixteen of the source's.
    path = make(
        tmp_path / "x.db",
        "PRAGMA journal_mode=off; PRAGMA synchronous=off; CREATE TABLE t (a);"
        "INSERT INTO t VALUES (zeroblob(999999000)), (zeroblob(72000000));"
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
        "INSERT INTO t SELECT randomblob(3000) FROM n LIMIT 2000",
    )
    assert os.path.getsize(path) > (1 << 30) + 2_000_000
    require_equal_pages(dumped(path, tmp_path / "dump", "native").file, path)


def test_a_header_that_tells_the_encoding_oddly_is_copied_as_it_is(tmp_path):
    path = make(tmp_path / "x.db", "CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(90000))")
    with open(path, "r+b") as stream:
        stream.seek(56)
        stream.write((4).to_bytes(4, "big"))  # to SQLite as good as 1: UTF-8
    require_equal_pages(dumped(path, tmp_path / "dump", "native", check=False).file, path)
