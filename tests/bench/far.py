"""One verb on a repository 30 ms away: ``far.py VERB DIRECTORY`` prints the seconds it took, and the calls it made."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from platformdirs import user_cache_path

from dumpty import BackupManager, Cap, PluginInfo, hookimpl
from dumpty.registry.host import default_host
from dumpty.repository.retention import Rules

SECONDS = 0.03
CALLS = ("capabilities", "put", "upload", "get", "open", "stat", "list", "delete", "now", "sweep")
PAGE = 1000
"""As many names a call lists, or deletes, as object storage does."""


class Far:
    """The store ``far:///DIRECTORY``: that directory, as if it were no place on this machine, 30 ms away."""

    name = "far"

    def __init__(self) -> None:
        self.calls: list[int] = []  # appended to by several threads at once

    @hookimpl
    def describe(self) -> PluginInfo:
        return PluginInfo(kind="store", schemes=("far",))

    @hookimpl
    def open_store(self, url: str) -> Any:
        host = default_host()
        plugin = host.named("store", "file")
        options = host.options({"open_store": plugin}, {})["open_store"]
        return _FarStore(host.open_store(plugin, url=url.removeprefix("far://"), options=options), self)


class _FarStore:
    def __init__(self, store: Any, plugin: Far) -> None:
        self._store = store
        self._plugin = plugin

    def _wait(self, calls: int = 1) -> None:
        self._plugin.calls.append(calls)
        time.sleep(SECONDS * calls)

    def capabilities(self) -> Cap:
        return Cap(self._store.capabilities() & ~Cap.LOCAL | Cap.BATCH)

    def list(self, folder: str = "") -> Any:
        self._wait()
        for number, found in enumerate(self._store.list(folder), 1):
            if number % PAGE == 0:
                self._wait()
            yield found

    def delete(self, names: Any) -> None:
        names = list(names)
        self._wait(max(1, -(-len(names) // PAGE)))
        self._store.delete(names)

    def locate(self, name: str) -> str:
        return f"far:{name}"

    def __getattr__(self, name: str) -> Any:
        if name not in CALLS:
            raise AttributeError(name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._wait()
            return getattr(self._store, name)(*arguments, **options)

        return call


def main(verb: str, directory: str) -> None:
    """Measure one verb."""
    cold = verb.endswith(", cold")
    for path in user_cache_path("dumpty", appauthor=False).glob("*") if cold else ():
        os.unlink(path)
    plugin = Far()
    begun = time.perf_counter()
    manager = BackupManager(f"far://{directory}", plugins=[plugin])
    if verb.startswith("list"):
        assert len(manager.list_backups()) > 1
    elif verb.startswith("show latest"):
        assert manager.find("latest").id
    else:
        tenth = len(manager.list_backups()) // 10
        begun = time.perf_counter()
        plugin.calls.clear()
        assert len(manager.prune(Rules(keep=tenth)).removed) == tenth * 9
    print(time.perf_counter() - begun, sum(plugin.calls))


if __name__ == "__main__":
    main(*sys.argv[1:])
