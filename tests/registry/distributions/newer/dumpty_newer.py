"""Carries a hook of a later dumpty, and says that it may be unknown."""

from __future__ import annotations

from dumpty import Evidence, Format, PluginInfo, hookimpl


@hookimpl
def describe():
    return PluginInfo(kind="driver", schemes=("newer",), formats=(Format(name="sql", suffix=".sql"),))


@hookimpl
def backup(source, sink):
    sink.write(b"newer dump of " + source.database.encode())
    return Evidence()


@hookimpl(optionalhook=True)
def rehearse(source):
    return None
