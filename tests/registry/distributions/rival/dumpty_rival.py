"""Claims the name that dumpty-newdb has."""

from __future__ import annotations

from dumpty import Evidence, Format, PluginInfo, hookimpl


@hookimpl
def describe():
    return PluginInfo(kind="driver", schemes=("rivaldb",), formats=(Format(name="sql", suffix=".sql"),))


@hookimpl
def backup(source, sink):
    sink.write(b"rivaldb dump of " + source.database.encode())
    return Evidence()
