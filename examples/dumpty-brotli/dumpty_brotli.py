"""Brotli compressor for dumpty (RFC 7932).

The format has an end, but no checksum: truncated and trailing bytes are found here, altered ones only where they
break the format. dumpty finds those by its own digests, of the stored bytes and of the dump.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dumpty import FramedReader, IntegrityError, Option, PluginInfo, hookimpl

if TYPE_CHECKING:
    from dumpty import Buffer, ByteSink, Options, Reader, Writer

_QUALITIES = 12
_PIECE = 1 << 20


@hookimpl
def describe() -> PluginInfo:
    """Declare suffix and options."""
    return PluginInfo(
        kind="compressor",
        summary="Brotli: smaller than gzip",
        suffix=".br",
        requires="dumpty-brotli",
        options=(
            Option(
                name="quality",
                default=3,
                choices=tuple(range(_QUALITIES)),
                help="0 (fastest) to 11 (smallest, very slow)",
                verbs=("compress",),
            ),
        ),
    )


@hookimpl
def compress(sink: ByteSink, options: Options) -> Writer:
    """Return a writer of one brotli stream."""
    return _BrotliWriter(sink, options["quality"])


@hookimpl
def decompress(stream: Reader) -> Reader:
    """Return a reader of one brotli stream.

    Raises:
        IntegrityError: from ``read``, where the data is no brotli, is truncated, or followed by other bytes.
    """
    import brotli

    streams: list[_BrotliStream] = []

    def next_stream() -> _BrotliStream:
        # FramedReader asks for another one where something follows; a brotli stream is the only one in its file.
        if streams:
            raise IntegrityError("the brotli stream is followed by other bytes: it is not what was stored")
        streams.append(_BrotliStream(brotli.Decompressor()))
        return streams[0]

    return FramedReader(stream, next_stream, brotli.error, "brotli")


class _BrotliWriter:
    def __init__(self, sink: ByteSink, quality: object) -> None:
        import brotli

        self._sink = sink
        self._stream = brotli.Compressor(quality=quality)
        self._closed = False

    def write(self, data: Buffer) -> int:
        if self._closed:
            raise ValueError("write to a closed brotli stream")
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _PIECE):  # its output is as large as what it takes in
            if packed := self._stream.process(view[start : start + _PIECE]):
                self._sink.write(packed)
        return len(view)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._sink.write(self._stream.finish())


class _BrotliStream:
    """A decoder in the shape that ``FramedReader`` takes. The library's limit is a soft one, so the rest waits here."""

    unused_data = b""  # the library itself refuses what stands behind the end

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._decoded = memoryview(b"")
        self._drained = True

    @property
    def eof(self) -> bool:
        return not self._decoded and bool(self._decoder.is_finished())

    @property
    def needs_input(self) -> bool:
        # That it accepts more does not mean that it has given everything: only an empty answer does.
        return self._drained and bool(self._decoder.can_accept_more_data())

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if not self._decoded:
            self._decoded = memoryview(self._decoder.process(data, output_buffer_limit=max_length))
            self._drained = not self._decoded
        piece, self._decoded = self._decoded[:max_length], self._decoded[max_length:]
        return bytes(piece)
