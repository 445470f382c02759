"""The stream types between a driver and a store: counting, hashing, buffering, threads of their own.

All of them are push (sinks) on the way out and pull (readers) on the way back. Errors are sticky: after the first,
every further call raises it again, so that a plugin that swallows an error cannot make a backup look good.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from dumpty.errors import IntegrityError, PluginError
from dumpty.process.call import CancelRequested, current_call, hear_cancellation, wait_point
from dumpty.streaming.bounded_queue import BoundedQueue
from dumpty.streaming.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dumpty.types import Buffer, ByteSink, Reader, Verifier

BLOCK = 1 << 18
"""Bytes buffered before they move on: large enough to leave Python out, small enough for a core's cache."""

_QUEUED_BLOCKS = 8


class HashingWriter:
    """Counts and hashes what passes through on its way to ``sink``."""

    def __init__(self, sink: ByteSink, digests: Sequence[Verifier]) -> None:
        self._sink = sink
        self._digests = tuple(digests)
        self._error: BaseException | None = None
        self.size = 0

    def write(self, data: Buffer) -> int:
        self.require_intact()
        try:
            view = memoryview(data).cast("B")
            written = self._sink.write(view)
            if written is not None and written != len(view):
                raise IntegrityError(f"a stage took {written} of {len(view)} bytes and raised no error")
            for digest in self._digests:
                digest.update(view)
        except BaseException as error:
            self._error = error
            raise
        self.size += len(view)
        return len(view)

    def require_intact(self) -> None:
        """Raise the error that a write has raised, if one has: whoever called it may have swallowed it."""
        if self._error is not None:
            raise self._error


class BufferedWriter:
    """Buffers small writes into blocks; each block then belongs to ``sink``'s caller alone.

    A large one of ``bytes``, which nobody can change any more, is passed on as it is.
    """

    def __init__(self, sink: ByteSink, progress: Callable[[int], None] | None = None) -> None:
        self._sink = sink
        self._progress = progress
        self._block = bytearray()
        self._passed = 0
        self._closed = False
        self._written_late = False
        self.error: BaseException | None = None

    def write(self, data: Buffer) -> int:
        if self.error is not None:
            raise self.error
        if self._closed:
            self._written_late = True
            raise ValueError("write to a sink whose backup has ended")
        view = memoryview(data).cast("B")
        if len(view) >= BLOCK and not self._block and type(view.obj) is bytes:
            self._pass_on(view)
            return len(view)
        self._block += view
        if len(self._block) >= BLOCK:
            self._pass_on_block()
        return len(view)

    def close(self) -> None:
        """Pass on what is left. Further writes are errors."""
        self._closed = True
        if self.error is not None:
            raise self.error
        if self._block:
            self._pass_on_block()

    @property
    def written_late(self) -> bool:
        """Whether somebody wrote after ``close`` had begun: then bytes are missing."""
        return self._written_late or (self._closed and bool(self._block))

    def abandon(self) -> None:
        """Refuse every further write: the backup has failed."""
        self._closed = True
        self._block = bytearray()

    def _pass_on_block(self) -> None:
        block, self._block = self._block, bytearray()
        self._pass_on(block)

    def _pass_on(self, block: bytearray | memoryview) -> None:
        try:
            self._sink.write(block)
            self._passed += len(block)
            if self._progress is not None:
                self._progress(self._passed)
        except BaseException as error:
            self.error = error
            raise


class ThreadedWriter:
    """Runs ``sink.write`` in a thread of its own: compression works while the database speaks.

    Blocks handed in must not be changed afterwards. ``close`` waits for everything to be written.
    """

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink
        self._queue: BoundedQueue[Buffer | None] = BoundedQueue(_QUEUED_BLOCKS)
        self._error: BaseException | None = None
        self._abandoned = False
        self._worker: Worker[None] | None = None

    def write(self, data: Buffer) -> int:
        if self._error is not None:
            raise self._error
        if self._worker is None:
            self._worker = Worker(self._run, "dumpty-stages")
            try:
                self._worker.start()
            except BaseException as error:
                self._error = error  # nobody takes what would be written
                raise
        with wait_point(self._queue.make_room):
            self._queue.put(data)
        hear_cancellation()
        return len(data)

    def close(self) -> None:
        self._end()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Drop what is queued and end the thread."""
        self.drop()
        self._end()

    def drop(self) -> None:
        """Drop what is queued, and what comes, so that nobody waits for room."""
        self._abandoned = True

    def _end(self) -> None:
        if self._worker is None:
            return
        self._queue.put_last(None)
        try:
            self._worker.wait()
        except BaseException:
            self._abandoned = True
            raise
        finally:
            self._worker.end()

    def _run(self) -> None:
        # Goes on taking blocks after an error, so that the writer can never wait for a thread that is gone.
        while (block := self._queue.get()) is not None:
            if self._error is None and not self._abandoned:
                try:
                    written = self._sink.write(block)
                    if written is not None and written != len(block):
                        self._error = IntegrityError(
                            f"a stage took {written} of {len(block)} bytes and raised no error"
                        )
                except BaseException as error:  # noqa: BLE001 - raised again in the writer's thread
                    self._error = as_thread_error(error)


class VerifyingReader:
    """Reads ``stream`` and yields end-of-file only if size and SHA-256 are those recorded."""

    def __init__(self, stream: Reader, size: int, sha256: str, label: str) -> None:
        self._stream = stream
        self._remaining = size
        self._size = size
        self._sha256 = sha256
        self._digest = hashlib.sha256()
        self._label = label
        self._error: IntegrityError | None = None
        self.complete = False

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            return read_all(self)
        if self._error is not None:
            raise self._error
        if size == 0 or self.complete:
            return b""
        try:
            data = as_bytes(self._stream.read(size), self._label)
            self._digest.update(data)
            self._remaining -= len(data)
            if self._remaining < 0:
                raise IntegrityError(f"{self._label} is longer than the {self._size} bytes that were recorded")
            if not data:
                self._finish()
        except IntegrityError as error:
            self._error = error
            raise
        return data

    def _finish(self) -> None:
        if self._remaining:
            raise IntegrityError(
                f"{self._label} ends {self._remaining} bytes short of the {self._size} that were recorded: "
                "it is truncated"
            )
        if self._digest.hexdigest() != self._sha256:
            raise IntegrityError(f"{self._label} has another SHA-256 than the one recorded: it was altered or damaged")
        self.complete = True

    def close(self) -> None:
        self._stream.close()


class ReadAheadReader:
    """Reads ``stream`` in a thread of its own, some blocks ahead of the consumer; ``label`` names it in messages."""

    def __init__(self, stream: Reader, label: str) -> None:
        self._stream = stream
        self._label = label
        self._queue: BoundedQueue[bytes | BaseException] = BoundedQueue(_QUEUED_BLOCKS)
        self._stopped = False
        self._rest = memoryview(b"")
        self._end: BaseException | bytes | None = None
        self._call = current_call()
        if self._call is not None:
            self._call.listen(self._cancel)
        self._worker = Worker(self._run, "dumpty-read-ahead")
        try:
            self._worker.start()
        except BaseException:
            self._end_thread()
            raise

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            return read_all(self)
        if not self._rest and self._end is None:
            block = self._queue.get()
            if isinstance(block, bytes) and block:
                if len(block) <= size:
                    return block
                self._rest = memoryview(block)
            else:
                self._end = block
        if self._rest:
            part, self._rest = self._rest[:size], self._rest[size:]
            return bytes(part)
        if isinstance(self._end, BaseException):
            if self._call is not None and isinstance(self._end, CancelRequested):
                self._call.note_heard()
            raise self._end
        return b""

    def _cancel(self) -> None:
        if self._call is not None and self._call.cancelled:
            self._queue.put_last(CancelRequested())

    def close(self) -> None:
        if self._call is not None:
            self._call.unlisten(self._cancel)
        try:
            self._end_thread()
        finally:
            # Whoever reads on, or waits for a block in a thread of its own, is told, and does not wait for ever.
            closed = ValueError("read from a dump that was closed")
            self._rest = memoryview(b"")
            self._end = None
            self._queue.clear()
            self._queue.put_last(closed)
            self._stream.close()

    def _end_thread(self) -> None:
        self._stopped = True
        self._worker.end(self._queue.clear)

    def _run(self) -> None:
        try:
            while not self._stopped:
                block = as_bytes(self._stream.read(BLOCK), self._label)
                self._put(block)
                if not block:
                    return
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer's thread
            self._put(as_thread_error(error))

    def _put(self, item: bytes | BaseException) -> None:
        if not self._stopped:
            self._queue.put(item)


def as_thread_error(error: BaseException) -> BaseException:
    """Return what to raise in another thread for an error of this one."""
    # Signals reach the main thread alone: what looks like an order to exit is a plugin's, and no reason to obey.
    if isinstance(error, Exception):
        return error
    failure = PluginError(f"a stage raised {type(error).__name__}: taken as a failure")
    failure.__cause__ = error
    return failure


def as_bytes(data: object, label: str) -> bytes:
    """Return what a stage gave as bytes; ``IntegrityError`` where it is none."""
    if isinstance(data, bytes):
        return data
    if not isinstance(data, (bytearray, memoryview)):
        raise IntegrityError(f"{label} cannot be read: a stage returned {type(data).__name__}, not bytes")
    return bytes(data)


def read_all(reader: Reader) -> bytes:
    """Read to the end."""
    parts = []
    while part := reader.read(BLOCK):
        parts.append(part)
    return b"".join(parts)
