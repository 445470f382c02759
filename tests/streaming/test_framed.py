"""``FramedReader``, with decompressors of the standard library: it is strict about ends, and needs little memory."""

# ruff: noqa: PT012 - the error may come out of any read of a loop

from __future__ import annotations

import bz2
import io
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumpty import FramedReader, IntegrityError

DATA = b"to be or not to be, " * 40


def reader(stored, chunk=1 << 20):
    class Stream(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, chunk))

    return FramedReader(Stream(stored), bz2.BZ2Decompressor, OSError, "bzip2")


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 50), st.integers(1, 500))
def test_frames_one_after_another_read_as_one_in_any_chunking(frames, chunk, size):
    stream = reader(b"".join(map(bz2.compress, frames)), chunk)
    out = []
    while part := stream.read(size):
        assert len(part) <= size
        out.append(part)
    assert b"".join(out) == b"".join(frames)
    assert stream.read(size) == b""


def test_reading_all_at_once():
    assert reader(bz2.compress(DATA)).read() == reader(bz2.compress(DATA)).read(None) == DATA
    assert reader(b"").read(0) == b""


@pytest.mark.parametrize("cut", range(1, len(bz2.compress(DATA))))
def test_a_cut_anywhere_is_truncation_and_stays_an_error(cut):
    stream = reader(bz2.compress(DATA)[:cut])
    for _ in range(2):
        with pytest.raises(IntegrityError, match="bzip2 stream"):
            while stream.read(100):
                pass


def test_an_empty_stream_is_no_empty_dump():
    with pytest.raises(IntegrityError, match="empty: it lacks even its header"):
        reader(b"").read()


@pytest.mark.parametrize("trailer", [b"\0", b"\0" * 512, b"B", b"BZh9", b"garbage"])
def test_bytes_behind_the_last_frame_are_an_error(trailer):
    with pytest.raises(IntegrityError, match=r"damaged|truncated"):
        reader(bz2.compress(DATA) + trailer).read()


def test_damage_is_an_integrity_error_that_keeps_its_cause():
    stored = bytearray(bz2.compress(DATA))
    stored[len(stored) // 2] ^= 0x10
    stream = reader(bytes(stored))
    with pytest.raises(IntegrityError, match="bzip2 stream is damaged") as caught:
        stream.read()
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(IntegrityError) as again:
        stream.read(1)
    assert again.value is caught.value


def test_errors_of_the_stream_below_are_not_taken_for_damage():
    class Broken:
        def read(self, size):
            raise KeyError("elsewhere")

    with pytest.raises(KeyError):
        FramedReader(Broken(), lzma.LZMADecompressor, lzma.LZMAError, "xz").read()


def test_closing_closes_the_stream_below():
    stream = io.BytesIO()
    FramedReader(stream, bz2.BZ2Decompressor, OSError, "bzip2").close()
    assert stream.closed
