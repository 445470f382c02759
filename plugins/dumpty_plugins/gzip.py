"""The compressor ``gzip``: RFC 1952, by ISA-L where it has a wheel and zlib elsewhere.

ISA-L's level 2 (the default here) is about ten times as fast as zlib's level 6, for some 5 % more bytes. Levels 4
to 9 are zlib's own. Any gzip reads the result.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

from dumpty import FramedReader, Option, PluginInfo, hookimpl

if TYPE_CHECKING:
    from dumpty import Buffer, ByteSink, Options, Reader, Writer

_ISAL_LEVELS = 3
# No file name and no time: equal input gives equal output. 255 is "unknown system".
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(
        kind="compressor",
        summary="gzip, readable everywhere",
        suffix=".gz",
        options=(
            Option(
                name="level",
                default=2,
                choices=tuple(range(10)),
                help="0 to 3: ISA-L, fast (zlib where ISA-L is missing); 4 to 9: zlib, smaller and slower",
                verbs=("compress",),
            ),
        ),
    )


@hookimpl
def compress(sink: ByteSink, options: Options) -> Writer:
    """Return a writer of one gzip member."""
    return _GzipWriter(sink, int(options["level"]))  # type: ignore[arg-type]


@hookimpl
def decompress(stream: Reader) -> Reader:
    """Return a reader of gzip data, of one or more members.

    Raises:
        IntegrityError: from ``read``, where the data is no gzip, is truncated, damaged, or followed by other bytes.
    """
    try:
        from isal import igzip_lib
    except ImportError:
        return FramedReader(stream, _ZlibMember, zlib.error, "gzip")
    errors: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # isal's stub has an instance here
    return FramedReader(stream, lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), errors, "gzip")


def _isal() -> Any:
    try:
        from isal import isal_zlib
    except ImportError:  # no wheel for this machine
        return None
    return isal_zlib


class _GzipWriter:
    def __init__(self, sink: ByteSink, level: int) -> None:
        isal = _isal() if level <= _ISAL_LEVELS else None
        library = isal or zlib
        self._sink = sink
        self._crc: Any = library.crc32
        self._value = 0
        self._size = 0
        self._deflate = library.compressobj(level, library.DEFLATED, -zlib.MAX_WBITS)
        self._started = False
        self._closed = False

    def write(self, data: Buffer) -> int:
        if self._closed:
            raise ValueError("write to a closed gzip stream")
        self._start()
        view = memoryview(data).cast("B")
        self._value = self._crc(view, self._value)
        self._size += len(view)
        if packed := self._deflate.compress(view):
            self._sink.write(packed)
        return len(view)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._start()
        trailer = struct.pack("<LL", self._value & 0xFFFFFFFF, self._size & 0xFFFFFFFF)
        self._sink.write(self._deflate.flush() + trailer)

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._sink.write(_HEADER)


class _ZlibMember:
    """One gzip member through zlib, in the shape of the standard library's other decompressors."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max(max_length, 0))
