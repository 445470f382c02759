"""Which repository a path or a URL means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.repository.plain import PlainRepository

if TYPE_CHECKING:
    from dumpty.registry.host import Host
    from dumpty.types import Repository

__all__ = ["open_repository"]


def open_repository(host: Host, url: str) -> Repository:
    """Open the repository behind a URL, or in a directory, creating it where it does not exist.

    A plugin that brings a layout of its own answers with it (hook ``open_repository``); every other place is a store,
    and holds dumpty's own.

    Raises:
        PluginNotFound: no plugin answers the URL's scheme.
        DumptyError: it cannot be opened.
    """
    plugin = host.store(url)
    options = host.options({"open_store": plugin}, {})["open_store"]
    if host.can(plugin, "open_repository"):
        return host.open_repository(plugin, url=url, options=options)
    return PlainRepository(host.open_store(plugin, url=url, options=options))
