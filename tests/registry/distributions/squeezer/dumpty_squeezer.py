"""A compressor that wraps bytes in nothing but a marker, and a verifier: both are fine, until they are uninstalled."""

from __future__ import annotations

import hashlib

from dumpty import PluginInfo, hookimpl


class Compressor:
    @hookimpl
    def describe(self):
        return PluginInfo(kind="compressor", suffix=".sq")

    @hookimpl
    def compress(self, sink):
        sink.write(b"!")
        return Writer(sink)

    @hookimpl
    def decompress(self, stream):
        assert stream.read(1) == b"!"
        return stream


class Writer:
    def __init__(self, sink):
        self.write = sink.write

    def close(self):
        pass


class Verifier:
    @hookimpl
    def describe(self):
        return PluginInfo(kind="verifier")

    @hookimpl
    def verify(self):
        return hashlib.blake2b()


COMPRESSOR, VERIFIER = Compressor(), Verifier()
