"""Plugins as JSON values, and the state that they are in: what ``plugins`` and ``doctor`` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dumpty.cli.environment import missing
from dumpty.registry.plugin import WATCHING

if TYPE_CHECKING:
    from dumpty.registry.plugin import Plugin


def condition(plugin: Plugin) -> tuple[str, str]:
    """Return the state of a plugin and why it is in it: one that was loaded, but lacks a library, is incomplete."""
    lacks = missing(plugin)
    return ("incomplete", lacks) if lacks else (plugin.state, plugin.error)


def kind_text(plugin: Plugin) -> str:
    """Return a plugin's kind: "-" where it serves nothing and only watches, "?" where that is not known."""
    return plugin.kind or ("-" if plugin.state in WATCHING else "?")


def fields(plugin: Plugin) -> dict[str, Any]:
    """Return what is known of a plugin, as JSON values."""
    info = plugin.info
    state, error = condition(plugin)
    return {
        "name": plugin.name,
        "kind": plugin.kind,
        "schemes": list(info.schemes) if info else [],
        "suffix": info.suffix if info else "",
        "summary": info.summary if info else "",
        "distribution": plugin.distribution,
        "version": plugin.version,
        "state": state,
        "error": error,
        "seconds": round(plugin.seconds, 3),
    }
