"""The compressor ``zstd``."""

from __future__ import annotations

import io
import os
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.test_gzip import MEMORY, Sink
from support.toys import python

from dumpty import BackupManager, DependencyError, IntegrityError
from dumpty_plugins import zstd as plugin

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"INSERT INTO t VALUES (1, 'to be or not to be');\n" * 20


def packed(*parts, level=1):
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


@pytest.mark.parametrize("level", [1, 3, 10, 19])
def test_every_level_is_one_frame_that_ends_in_a_checksum(level):
    stored = packed(TEXT, b"", memoryview(TEXT)[7:], bytearray(b"end"), level=level)
    assert zstd.decompress(stored) == unpacked(stored) == TEXT + TEXT[7:] + b"end"
    assert stored[4] & 0x04  # the frame header's Content_Checksum_flag (RFC 8878, 3.1.1.1.1)


def test_the_default_is_the_fastest_level_and_all_to_nineteen_may_be_chosen():
    option = plugin.describe().options[0]
    assert (option.name, option.default, option.choices) == ("level", 1, tuple(range(1, 20)))
    assert len(packed(TEXT * 50, level=19)) <= len(packed(TEXT * 50, level=1))


def test_many_blocks_give_the_same_frame_whatever_their_size():
    data = random.Random(3).randbytes(300_000) + TEXT * 4000
    whole = packed(data)
    assert packed(*(data[n : n + 99_999] for n in range(0, len(data), 99_999))) == whole
    assert zstd.decompress(whole) == unpacked(whole) == data


@pytest.mark.parametrize("processors", [{0}, {0, 1}, set(range(64))])
def test_any_number_of_processors_gives_one_frame_that_reads_back(processors, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: processors, raising=False)
    data = TEXT * 4000
    assert unpacked(packed(data)) == data


def test_nothing_written_is_an_empty_frame():
    assert zstd.decompress(packed()) == unpacked(packed()) == b""


@given(st.lists(st.binary(max_size=3000), max_size=8), st.integers(1, 100), st.integers(1, 3000))
def test_any_bytes_come_back_in_any_chunking(parts, chunk, size):
    stored = packed(*parts)
    assert zstd.decompress(stored) == unpacked(stored, chunk, size) == b"".join(parts)


def test_frames_one_after_another_are_read():
    assert unpacked(packed(b"one") + packed() + zstd.compress(b"two"), chunk=3) == b"onetwo"


@pytest.mark.parametrize("cut", range(len(packed(b"to be or not to be"))))
def test_a_stream_cut_anywhere_is_an_error(cut):
    for chunk in (1, 1 << 20):
        with pytest.raises(IntegrityError, match="zstd stream"):
            unpacked(packed(b"to be or not to be")[:cut], chunk)


def test_a_flipped_bit_is_an_error_or_does_not_touch_the_data():
    stored = packed(TEXT)
    unnoticed = set()
    for bit in range(len(stored) * 8):
        damaged = bytearray(stored)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert unpacked(bytes(damaged)) == TEXT
            unnoticed.add(bit // 8)
        except IntegrityError:
            continue
    # Of the header, the size of the window alone is free: it says how much memory is needed, not what the data is.
    assert unnoticed <= {4, 5}


@pytest.mark.parametrize("trailer", [b"\0", b"\0" * 100, b"x", b"\x28\xb5", b"garbage" * 9])
def test_bytes_behind_the_last_frame_are_an_error(trailer):
    for chunk in (1, 1 << 20):
        with pytest.raises(IntegrityError, match="zstd stream"):
            unpacked(packed(TEXT) + trailer, chunk)


def test_what_is_no_zstd_is_an_error():
    with pytest.raises(IntegrityError, match="zstd stream is damaged"):
        unpacked(b"plain text")


def test_closing_twice_ends_one_frame_and_writing_afterwards_is_an_error():
    sink = Sink()
    writer = plugin.compress(sink=sink, options={"level": 1}, at_once=1)
    writer.write(b"x")
    writer.close()
    size = len(sink.getvalue())
    writer.close()
    assert len(sink.getvalue()) == size
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"y")


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch, tmp_path):
    for name in ("backports.zstd", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delattr("backports.zstd", raising=False)
    for call in (
        lambda: plugin.compress(sink=Sink(), options={"level": 1}, at_once=1),
        lambda: plugin.decompress(stream=io.BytesIO()),
    ):
        with pytest.raises(DependencyError, match=r'pip install "dumpty\[zstd\]"'):
            call()
    import sqlite3

    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    result = BackupManager(str(tmp_path / "dir"), compressor="zstd").create_backup(f"sqlite:///{tmp_path}/a.db")
    assert not result.success
    assert 'pip install "dumpty[zstd]"' in result.error


def test_a_stream_that_expands_a_thousandfold_is_read_in_constant_memory():
    memory_growth = int(python(MEMORY, "zstd", "").stdout)
    assert memory_growth < 24 << 10  # KiB
