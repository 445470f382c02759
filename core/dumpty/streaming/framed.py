"""``FramedReader``: what a compressor plugin needs to read back strictly, in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dumpty.errors import IntegrityError
from dumpty.streaming.streams import BLOCK, read_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty.types import Reader


class Decompressor(Protocol):
    """The shape that the standard library's decompressors share (``bz2``, ``lzma``, ``compression.zstd``)."""

    @property
    def eof(self) -> bool:
        """True once the frame's end was seen."""
        ...

    @property
    def needs_input(self) -> bool:
        """True where more output needs more input."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Input behind the frame's end."""
        ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Take ``data``, return at most ``max_length`` bytes."""
        ...


class FramedReader:
    """Reads a compressed stream of one or more frames, in constant memory, and is strict about its end.

    For authors of compressors: give it the stored stream, a function that returns a fresh decompressor for each
    frame, the exceptions it raises on bad data, and the format's name. An empty stream, a frame without its end,
    damage, and bytes that begin no frame raise ``IntegrityError``, again and again once they have.
    """

    def __init__(
        self,
        stream: Reader,
        fresh: Callable[[], Decompressor],
        errors: type[Exception] | tuple[type[Exception], ...],
        name: str,
    ) -> None:
        self._stream = stream
        self._fresh = fresh
        self._errors = errors
        self._name = name
        self._frame: Decompressor | None = None
        self._frames = 0
        self._input = b""
        self._failed: IntegrityError | None = None

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            return read_all(self)
        if self._failed is not None:
            raise self._failed
        try:
            return self._read_some(size) if size else b""
        except self._errors as error:
            self._failed = IntegrityError(f"the {self._name} stream is damaged: {error}")
            raise self._failed from error
        except IntegrityError as error:
            self._failed = error
            raise

    def _read_some(self, size: int) -> bytes:
        while True:
            if not self._input and (self._frame is None or self._frame.needs_input):
                self._input = self._stream.read(BLOCK)
                if not self._input:
                    self._finish()
                    return b""
            if self._frame is None:
                self._frame = self._fresh()
            data = self._frame.decompress(self._input, size)
            self._input = b""
            if self._frame.eof:
                self._input = self._frame.unused_data
                self._frame = None
                self._frames += 1
            if data:
                return data

    def _finish(self) -> None:
        if self._frame is not None:
            raise IntegrityError(f"the {self._name} stream ends before its last frame does: it is truncated")
        if not self._frames:
            raise IntegrityError(f"the {self._name} stream is empty: it lacks even its header")

    def close(self) -> None:
        self._stream.close()
