"""The store ``odd``: a plugin with a mistake in it."""

from __future__ import annotations

from dumpty import PluginInfo, hookimpl


@hookimpl
def describe():
    return PluginInfo(kind="store", schemes=("odd",))


@hookimpl
def open_store(url):
    return Store(url)


class Store:
    def __init__(self, url):
        self.url = url

    def list(self):
        raise KeyError(self.url)

    create = open = stat = rename = delete = lock = locate = clean = list
