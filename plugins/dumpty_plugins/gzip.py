"""The compressor ``gzip``: RFC 1952, by ISA-L where it has a wheel and zlib elsewhere.

ISA-L's level 2 (the default here) is about ten times as fast as zlib's level 6, for some 5 % more bytes. Levels 4
to 9 are zlib's own. Any gzip reads the result. Compression uses the processors that this process may run on, up to
four of them.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dumpty import FramedReader, Option, PluginInfo, hookimpl

if TYPE_CHECKING:
    from concurrent.futures import Future

    from dumpty import Buffer, ByteSink, Options, Reader, Writer

_ISAL_LEVELS = 3
_BLOCK = 1 << 20
"""Bytes compressed at a time, by one thread."""
_WINDOW = 1 << 15
"""How far back deflate refers, in bytes."""
_MOST_THREADS = 4
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
def compress(sink: ByteSink, options: Options, at_once: int) -> Writer:
    """Return a writer of one gzip member."""
    return _GzipWriter(sink, int(options["level"]), at_once)  # type: ignore[arg-type]


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
    """Writes one member, blocks of it compressed side by side.

    As pigz does it (https://zlib.net/pigz/pigz.pdf): each block begins with the end of the one before as its dictionary
    and ends on a byte, so that the blocks one after another are one deflate stream. Everything is written by whoever
    calls, who therefore sees every error where it happens.
    """

    def __init__(self, sink: ByteSink, level: int, at_once: int) -> None:
        from dumpty.process import processors

        self._sink = sink
        self._level = level
        self._library: Any = (_isal() if level <= _ISAL_LEVELS else None) or zlib
        self._crc = self._size = 0
        self._block = bytearray()
        self._window = b""
        self._threads = max(processors(_MOST_THREADS * at_once) // at_once, 1)
        self._pool: ThreadPoolExecutor | None = None
        self._compressed_blocks: deque[Future[bytes]] = deque()
        self._started = False
        self._closed = False

    def write(self, data: Buffer) -> int:
        if self._closed:
            raise ValueError("write to a closed gzip stream")
        self._start()
        view = memoryview(data).cast("B")
        self._crc = self._library.crc32(view, self._crc)
        self._size += len(view)
        rest = view
        while rest:
            room = _BLOCK - len(self._block)
            self._block += rest[:room]
            rest = rest[room:]
            if len(self._block) == _BLOCK:
                self._submit_block()
        return len(view)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._start()
        while self._compressed_blocks:
            self._write_next_block()
        if self._pool is not None:
            self._pool.shutdown()
        trailer = struct.pack("<LL", self._crc & 0xFFFFFFFF, self._size & 0xFFFFFFFF)
        self._sink.write(self._deflate(self._block, self._window, zlib.Z_FINISH) + trailer)

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._sink.write(_HEADER)

    def _submit_block(self) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="dumpty-gzip")
        block, self._block = self._block, bytearray()
        self._compressed_blocks.append(self._pool.submit(self._deflate, block, self._window, zlib.Z_SYNC_FLUSH))
        self._window = bytes(memoryview(block)[-_WINDOW:])
        if len(self._compressed_blocks) > self._threads:
            self._write_next_block()

    def _write_next_block(self) -> None:
        try:
            self._sink.write(self._compressed_blocks.popleft().result())
        except BaseException:
            if self._pool is not None:  # whoever keeps the error keeps this writer, but not its threads
                self._pool.shutdown(wait=False)
                self._pool = None
            raise

    def _deflate(self, block: bytearray, window: bytes, end: int) -> bytes:
        dictionary = {"zdict": window} if window else {}
        deflate = self._library.compressobj(self._level, self._library.DEFLATED, -zlib.MAX_WBITS, **dictionary)
        return b"".join((deflate.compress(block), deflate.flush(end)))


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
