"""Claims the scheme that the sqlite driver has."""

from __future__ import annotations

from dumpty import Evidence, Format, PluginInfo, hookimpl


@hookimpl
def describe():
    return PluginInfo(kind="driver", schemes=("sqlite",), formats=(Format(name="sql", suffix=".sql"),))


@hookimpl
def backup(source, sink):
    sink.write(b"sqlite dump of " + source.database.encode())
    return Evidence()
