"""The compressor ``gzip``, through ISA-L and through zlib alone."""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import os
import random
import subprocess
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toys import python, threads, threads_ended

from dumpty import IntegrityError
from dumpty_plugins import gzip as plugin

TEXT = b"INSERT INTO t VALUES (1, 'to be or not to be');\n" * 50


class Sink:
    """Refuses to be closed by a stage. No ``io.BytesIO``: Python itself closes one that it collects."""

    def __init__(self):
        self._stored = io.BytesIO()
        self.write = self._stored.write
        self.getvalue = self._stored.getvalue

    def close(self):
        raise AssertionError("a stage leaves its sink open")


def packed(*parts, level=2):
    sink = Sink()
    writer = plugin.compress(sink=sink, options={"level": level}, at_once=1)
    for part in parts:
        assert writer.write(part) == memoryview(part).nbytes
    writer.close()
    return sink.getvalue()


def unpacked(stored, chunk=1 << 20, size=1 << 16):
    class Stream(io.BytesIO):
        def read(self, n=-1):
            return super().read(min(n, chunk))

    stream = plugin.decompress(stream=Stream(stored))
    out = []
    while part := stream.read(size):
        assert len(part) <= size
        out.append(part)
    return b"".join(out)


@pytest.fixture(params=["isal", "zlib"])
def library(request, monkeypatch):
    """Run a test with ISA-L, and again as on a machine for which it has no wheel."""
    if request.param == "zlib":
        for name in ("isal", "isal.igzip_lib", "isal.isal_zlib"):
            monkeypatch.setitem(sys.modules, name, None)
    return request.param


def test_a_machine_without_isal_uses_zlib(library):
    assert (
        plugin.compress(sink=Sink(), options={"level": 2}, at_once=1)._library.__name__
        in {"isal": "isal.isal_zlib", "zlib": "zlib"}[library]
    )


@pytest.mark.parametrize("level", range(10))
def test_every_level_is_read_by_python_and_by_gzip(level, library):
    stored = packed(TEXT, b"", memoryview(TEXT)[7:], bytearray(b"end"), level=level)
    whole = TEXT + TEXT[7:] + b"end"
    assert gzip.decompress(stored) == whole
    assert unpacked(stored) == whole
    assert subprocess.run(["gzip", "-dc"], input=stored, capture_output=True, check=True).stdout == whole


def test_nothing_written_is_an_empty_gzip_file(library):
    stored = packed()
    assert gzip.decompress(stored) == unpacked(stored) == b""
    assert subprocess.run(["gzip", "-t"], input=stored, check=False).returncode == 0


def test_equal_input_gives_equal_output_without_name_or_time():
    assert packed(TEXT) == packed(TEXT)
    assert packed(TEXT)[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_the_default_level_is_between_the_fastest_and_zlibs_own():
    option = plugin.describe().options[0]
    assert (option.name, option.default, option.choices) == ("level", 2, tuple(range(10)))
    assert len(packed(TEXT, level=9)) < len(packed(TEXT, level=0))


@given(
    st.lists(st.binary(max_size=3000), max_size=8),
    st.integers(1, 100),
    st.integers(1, 3000),
    st.sampled_from([0, 2, 6]),
)
def test_any_bytes_come_back_in_any_chunking(parts, chunk, size, level):
    whole = b"".join(parts)
    stored = packed(*parts, level=level)
    assert gzip.decompress(stored) == whole
    assert unpacked(stored, chunk, size) == whole


@pytest.mark.parametrize("writer", ["isal", "zlib"])
@pytest.mark.parametrize("reader", ["isal", "zlib"])
def test_what_one_library_wrote_the_other_reads(writer, reader, monkeypatch):
    data = random.Random(7).randbytes(200_000) + bytes(300_000)
    with monkeypatch.context() as patch:
        if writer == "zlib":
            patch.setitem(sys.modules, "isal", None)
        stored = packed(data)
    if reader == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    assert unpacked(stored, 1 << 14) == data


def test_members_one_after_another_are_read_as_gzip_reads_them(library):
    stored = packed(b"one") + gzip.compress(b"two") + packed() + packed(b"three")
    assert unpacked(stored) == unpacked(stored, chunk=3) == b"onetwothree"


def test_a_header_with_name_comment_and_extra_field_is_read(library):
    named = io.BytesIO()
    with gzip.GzipFile("name.sql", "wb", fileobj=named, mtime=7) as stream:
        stream.write(b"data")
    assert unpacked(named.getvalue(), chunk=1) == b"data"


def test_a_stream_cut_anywhere_is_an_error(library):
    stored = packed(b"to be or not to be")
    for cut in range(len(stored)):
        for chunk in (1, 1 << 20):
            with pytest.raises(IntegrityError, match="gzip stream"):
                unpacked(stored[:cut], chunk)


def test_a_flipped_bit_is_an_error_or_does_not_touch_the_data(library):
    stored = packed(TEXT)
    for bit in range(len(stored) * 8):
        damaged = bytearray(stored)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert unpacked(bytes(damaged)) == TEXT
        except IntegrityError:
            continue
        # The header tells nothing of the data, and one match in repetitive data is as good as another.
        assert bit // 8 < len(stored) - 8, f"bit {bit} lies in the trailer, and its flip went unnoticed"


@pytest.mark.parametrize("trailer", [b"\0", b"\0" * 100, b"x", b"\x1f", b"\x1f\x8b", b"garbage" * 9])
def test_bytes_behind_the_last_member_are_an_error(trailer, library):
    for chunk in (1, 1 << 20):
        with pytest.raises(IntegrityError, match="gzip stream"):
            unpacked(packed(TEXT) + trailer, chunk)


@pytest.mark.parametrize("stored", [b"plain text, no gzip at all", zlib.compress(TEXT), b"BZh91AY" * 3])
def test_what_is_no_gzip_is_an_error(stored, library):
    with pytest.raises(IntegrityError, match="gzip stream is damaged"):
        unpacked(stored)


def test_closing_twice_writes_one_trailer_and_writing_afterwards_is_an_error():
    sink = Sink()
    writer = plugin.compress(sink=sink, options={"level": 2}, at_once=1)
    writer.write(b"x")
    writer.close()
    writer.close()
    assert gzip.decompress(sink.getvalue()) == b"x"
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"y")


def test_an_error_of_the_sink_is_the_writers_error():
    class Full:
        def write(self, data):
            raise OSError("disk full")

    writer = plugin.compress(sink=Full(), options={"level": 2}, at_once=1)
    with pytest.raises(OSError, match="disk full"):
        writer.write(b"x")
    with pytest.raises(OSError, match="disk full"):
        plugin.compress(sink=Full(), options={"level": 2}, at_once=1).close()


MEMORY = """
import resource, sys
if sys.argv[2] == "zlib":
    sys.modules["isal"] = None
from importlib import import_module
plugin = import_module("dumpty_plugins." + sys.argv[1])
class Stored(list):
    at = 0
    def write(self, data):
        self.append(bytes(data)); return len(data)
    def read(self, size=-1):
        part = self[self.at] if self.at < len(self) else b""
        self.at += 1
        return part
    def close(self): pass
stored, block = Stored(), bytes(1 << 20)
writer = plugin.compress(sink=stored, options={"level": 1}, at_once=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(256):
    writer.write(block)
writer.close()
stored[:] = [b"".join(stored)]
reader, total = plugin.decompress(stream=stored), 0
while part := reader.read(1 << 18):
    assert len(part) <= 1 << 18
    total += len(part)
assert total == 256 << 20, total
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("library", ["isal", "zlib"])
def test_a_stream_that_expands_a_thousandfold_is_read_in_constant_memory(library):
    memory_growth = int(python(MEMORY, "gzip", library).stdout)
    assert memory_growth < 24 << 10  # KiB


def test_the_output_is_the_same_whatever_the_chunking_and_the_number_of_threads(library, monkeypatch):
    data = random.Random(3).randbytes(300_000) + TEXT * 1500
    whole = packed(data)
    assert packed(*(data[n : n + 9_999] for n in range(0, len(data), 9_999))) == whole
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert packed(data) == whole
    assert subprocess.run(["gzip", "-dc"], input=whole, capture_output=True, check=True).stdout == data
    assert len(gzip.compress(data, 6)) * 1.1 > len(whole)


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_stream_that_ends_near_a_blocks_end_is_whole(size, library):
    data = (TEXT * (size // len(TEXT) + 1))[:size]
    stored = packed(data)
    assert gzip.decompress(stored) == unpacked(stored) == data


def test_an_error_of_the_sink_behind_many_blocks_is_raised_and_leaves_no_thread():
    class Filling:
        left = 3

        def write(self, data):
            self.left -= 1
            if self.left < 0:
                raise OSError("disk full")

    writer = plugin.compress(sink=Filling(), options={"level": 2}, at_once=1)
    gc.collect()  # other tests' writers
    before = threads("dumpty-gzip")
    with pytest.raises(OSError, match="disk full"):
        writer.write(bytes(64 << 20))
    assert threads_ended("dumpty-gzip", before=before)
    with pytest.raises(OSError, match="disk full"):
        writer.write(bytes(8 << 20))


def test_the_digest_of_a_large_random_stream_survives():
    data = random.Random(1).randbytes(3 << 20)
    stored = packed(*(data[n : n + 70_001] for n in range(0, len(data), 70_001)))
    assert hashlib.sha256(unpacked(stored, 65_537, 10_007)).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize(("at_once", "threads"), [(1, 4), (2, 4), (4, 2), (8, 1), (100, 1)])
def test_those_that_compress_at_once_share_the_processors(at_once, threads, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert plugin.compress(sink=Sink(), options={"level": 2}, at_once=at_once)._threads == threads
