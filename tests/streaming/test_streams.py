"""The streams between driver and store: nothing is lost in them, no error is swallowed, nothing waits for ever."""

# ruff: noqa: PT012 - the error may come out of any call of a loop

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import subprocess
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toys import threads, threads_ended, wait_until_waiting

from dumpty import IntegrityError, PluginError
from dumpty.streaming.directories import tree_digest
from dumpty.streaming.streams import (
    BLOCK,
    BufferedWriter,
    HashingWriter,
    ReadAheadReader,
    ThreadedWriter,
    VerifyingReader,
    read_all,
)


class RecordingSink:
    """A sink that keeps what it is given, and fails from the ``fails``-th write on."""

    def __init__(self, fails=None, error=None, takes=None):
        self.blocks = []
        self.fails = fails
        self.error = error or OSError("disk full")
        self.takes = takes

    def write(self, data):
        if self.fails is not None and len(self.blocks) >= self.fails:
            raise self.error
        self.blocks.append(bytes(data))
        return len(data) if self.takes is None else self.takes

    @property
    def data(self):
        return b"".join(self.blocks)


class Source(io.BytesIO):
    """A reader that notes what was asked of it."""

    closes = 0

    def close(self):
        self.closes += 1


# -- HashingWriter ---


def test_a_meter_counts_and_hashes_what_passes_whatever_buffer_it_is():
    sink, digest, other = RecordingSink(), hashlib.sha256(), hashlib.md5()
    hashing_writer = HashingWriter(sink, (digest, other))
    data = memoryview(b"\x01\x02\x03\x04").cast("I")
    assert hashing_writer.write(data) == 4
    assert hashing_writer.write(bytearray(b"ab")) == 2
    assert hashing_writer.size == 6
    assert sink.data == b"\x01\x02\x03\x04ab"
    assert digest.digest() == hashlib.sha256(sink.data).digest()
    assert other.digest() == hashlib.md5(sink.data).digest()


def test_a_sink_that_takes_less_than_it_is_given_is_an_error():
    hashing_writer = HashingWriter(RecordingSink(takes=1), ())
    with pytest.raises(IntegrityError, match="took 1 of 2 bytes"):
        hashing_writer.write(b"ab")
    assert hashing_writer.size == 0


def test_a_sink_that_returns_nothing_is_taken_at_its_word():
    class Silent:
        def write(self, data):
            return None

    assert HashingWriter(Silent(), ()).write(b"ab") == 2


def test_what_the_sink_refused_is_not_counted():
    digest = hashlib.sha256()
    hashing_writer = HashingWriter(RecordingSink(fails=0), (digest,))
    with pytest.raises(OSError, match="disk full"):
        hashing_writer.write(b"ab")
    assert hashing_writer.size == 0
    assert digest.digest() == hashlib.sha256().digest()


# -- BufferedWriter ---


@given(st.lists(st.binary(max_size=2000), max_size=30), st.integers(0, 2))
def test_gathered_writes_come_out_whole_and_in_order(parts, large):
    sink, reported = RecordingSink(), []
    writer = BufferedWriter(sink, reported.append)
    parts = parts + [bytes(BLOCK + 1)] * large
    for part in parts:
        assert writer.write(part) == len(part)
    writer.close()
    whole = b"".join(parts)
    assert sink.data == whole
    assert reported == sorted(reported)
    assert reported[-1:] == ([len(whole)] if whole else [])
    assert all(len(b) >= BLOCK for b in sink.blocks[:-1])


def test_a_buffer_may_be_changed_after_it_was_written():
    sink = RecordingSink()
    writer = BufferedWriter(sink)
    buffer = bytearray(b"old")
    writer.write(buffer)
    buffer[:] = b"new"
    writer.close()
    assert sink.data == b"old"


class KeepingSink:
    """Keeps what it gets as it is, as a queue does."""

    def __init__(self):
        self.blocks = []

    def write(self, data):
        self.blocks.append(data)
        return len(data)


@pytest.mark.parametrize("as_view", [False, True])
@pytest.mark.parametrize("size", [3, BLOCK, 3 * BLOCK])
def test_what_may_be_changed_after_it_was_written_is_copied_however_large(size, as_view):
    sink = KeepingSink()
    writer = BufferedWriter(sink)
    for fill in (b"a", b"b"):
        buffer = bytearray(fill * size)
        writer.write(memoryview(buffer) if as_view else buffer)
        buffer[:] = b"?" * size
    writer.close()
    assert b"".join(sink.blocks) == b"a" * size + b"b" * size


def test_a_large_block_that_nobody_can_change_is_not_copied():
    sink, data = KeepingSink(), bytes(BLOCK)
    BufferedWriter(sink).write(data)
    assert [block.obj is data for block in sink.blocks] == [True]


def test_an_error_that_a_driver_swallowed_is_raised_again_and_again():
    writer = BufferedWriter(RecordingSink(fails=0))
    with pytest.raises(OSError, match="disk full"):
        writer.write(bytes(BLOCK))
    for again in (lambda: writer.write(b"x"), writer.close, writer.close):
        with pytest.raises(OSError, match="disk full"):
            again()


def test_an_interrupt_within_the_sink_is_as_sticky_as_an_error():
    writer = BufferedWriter(RecordingSink(fails=0, error=KeyboardInterrupt()))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            writer.write(bytes(BLOCK))
    with pytest.raises(KeyboardInterrupt):
        writer.close()


def test_an_error_of_the_progress_report_fails_the_backup():
    def report(size):
        raise RuntimeError("cancelled")

    writer = BufferedWriter(RecordingSink(), report)
    with pytest.raises(RuntimeError, match="cancelled"):
        writer.write(bytes(BLOCK))
    with pytest.raises(RuntimeError, match="cancelled"):
        writer.close()


@pytest.mark.parametrize("end", [BufferedWriter.close, BufferedWriter.abandon])
def test_writing_after_the_end_is_an_error_and_passes_nothing_on(end):
    sink = RecordingSink()
    writer = BufferedWriter(sink)
    writer.write(b"a")
    end(writer)
    passed = sink.data
    with pytest.raises(ValueError, match="has ended"):
        writer.write(bytes(BLOCK))
    assert sink.data == passed == (b"a" if end is BufferedWriter.close else b"")


# -- ThreadedWriter ---


def test_the_thread_beside_writes_everything_in_order_and_ends():
    sink = RecordingSink()
    threaded_writer = ThreadedWriter(sink)
    for n in range(100):
        assert threaded_writer.write(b"%d," % n) == len(b"%d," % n)
    threaded_writer.close()
    assert sink.data == b"".join(b"%d," % n for n in range(100))
    assert threads_ended("dumpty-stages")


def test_nothing_written_needs_no_thread():
    threaded_writer = ThreadedWriter(RecordingSink(fails=0))
    threaded_writer.close()
    threaded_writer.abandon()
    assert not threads("dumpty-stages")


def test_an_error_in_the_thread_reaches_the_writer_who_never_waits_for_it():
    threaded_writer = ThreadedWriter(RecordingSink(fails=1))
    with pytest.raises(OSError, match="disk full"):
        for _ in range(1000):
            threaded_writer.write(b"x")
            time.sleep(0.001)
    with pytest.raises(OSError, match="disk full"):
        threaded_writer.close()
    assert threads_ended("dumpty-stages")


def test_an_error_in_the_last_block_is_raised_at_the_end():
    threaded_writer = ThreadedWriter(RecordingSink(fails=0))
    threaded_writer.write(b"x")
    with pytest.raises(OSError, match="disk full"):
        threaded_writer.close()
    with pytest.raises(OSError, match="disk full"):
        threaded_writer.write(b"y")


def test_a_compressor_that_takes_less_than_it_is_given_fails_the_backup():
    threaded_writer = ThreadedWriter(RecordingSink(takes=1))
    threaded_writer.write(b"ab")
    with pytest.raises(IntegrityError, match="took 1 of 2 bytes"):
        threaded_writer.close()


def test_a_stage_that_calls_exit_is_a_failure_and_not_an_order():
    threaded_writer = ThreadedWriter(RecordingSink(fails=0, error=SystemExit(0)))
    threaded_writer.write(b"x")
    with pytest.raises(PluginError, match="SystemExit"):
        threaded_writer.close()


class Blocking(RecordingSink):
    def __init__(self):
        super().__init__()
        self.free = threading.Event()
        self.busy = threading.Event()

    def write(self, data):
        self.busy.set()
        self.free.wait(60)
        return super().write(data)


def test_a_slow_sink_holds_the_writer_back_and_loses_nothing():
    slow = Blocking()
    threaded_writer = ThreadedWriter(slow)
    written = []

    def write():
        for n in range(50):
            threaded_writer.write(bytes([n]))
            written.append(n)

    thread = threading.Thread(target=write)
    thread.start()
    slow.busy.wait(60)
    time.sleep(0.05)
    assert len(written) < 20  # memory stays bounded
    slow.free.set()
    thread.join(60)
    threaded_writer.close()
    assert slow.data == bytes(range(50))


def test_abandoning_drops_what_is_queued_and_ends_the_thread():
    slow = Blocking()
    threaded_writer = ThreadedWriter(slow)
    for n in range(8):
        threaded_writer.write(bytes([n]))
    slow.busy.wait(60)
    ending = threading.Thread(target=threaded_writer.abandon)
    ending.start()
    wait_until_waiting(ending)
    slow.free.set()
    ending.join(60)
    assert not ending.is_alive()
    assert slow.data == b"\0"
    assert threads_ended("dumpty-stages")


# -- VerifyingReader ---

DATA = bytes(range(256)) * 5


def verifying_reader(data=DATA, size=None, digest=None):
    return VerifyingReader(
        Source(data), len(DATA) if size is None else size, digest or hashlib.sha256(DATA).hexdigest(), "the dump"
    )


@given(st.lists(st.integers(1, 300), min_size=1))
def test_right_bytes_are_yielded_in_any_chunking_and_only_then_complete(sizes):
    stream = verifying_reader()
    out = b""
    while True:
        for size in sizes:
            assert not stream.complete
            part = stream.read(size)
            out += part
            if not part:
                assert out == DATA
                assert stream.complete
                assert stream.read(5) == b""
                return


def test_reading_all_at_once_checks_too():
    assert verifying_reader().read() == verifying_reader().read(None) == DATA
    with pytest.raises(IntegrityError, match="SHA-256"):
        verifying_reader(digest="0" * 64).read()


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (verifying_reader(DATA[:-1]), "ends 1 bytes short of the 1280"),
        (verifying_reader(b""), "truncated"),
        (verifying_reader(DATA + b"x"), "longer than the 1280 bytes"),
        (verifying_reader(b"x" + DATA[1:]), "another SHA-256"),
        (verifying_reader(DATA, digest="E3" * 32), "another SHA-256"),
    ],
)
def test_wrong_bytes_never_reach_the_end_of_file_and_the_error_stays(stream, text):
    with pytest.raises(IntegrityError, match=text):
        read_all(stream)
    for _ in range(2):
        with pytest.raises(IntegrityError, match=text):
            stream.read(10)
    assert not stream.complete


def test_a_read_of_nothing_is_not_the_end():
    stream = verifying_reader()
    assert stream.read(0) == b""
    assert not stream.complete
    assert stream.read() == DATA


def test_an_empty_dump_is_complete_only_once_read():
    stream = verifying_reader(b"", size=0, digest=hashlib.sha256(b"").hexdigest())
    assert not stream.complete
    assert stream.read(1) == b""
    assert stream.complete


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_stage_may_return_any_bytes_like_object(kind):
    class Stage(Source):
        def read(self, size=-1):
            return kind(super().read(size))

    stream = VerifyingReader(Stage(DATA), len(DATA), hashlib.sha256(DATA).hexdigest(), "the dump")
    assert stream.read() == DATA
    read_ahead = ReadAheadReader(Stage(DATA), "the dump")
    assert read_ahead.read() == DATA
    read_ahead.close()


@pytest.mark.parametrize("value", [None, "text", 7])
def test_a_stage_that_returns_no_bytes_is_an_error_and_not_an_end(value):
    class Stage(Source):
        def read(self, size=-1):
            return value

    read_ahead = ReadAheadReader(Stage(), "the dump")
    for stream in (VerifyingReader(Stage(), 7, "", "the dump"), read_ahead):
        for _ in range(2):
            with pytest.raises(IntegrityError, match=f"returned {type(value).__name__}, not bytes"):
                stream.read(10)
    read_ahead.close()


def test_closing_closes_the_stream_below():
    stream = verifying_reader()
    stream.close()
    assert stream._stream.closes == 1


# -- ReadAheadReader ---


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=5))
def test_reading_ahead_yields_the_same_bytes_in_any_chunking(sizes):
    read_ahead = ReadAheadReader(Source(DATA), "the dump")
    out = b""
    done = False
    while not done:
        for size in sizes:
            part = read_ahead.read(size)
            assert len(part) <= size
            out += part
            done = not part
    assert out == DATA
    assert read_ahead.read(1) == b""
    read_ahead.close()


def test_only_the_consumer_who_saw_the_end_has_read_to_it():
    read_ahead = ReadAheadReader(Source(DATA), "the dump")
    stream = VerifyingReader(read_ahead, len(DATA), hashlib.sha256(DATA).hexdigest(), "the dump")
    assert threads_ended("dumpty-read-ahead")  # the thread has read everything
    assert stream.read(len(DATA)) == DATA
    assert not stream.complete
    assert stream.read() == b""
    assert stream.complete
    stream.close()


class Failing(Source):
    def __init__(self, error, after):
        super().__init__(DATA)
        self.error = error
        self.after = after

    def read(self, size=-1):
        self.after -= 1
        if self.after < 0:
            raise self.error
        return super().read(100)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(IntegrityError("cut off"), IntegrityError), (SystemExit(0), PluginError), (EOFError(), EOFError)],
)
def test_an_error_comes_after_the_bytes_before_it_and_stays(error, expected):
    read_ahead = ReadAheadReader(Failing(error, 2), "the dump")
    assert read_ahead.read(100) + read_ahead.read(100) == DATA[:200]
    for _ in range(3):
        with pytest.raises(expected):
            read_ahead.read(100)
    read_ahead.close()


def test_closing_early_ends_the_thread_and_closes_the_stream():
    endless = Source()
    endless.read = lambda size: bytes(size)
    read_ahead = ReadAheadReader(endless, "the dump")
    assert read_ahead.read(10) == bytes(10)
    read_ahead.close()
    assert threads_ended("dumpty-read-ahead")
    assert endless.closes == 1
    read_ahead.close()


def test_reading_after_closing_is_an_error_and_no_wait_for_ever():
    read_ahead = ReadAheadReader(Source(DATA), "the dump")
    read_ahead.read(1)
    read_ahead.close()
    for _ in range(2):
        with pytest.raises(ValueError, match="closed"):
            read_ahead.read(1)


def test_a_consumer_in_another_thread_is_released_when_the_dump_is_closed():
    silent = threading.Event()

    class Slow(Source):
        def read(self, size=-1):
            silent.wait(60)
            return b"x"

    read_ahead = ReadAheadReader(Slow(), "the dump")
    caught = []

    def consume():
        try:
            while read_ahead.read(10):
                pass
        except ValueError as error:
            caught.append(error)

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    time.sleep(0.05)
    closing = threading.Thread(target=read_ahead.close)
    closing.start()
    silent.set()
    closing.join(60)
    consumer.join(60)
    assert not consumer.is_alive()
    assert len(caught) == 1


# -- tree_digest -------------------------------------------------------------------------------------------------


def test_the_digest_of_a_directory_is_the_one_that_sha256sum_gives(tmp_path):
    for name, data in {"b": b"2", "a": b"11", "sub/x y": b"", "sub/ä": b"4" * BLOCK, "Z": b"z"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    command = r"find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    printed = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=True, text=True).stdout
    assert tree_digest(str(tmp_path)) == (BLOCK + 4, printed.split()[0])


def test_a_file_that_is_renamed_moved_or_changed_changes_the_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    digests = {tree_digest(str(tmp_path))}
    (tmp_path / "a").rename(tmp_path / "b")
    digests.add(tree_digest(str(tmp_path)))
    (tmp_path / "b").write_bytes(b"2")
    digests.add(tree_digest(str(tmp_path)))
    (tmp_path / "c").mkdir()
    (tmp_path / "b").rename(tmp_path / "c/b")
    digests.add(tree_digest(str(tmp_path)))
    assert len(digests) == 4


@pytest.mark.parametrize("target", ["file", "folder", "nowhere"])
def test_a_symbolic_link_in_a_directory_is_refused(tmp_path, target):
    (tmp_path / "top" / "sub").mkdir(parents=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    os.symlink(tmp_path / target, tmp_path / "top" / "sub" / "link")
    with pytest.raises(IntegrityError, match="symbolic link"):
        tree_digest(str(tmp_path / "top"))


# -- interrupts ----------------------------------------------------------------------------------------------------------


class Busy:
    """A sink or a stream that takes its time, and knows whether it is used."""

    def __init__(self):
        self.uses = 0
        self.in_use = threading.Event()
        self.free = threading.Event()
        self.closed_in_use = False

    def write(self, data):
        self.uses += 1
        self.in_use.set()
        assert self.free.wait(60)
        self.in_use.clear()
        return len(data)

    def read(self, size=-1):
        self.write(b"")
        return b"more"

    def close(self):
        self.closed_in_use |= self.in_use.is_set()


@contextlib.contextmanager
def interrupted_while_it_waits(busy):
    """Expect a Ctrl-C that comes while this thread waits for ``busy``, which is free some time later."""

    def interrupt(waiting):
        wait_until_waiting(waiting)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)  # until it has come
        busy.free.set()

    thread = threading.Thread(target=interrupt, args=(threading.current_thread(),))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    thread.join(60)


def test_closing_beside_that_is_interrupted_ends_when_the_sink_is_free_and_writes_no_more():
    busy = Busy()
    threaded_writer = ThreadedWriter(busy)
    for _ in range(4):
        threaded_writer.write(b"block")
    assert busy.in_use.wait(60)
    with interrupted_while_it_waits(busy):
        threaded_writer.close()
    assert not busy.in_use.is_set()
    threaded_writer.abandon()
    assert busy.uses == 1
    assert threads_ended("dumpty-stages")


def test_closing_ahead_that_is_interrupted_closes_a_stream_that_nobody_reads():
    busy = Busy()
    read_ahead = ReadAheadReader(busy, "the dump")
    assert busy.in_use.wait(60)
    with interrupted_while_it_waits(busy):
        read_ahead.close()
    assert not busy.closed_in_use
    assert threads_ended("dumpty-read-ahead")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("can't start new thread")])
def test_a_thread_that_cannot_be_started_is_the_error_that_is_told(monkeypatch, error):
    def start(thread):
        raise error

    monkeypatch.setattr(threading.Thread, "start", start)
    threaded_writer = ThreadedWriter(RecordingSink(fails=0))
    for _ in range(20):
        with pytest.raises(type(error)):
            threaded_writer.write(b"block")
    threaded_writer.abandon()
    with pytest.raises(type(error)):
        ReadAheadReader(Source(DATA), "the dump")


def test_whoever_waits_for_a_block_is_told_of_the_closing_though_the_stream_cannot_be_closed():
    class Stuck(Busy):
        def close(self):
            raise OSError("the mount is gone")

    stuck = Stuck()
    read_ahead = ReadAheadReader(stuck, "the dump")
    errors = []

    def wait():
        try:
            while read_ahead.read(10):
                pass
        except ValueError as error:
            errors.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    freeing = threading.Timer(0.1, stuck.free.set)
    freeing.start()
    with pytest.raises(OSError, match="the mount is gone"):
        read_ahead.close()
    waiting.join(60)
    freeing.join()
    assert errors == ["read from a dump that was closed"]
