"""The compressor ``zstd``: RFC 8878, by the standard library of Python 3.14, and its backport before."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dumpty import DependencyError, FramedReader, Option, PluginInfo, hookimpl

if TYPE_CHECKING:
    from dumpty import Buffer, ByteSink, Options, Reader, Writer

_MAX_LEVEL = 19
_MOST_THREADS = 4
_JOB_BYTES = 1 << 20
"""What one thread compresses at a time: the library's own choice is a multiple of the window, and holds more."""


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(
        kind="compressor",
        summary="Zstandard: smaller than gzip at the same speed",
        suffix=".zst",
        requires="dumpty[zstd]",
        options=(
            Option(
                name="level",
                default=1,
                choices=tuple(range(1, _MAX_LEVEL + 1)),
                help="1 (fastest) to 19 (smallest)",
                verbs=("compress",),
            ),
        ),
    )


@hookimpl
def compress(sink: ByteSink, options: Options, at_once: int) -> Writer:
    """Return a writer of one frame that ends in a checksum."""
    return _ZstdWriter(sink, int(options["level"]), at_once)  # type: ignore[arg-type]


@hookimpl
def decompress(stream: Reader) -> Reader:
    """Return a reader of one or more frames.

    Raises:
        IntegrityError: from ``read``, where the data is truncated, damaged, or followed by other bytes.
    """
    library = _library()
    return FramedReader(stream, library.ZstdDecompressor, library.ZstdError, "zstd")


def _library() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        raise DependencyError('the zstd compressor needs backports.zstd: pip install "dumpty[zstd]"') from error
    return zstd


class _ZstdWriter:
    def __init__(self, sink: ByteSink, level: int, at_once: int) -> None:
        from dumpty.process import processors

        library = _library()
        parameter = library.CompressionParameter
        self._sink = sink
        options = {parameter.compression_level: level, parameter.checksum_flag: 1}
        # One worker would only copy; a library built without threads allows none.
        threads = processors(_MOST_THREADS * at_once) // at_once
        if threads > 1 and parameter.nb_workers.bounds()[1] >= threads:
            options |= {parameter.nb_workers: threads, parameter.job_size: _JOB_BYTES}
        self._frame = library.ZstdCompressor(options=options)
        self._closed = False

    def write(self, data: Buffer) -> int:
        if self._closed:
            raise ValueError("write to a closed zstd stream")
        if compressed := self._frame.compress(data):
            self._sink.write(compressed)
        return memoryview(data).nbytes

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._sink.write(self._frame.flush())
