"""Misspells a hook."""

from __future__ import annotations

from dumpty import Evidence, Format, PluginInfo, hookimpl


@hookimpl
def describe():
    return PluginInfo(kind="driver", schemes=("misspelt",), formats=(Format(name="sql", suffix=".sql"),))


@hookimpl
def backup(source, sink):
    sink.write(b"misspelt dump of " + source.database.encode())
    return Evidence()


@hookimpl
def restoer(target, dump):
    return Evidence()
