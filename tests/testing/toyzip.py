"""A toy compressor on zlib, in small methods for the broken ones to override. It keeps every rule."""

from __future__ import annotations

import zlib

from dumpty import IntegrityError, PluginInfo, hookimpl


class Writer:
    def __init__(self, sink, level=1, wbits=15):
        self.sink = sink
        self.size = 0
        self.closes = 0
        self.deflate = zlib.compressobj(level, zlib.DEFLATED, wbits)

    def write(self, data):
        self.size += len(data)
        self.pass_on(self.deflate.compress(data))
        return len(data)

    def pass_on(self, data):
        if data:
            self.sink.write(data)

    def close(self):
        self.closes += 1
        if self.closes == 1:
            self.pass_on(self.deflate.flush())


class Reader:
    def __init__(self, stream, wbits=15):
        self.stream = stream
        self.inflate = zlib.decompressobj(wbits)
        self.bytes_read = 0
        self.error = None

    def read(self, size=-1):
        if self.error is not None:
            raise self.error
        try:
            return self.read_some(size) if size else b""
        except IntegrityError as error:
            self.error = error
            raise
        except zlib.error as error:
            self.error = self.damaged(error)
            raise self.error from None

    def read_some(self, size):
        blocks = []
        while not self.inflate.eof:
            data = self.inflate.unconsumed_tail or self.fill()
            if not data:
                self.finish()
                break
            block = self.inflate.decompress(data, self.limit(max(size, 0)))
            if block and size > 0:
                return block
            blocks.append(block)
        if self.inflate.eof and (self.trailing_bytes() or self.fill()):
            raise IntegrityError("something follows the end of the stream")
        return b"".join(blocks)

    def fill(self):
        data = self.stream.read(4096)
        self.bytes_read += len(data)
        return data

    def limit(self, size):
        return size

    def trailing_bytes(self):
        return self.inflate.unused_data

    def finish(self):
        raise IntegrityError("the stream is truncated")

    def damaged(self, error):
        return IntegrityError(f"the stream is damaged: {error}")

    def close(self):
        pass


class ToyZip:
    writer = Writer
    reader = Reader
    wbits = 15
    name = "toyzip"

    def info(self):
        return PluginInfo(kind="compressor", suffix=".toy")

    @hookimpl
    def describe(self):
        return self.info()

    @hookimpl
    def compress(self, sink):
        return self.writer(sink, 1, self.wbits)

    @hookimpl
    def decompress(self, stream):
        return self.reader(stream, self.wbits)


PLUGIN = ToyZip()
