"""Samples, sinks and streams that the suites hand to a plugin, the unkind ones included."""

from __future__ import annotations

import functools
import hashlib
import random
import threading
import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dumpty.types import Buffer, ByteSink, Reader

BLOCK = 1 << 18

__all__ = [
    "BLOCK",
    "SAMPLES",
    "BytesReader",
    "Collector",
    "DigestingSink",
    "FailingReader",
    "FailingSink",
    "Interrupted",
    "Refusal",
    "at_once",
    "blocks",
    "offsets",
    "peak_memory",
    "read_blocks",
]


class Refusal(OSError):
    """What a failing sink or stream of the kit raises: as a full disk or a broken line would."""


class Interrupted(KeyboardInterrupt):
    """What a sink of the kit raises where somebody pressed Ctrl-C."""


@functools.cache
def _random(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - the same sample on every run


SAMPLES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "one_byte": lambda: b"\x00",
    "text": lambda: b"".join(b"INSERT INTO item VALUES (%d, 'row %d');\n" % (i, i * i) for i in range(400)),
    "random": lambda: _random(300_001),
    "repetitive": lambda: b"0123456789abcdef" * (1 << 16),
}


def blocks(total: int) -> Iterator[bytes]:
    """Yield ``total`` bytes in blocks, random and repetitive by turns."""
    kinds = (_random(BLOCK), b"dumpty--" * (BLOCK // 8), bytes(BLOCK))
    for number in range(-(-total // BLOCK)):
        yield kinds[number % 3][: total - number * BLOCK]


def offsets(length: int, count: int) -> list[int]:
    """Return about ``count`` offsets into ``length`` bytes: the first and last dozen, and evenly between."""
    step = max(1, length // count)
    return sorted({*range(min(12, length)), *range(max(0, length - 12), length), *range(0, length, step)})


class Collector:
    """A sink that keeps everything, and notices being closed."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.writes = 0
        self.closed = False

    def write(self, data: Buffer) -> int:
        """Take every byte."""
        self.writes += 1
        view = memoryview(data).cast("B")
        self.data += view
        return len(view)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Notice."""
        self.closed = True


class DigestingSink:
    """A sink that counts and hashes, and keeps nothing."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()

    def write(self, data: Buffer) -> int:
        """Take every byte."""
        view = memoryview(data).cast("B")
        self.size += len(view)
        self._digest.update(view)
        return len(view)

    @property
    def size_and_digest(self) -> tuple[int, str]:
        """Size and SHA-256 of what came."""
        return self.size, self._digest.hexdigest()


class FailingSink(Collector):
    """Takes ``good_writes`` writes, then raises ``error`` at every further one."""

    def __init__(self, good_writes: int, error: BaseException) -> None:
        super().__init__()
        self._good_writes = good_writes
        self.error = error
        self.failed = False

    def write(self, data: Buffer) -> int:
        """Take every byte, or raise."""
        if self.writes >= self._good_writes:
            self.failed = True
            raise self.error
        return super().write(data)


class BytesReader:
    """Reads ``data``; ``sizes`` say, in turn and over again, how many bytes a read gives at most."""

    def __init__(self, data: bytes, sizes: Sequence[int] = ()) -> None:
        self._data = memoryview(data)
        self._sizes = tuple(sizes)
        self._reads = 0

    def read(self, size: int = -1) -> bytes:
        """Return some bytes, b"" at the end only."""
        if size is None or size < 0:
            size = len(self._data)
        if self._sizes and size:
            size = min(size, self._sizes[self._reads % len(self._sizes)])
            self._reads += 1
        block, self._data = self._data[:size], self._data[size:]
        return bytes(block)

    def close(self) -> None:
        """Nothing is held."""


class FailingReader(BytesReader):
    """Gives ``data``, then raises ``error`` instead of an end."""

    def __init__(self, data: bytes, error: BaseException, sizes: Sequence[int] = ()) -> None:
        super().__init__(data, sizes)
        self.error = error

    def read(self, size: int = -1) -> bytes:
        """Return some bytes, or raise."""
        block = super().read(size)
        if not block and size:
            raise self.error
        return block


def read_blocks(reader: Reader, sink: ByteSink, size: int = BLOCK) -> None:
    """Read to the end, ``size`` bytes at a time, into ``sink``."""
    while block := reader.read(size):
        sink.write(block)


def peak_memory(work: Callable[[], object]) -> int:
    """Return how many bytes Python held at most during ``work``, beyond what it held before."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        held_before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - held_before
    finally:
        if not running:
            tracemalloc.stop()


def at_once(works: Sequence[Callable[[Callable[[], None]], object]], patience: float = 10.0) -> list[BaseException]:
    """Run ``works`` in a thread each, and return the errors they ended with.

    Each is given a function that waits until all the others call it, too: so they take their steps by turns. A work
    that does not come in time lets the others run on.
    """
    barrier = threading.Barrier(len(works))
    errors: list[BaseException] = []

    def meet() -> None:
        try:
            barrier.wait(patience)
        except threading.BrokenBarrierError:
            return

    def run(work: Callable[[Callable[[], None]], object]) -> None:
        try:
            work(meet)
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience * 6)
    if any(thread.is_alive() for thread in threads):
        errors.append(TimeoutError("a thread never came back"))
    return errors
