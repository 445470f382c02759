"""Plugins as JSON values, and the state that they are in: what ``plugins`` and ``doctor`` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from dumpty.cli.environment import missing
from dumpty.registry.plugin import WATCHING

if TYPE_CHECKING:
    from dumpty.registry.plugin import Plugin
    from dumpty.replies import values


def condition(plugin: Plugin) -> tuple[str, str]:
    """Return the state of a plugin and why it is in it: one that was loaded, but lacks a library, is incomplete."""
    lacks = missing(plugin)
    return ("incomplete", lacks) if lacks else (plugin.state, plugin.error)


def kind_text(plugin: Plugin) -> str:
    """Return a plugin's kind: "-" where it serves nothing and only watches, "?" where that is not known."""
    return plugin.kind or ("-" if plugin.state in WATCHING else "?")


def as_json(plugin: Plugin) -> values.Plugin:
    """Return what is known of a plugin, as a JSON value."""
    from dumpty.replies import values

    return values.Plugin(**_keys(plugin))


def with_declarations(plugin: Plugin) -> values.ShownPlugin:
    """Return a plugin with its formats and options, as a JSON value."""
    from dumpty.replies import values

    info = plugin.info
    formats = [
        values.Format(name=f.name, suffix=f.suffix, directory=f.directory, help=f.help)
        for f in (info.formats if info else ())
    ]
    options = [
        values.Option(
            name=o.name,
            type=cast("Any", type(o.default).__name__),
            default=o.default,
            choices=list(o.choices),
            verbs=list(o.verbs),
            help=o.help,
        )
        for o in (info.options if info else ())
    ]
    requires = info.requires if info else ""
    return values.ShownPlugin(**_keys(plugin), formats=formats, options=options, requires=requires)


def _keys(plugin: Plugin) -> dict[str, Any]:
    """Return what every JSON value of a plugin has."""
    info = plugin.info
    state, error = condition(plugin)
    return {
        "name": plugin.name,
        "kind": plugin.kind or None,
        "schemes": list(info.schemes) if info else [],
        "suffix": info.suffix if info else "",
        "summary": info.summary if info else "",
        "distribution": plugin.distribution,
        "version": plugin.version,
        "state": state,
        "error": error or None,
        "load_seconds": round(plugin.seconds, 3),
    }
