"""The store ``odd``: a plugin with a mistake in it."""

from __future__ import annotations

from dumpty import PluginInfo, hookimpl


@hookimpl
def describe():
    return PluginInfo(kind="store", schemes=("odd",), requires="never-heard-of[all]")


@hookimpl
def open_store(url):
    return Store(url)


class Store:
    def __init__(self, url):
        self.url = url

    def fails(self, *_):
        raise KeyError(self.url)

    capabilities = put = upload = get = open = stat = list = delete = now = locate = sweep = fails
