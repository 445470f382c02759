"""Stages made of a function that reads one file and writes another: what fails first is raised, and nothing hangs."""

from __future__ import annotations

import threading
import tracemalloc

import pytest
from support.toys import threads_ended

from dumpty import PluginError, TransformingReader, TransformingWriter

LARGE = 8 << 20


class Sink:
    def __init__(self, room=1 << 40, error=None):
        self.data, self.room, self.error = bytearray(), room, error

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise self.error
        self.data += data
        return len(data)


class Source:
    def __init__(self, data, error=None):
        self.data, self.error, self.closed = memoryview(data), error, False

    def read(self, size=-1):
        if not self.data and self.error is not None:
            raise self.error
        part, self.data = self.data[: min(size, 10_000)], self.data[min(size, 10_000) :]
        return bytes(part)

    def close(self):
        self.closed = True


def upper(source, target):
    while block := source.read(8192):
        target.write(block.upper())


def hiding(source, target):
    """As a library in another language: whatever fails becomes an error of its own."""
    try:
        upper(source, target)
    except BaseException as error:
        raise ValueError("something failed") from error


def fill(writer, blocks=1000):
    """Write more than a writer holds, and close it."""
    for _ in range(blocks):
        writer.write(bytes(100_000))
    writer.close()


def drain(reader):
    while reader.read(100_000):
        pass


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert threads_ended("dumpty-transform")


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_what_is_written_and_read_goes_through_the_transformation(size):
    data = (b"humpty dumpty " * (size // 14 + 1))[:size]
    sink = Sink()
    writer = TransformingWriter(sink, upper)
    for start in range(0, size, 70_001):
        assert writer.write(memoryview(data)[start : start + 70_001]) == len(data[start : start + 70_001])
    writer.close()
    writer.close()
    assert sink.data == data.upper()
    reader = TransformingReader(Source(data), upper)
    assert reader.read(0) == b""
    assert reader.read(-1) == data.upper()
    assert reader.read(10) == b""
    reader.close()
    reader.close()


@pytest.mark.parametrize("transform", [upper, hiding])
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_an_error_of_the_sink_comes_out_whatever_the_transformation_makes_of_it(transform, kind):
    error = kind("no space left on device")
    writer = TransformingWriter(Sink(room=1 << 20, error=error), transform)
    for _ in range(2):  # and again and again
        with pytest.raises(BaseException) as caught:
            fill(writer)
        assert error in (caught.value, caught.value.__cause__)


@pytest.mark.parametrize("transform", [upper, hiding])
def test_an_error_of_the_stream_comes_out_whatever_the_transformation_makes_of_it(transform):
    error = OSError("connection lost")
    reader = TransformingReader(Source(bytes(2_000_000), error), transform)
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            drain(reader)
        assert caught.value is error
    reader.close()


def test_an_error_of_the_transformation_is_raised_and_no_end_is_told():
    def failing(source, target):
        target.write(source.read(100))
        raise LookupError("no such chunk")

    reader = TransformingReader(Source(bytes(LARGE)), failing)
    for _ in range(2):
        with pytest.raises(LookupError):
            reader.read(-1)
    reader.close()
    writer = TransformingWriter(Sink(), failing)
    with pytest.raises(LookupError):
        fill(writer)


def test_a_transformation_that_stops_early_is_a_failure():
    writer = TransformingWriter(Sink(), lambda source, target: target.write(source.read(10)))
    with pytest.raises(PluginError, match="stopped before the end"):
        fill(writer)
    writer = TransformingWriter(Sink(), lambda source, target: target.write(source.read(10)))
    writer.write(bytes(100))
    with pytest.raises(PluginError, match="stopped before the end"):
        writer.close()


def test_a_sink_that_takes_less_than_it_was_given_is_a_failure():
    class Short(Sink):
        def write(self, data):
            super().write(data)
            return len(data) - 1

    writer = TransformingWriter(Short(), upper)
    writer.write(b"egg")
    with pytest.raises(PluginError, match="took 2 of 3 bytes"):
        writer.close()


@pytest.mark.parametrize("written", [0, 10, LARGE])
def test_what_is_abandoned_ends_its_thread_and_takes_nothing_more(written):
    writer = TransformingWriter(Sink(), hiding)
    writer.write(bytes(written))
    writer.abandon()
    assert threads_ended("dumpty-transform")
    writer.abandon()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"egg")


def test_abandoning_ends_once_the_sink_has_taken_what_it_was_given():
    entered, free = threading.Event(), threading.Event()

    class Slow(Sink):
        def write(self, data):
            entered.set()
            free.wait(60)
            return len(data)

    writer = TransformingWriter(Slow(), upper)
    filler = threading.Thread(target=lambda: [writer.write(bytes(1 << 20)) for _ in range(1)])
    filler.start()
    filler.join(60)
    assert entered.wait(60)
    ended = threading.Thread(target=writer.abandon)
    ended.start()
    free.set()  # an upload that ends by itself, or by its own timeout
    ended.join(60)
    assert not ended.is_alive()


@pytest.mark.parametrize("read", [0, 1, 1_000_000])
def test_a_reader_that_is_closed_midway_ends_its_thread(read):
    source = Source(bytes(LARGE))
    reader = TransformingReader(source, hiding)
    if read:
        reader.read(read)
    reader.close()
    assert source.closed
    assert threads_ended("dumpty-transform")
    with pytest.raises(ValueError, match="closed"):
        reader.read(10)


def test_memory_does_not_grow_with_the_stream():
    class Nowhere:
        def write(self, data):
            return len(data)

    tracemalloc.start()
    try:
        writer = TransformingWriter(Nowhere(), upper)
        block = bytes(1 << 20)
        for _ in range(64):
            writer.write(block)
        writer.close()
        reader = TransformingReader(Source(bytes(32 << 20)), upper)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        while reader.read(100_000):
            pass
        reader.close()
        assert tracemalloc.get_traced_memory()[1] - before < 8 << 20
    finally:
        tracemalloc.stop()
