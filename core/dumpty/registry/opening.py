"""What a URL leads to, opened: stores and repositories, those who are told, and ways to servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from dumpty.redaction import redact_exception
from dumpty.registry.picking import by_any_scheme, by_scheme
from dumpty.registry.returned import REPOSITORY, STORE, TRANSPORT
from dumpty.url import secrets_in

if TYPE_CHECKING:
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Notifier, Options, Repository, Store, Transport

__all__ = ["Opener"]


class Opener:
    """The part of a host that picks plugins by a URL, and lets them open it."""

    _plugins: list[Plugin]

    def _call(self, plugin: Plugin, hook: str, expected: Any, **arguments: object) -> Any:
        raise NotImplementedError

    def store(self, url: str) -> Plugin:
        """Return the store that answers a URL; a plain path is the scheme ``file``."""
        scheme, colon, _ = url.partition("://")
        return by_scheme(self._plugins, "store", scheme.lower() if colon else "file")

    def notifier(self, url: str) -> Plugin:
        """Return the notifier that answers a URL's scheme; one for ``*`` where no other does.

        Raises:
            PluginNotFound: nobody does, or it is no URL.
            PluginConflict, PluginLoadError: as they say.
        """
        return by_any_scheme(self._plugins, "notifier", url.partition("://")[0].lower() if "://" in url else "")

    def transport(self, url: str) -> Plugin:
        """Return the transport that answers a URL's scheme.

        Raises:
            PluginNotFound, PluginConflict, PluginLoadError: as they say.
        """
        return by_scheme(self._plugins, "transport", url.partition("://")[0].lower())

    def open_store(self, plugin: Plugin, *, url: str, options: Options) -> Store:
        """Call ``open_store``."""
        return cast("Store", self._open(plugin, "open_store", STORE, url=url, options=options))

    def open_notifier(self, plugin: Plugin, *, url: str, secret: str = "") -> Notifier:
        """Call ``open_notifier``."""
        return cast("Notifier", self._open(plugin, "open_notifier", ("send",), url=url, secret=secret))

    def open_transport(self, plugin: Plugin, *, url: str) -> Transport:
        """Call ``open_transport``."""
        return cast("Transport", self._open(plugin, "open_transport", TRANSPORT, url=url))

    def open_repository(self, plugin: Plugin, *, url: str, options: Options) -> Repository:
        """Call ``open_repository``."""
        return cast("Repository", self._open(plugin, "open_repository", REPOSITORY, url=url, options=options))

    def _open(self, plugin: Plugin, hook: str, methods: tuple[str, ...], *, url: str, **arguments: object) -> object:
        try:
            return self._call(plugin, hook, methods, url=url, **arguments)
        except Exception as error:
            redact_exception(error, [*secrets_in(url), *(v for v in arguments.values() if isinstance(v, str))])
            raise
