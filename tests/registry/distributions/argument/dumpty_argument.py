"""Asks for an argument that the hook has not."""

from __future__ import annotations

from dumpty import Evidence, Format, PluginInfo, hookimpl


@hookimpl
def describe():
    return PluginInfo(kind="driver", schemes=("argument",), formats=(Format(name="sql", suffix=".sql"),))


@hookimpl
def backup(source, sink):
    sink.write(b"argument dump of " + source.database.encode())
    return Evidence()


@hookimpl
def inspect(source, password):
    return password
