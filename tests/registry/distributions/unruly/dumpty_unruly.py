"""Drivers that do in ``backup`` what none may; each is named after it."""

from __future__ import annotations

import contextlib
import os
import sys

from dumpty import Evidence, Format, PluginInfo, hookimpl


class Driver:
    def __init__(self, scheme, end):
        self.scheme = scheme
        self.end = end

    @hookimpl
    def describe(self):
        return PluginInfo(kind="driver", schemes=(self.scheme,), formats=(Format(name="sql", suffix=".sql"),))

    @hookimpl
    def backup(self, source, sink):
        sink.write(b"a dump that looks whole\n" * 20_000)
        return self.end(sink)


def swallow(sink):
    for _ in range(100):
        with contextlib.suppress(Exception):
            sink.write(os.urandom(100_000))
    return Evidence()


NONE = Driver("none", lambda sink: None)
WRONG = Driver("wrong", lambda sink: True)
QUITS = Driver("quits", lambda sink: sys.exit(0))
DIES = Driver("dies", lambda sink: os._exit(7))
SWALLOWS = Driver("swallows", swallow)
