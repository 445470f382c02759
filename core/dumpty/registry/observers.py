"""Telling a plugin of an event: whatever it does is its own affair, except for an interrupt."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dumpty.redaction import one_line, redact
from dumpty.registry.plugin import plugin_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dumpty.registry.plugin import Plugin

__all__ = ["tell"]

_log = logging.getLogger("dumpty")


def tell(plugin: Plugin, call: Callable[[], list[object]], secrets: Iterable[str]) -> None:
    """Call the ``finished`` of one plugin; what it raises or returns is logged under its name, and fails nothing.

    Raises:
        KeyboardInterrupt, SystemExit: what the handler of a signal raised meanwhile.
    """
    try:
        results = call()
    except BaseException as error:
        failure = plugin_failure(error, plugin, "finished")
        if failure is error and isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        text = one_line(failure)
        text = text if str(plugin) in text else f"{plugin} failed in finished: {type(failure).__name__}: {text}"
        _warn(plugin, redact(text, secrets), type(error).__name__)
    else:
        if results:
            kind = type(results[0]).__name__
            _warn(plugin, f"{plugin} returned {kind} from finished, which returns nothing", kind)


def _warn(plugin: Plugin, text: str, error_type: str) -> None:
    fields = {"plugin": plugin.name, "distribution": plugin.distribution, "error_type": error_type}
    _log.warning("%s", text, extra={"event": "observer-failed", **fields})
