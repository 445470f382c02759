"""``TransformingWriter`` and ``TransformingReader``: stages made of a function that reads one file and writes another.

Many libraries only know that shape: they pull from one file object and push into another until the first one ends. Here
such a function runs in a thread of its own, joined to the pipeline by a bounded queue: memory stays constant, whatever
fails first is what is raised, and whoever gives up waits for nothing that will not come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dumpty.errors import PluginError
from dumpty.process.call import hear_cancellation, wait_point
from dumpty.streaming.bounded_queue import BoundedQueue
from dumpty.streaming.streams import BLOCK, as_bytes, as_thread_error, read_all
from dumpty.streaming.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty.types import Buffer, ByteSink, Reader

__all__ = ["TransformingReader", "TransformingWriter"]

_QUEUED_BLOCKS = 4


class Pulled(Protocol):
    """What a transformation reads."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, b"" at the end."""
        ...


class Transformation(Protocol):
    """A function that reads ``source`` to its end and writes into ``target``, of which it closes neither."""

    def __call__(self, source: Pulled, target: ByteSink, /) -> object:
        """Do it. Whatever it raises is a failure, whose cause may be an error of the two."""
        ...


class _Abandoned(Exception):
    """Nobody wants the rest."""


class TransformingWriter:
    """Writes into ``sink`` what ``transform`` makes of the bytes that are written here.

    For authors of stages. ``transform(source, target)`` runs in a thread of its own, called ``name``. An error of
    ``sink`` is raised as it is, by ``write`` or ``close``, whatever the transformation makes of it; after an error
    every further call raises it again. ``close`` returns when everything is in ``sink``, ``abandon`` when the thread is
    over.
    """

    def __init__(self, sink: ByteSink, transform: Transformation, name: str = "dumpty-transform") -> None:
        self._sink = sink
        self._transform = transform
        self._block = bytearray()
        self._queue: BoundedQueue[bytes] = BoundedQueue(_QUEUED_BLOCKS)
        self._error: BaseException | None = None
        self._closed = False
        self._abandoned = False
        self._ended = False
        self._rest = memoryview(b"")
        self._worker: Worker[None] = Worker(self._run, name)
        self._running = False

    def write(self, data: Buffer) -> int:
        self._require_intact()
        if self._closed:
            raise ValueError("write to a closed stream")
        view = memoryview(data).cast("B")
        self._block += view
        while len(self._block) >= BLOCK:
            block = bytes(memoryview(self._block)[:BLOCK])
            del self._block[:BLOCK]
            self._pass_on(block)
        return len(view)

    def close(self) -> None:
        if self._closed:
            self._require_intact()
            return
        self._closed = True
        self._require_intact()
        if self._block:
            self._pass_on(bytes(self._block))
            self._block = bytearray()
        self._start()
        self._queue.put_last(b"")
        try:
            while not self._worker.wait():
                pass
        except BaseException:
            self._abandoned = True
            raise
        finally:
            self._worker.end()
        self._require_intact()

    def abandon(self) -> None:
        """Drop what is not written yet, and end the thread."""
        self._closed = self._abandoned = True
        self._block = bytearray()
        if self._running:
            self._worker.end(lambda: self._queue.put_last(b""))

    def _require_intact(self) -> None:
        if self._error is not None:
            raise self._error

    def _pass_on(self, block: bytes) -> None:
        self._start()
        with wait_point(self._queue.make_room):
            self._queue.put(block)
        hear_cancellation()
        self._require_intact()

    def _start(self) -> None:
        if self._running:
            return
        self._running = True
        try:
            self._worker.start()
        except BaseException as error:
            self._error = error  # nobody takes what would be written
            raise

    def _run(self) -> None:
        try:
            self._transform(_Pulled(self._read), _Pushed(self._write))
            if not self._ended:
                raise PluginError("a stage stopped before the end of what it was to read")
        except BaseException as error:  # noqa: BLE001 - raised again in the writer's thread
            self._keep(error)
        self._queue.make_room()  # nobody takes anything any more: whoever waits with a block goes on, to the error

    def _read(self, size: int) -> bytes:
        if not self._rest and not self._ended:
            block = self._queue.get()
            self._rest = memoryview(block)
            self._ended = not block
        if self._abandoned:
            raise _Abandoned
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)

    def _write(self, data: Buffer) -> None:
        if self._abandoned:
            raise _Abandoned
        try:
            written = self._sink.write(data)
            if written is not None and written != len(data):
                raise PluginError(f"what a stage writes into took {written} of {len(data)} bytes and raised no error")
        except BaseException as error:
            self._keep(error)
            raise

    def _keep(self, error: BaseException) -> None:
        if self._error is None and not self._abandoned:
            self._error = as_thread_error(error)


class TransformingReader:
    """Reads what ``transform`` makes of ``stream``.

    For authors of stages; the counterpart of ``TransformingWriter``. An error of ``stream`` is raised as it is,
    whatever the transformation makes of it; an end is told only after the transformation returned. ``close`` closes
    ``stream``.
    """

    def __init__(self, stream: Reader, transform: Transformation, name: str = "dumpty-transform") -> None:
        self._stream = stream
        self._transform = transform
        self._block = bytearray()
        self._queue: BoundedQueue[bytes | BaseException] = BoundedQueue(_QUEUED_BLOCKS)
        self._error: BaseException | None = None
        self._first_error: BaseException | None = None
        self._stopped = False
        self._ended = False
        self._rest = memoryview(b"")
        self._worker: Worker[None] = Worker(self._run, name)
        self._running = False

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            return read_all(self)
        if self._error is not None:
            raise self._error
        if self._stopped:
            raise ValueError("read from a closed stream")
        if not size:
            return b""
        if not self._rest and not self._ended:
            self._take()
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)

    def close(self) -> None:
        self._stopped = True
        self._rest = memoryview(b"")
        try:
            if self._running:
                self._worker.end(self._queue.clear)
        finally:
            self._stream.close()

    def _take(self) -> None:
        if not self._running:
            self._running = True
            try:
                self._worker.start()
            except BaseException as error:
                self._error = error  # nobody hands over anything
                raise
        block = self._queue.get()
        if isinstance(block, BaseException):
            self._error = block
            raise block
        self._rest = memoryview(block)
        self._ended = not block

    def _run(self) -> None:
        last: bytes | BaseException = b""
        try:
            self._transform(_Pulled(self._read), _Pushed(self._write))
            if self._block:
                self._put(bytes(self._block))
        except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
            last = as_thread_error(error)
        if self._first_error is not None:
            last = self._first_error
        self._queue.put_last(last)

    def _read(self, size: int) -> bytes:
        if self._stopped:
            raise _Abandoned
        try:
            return as_bytes(self._stream.read(size), "the stream")
        except BaseException as error:
            self._first_error = self._first_error or as_thread_error(error)
            raise

    def _write(self, data: Buffer) -> None:
        self._block += data
        if len(self._block) >= BLOCK:
            block, self._block = self._block, bytearray()
            self._put(bytes(block))

    def _put(self, block: bytes) -> None:
        if self._stopped:
            raise _Abandoned
        self._queue.put(block)


class _Pulled:
    """The file object that a transformation reads: nothing of what is behind it can be reached."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def read(self, size: int = -1, /) -> bytes:
        return self._read(size)


class _Pushed:
    """The file object that a transformation writes into."""

    def __init__(self, write: Callable[[Buffer], None]) -> None:
        self._write = write

    def write(self, data: Buffer, /) -> int:
        self._write(data)
        return len(data)

    def flush(self) -> None:
        """Whoever closes the stage sees to that."""
