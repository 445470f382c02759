"""Hangs for a moment when it is imported."""

from __future__ import annotations

import time

from dumpty import Evidence, Format, PluginInfo, hookimpl

time.sleep(0.6)


@hookimpl
def describe():
    return PluginInfo(kind="driver", schemes=("slow",), formats=(Format(name="sql", suffix=".sql"),))


@hookimpl
def backup(source, sink):
    sink.write(b"slow dump of " + source.database.encode())
    return Evidence()
