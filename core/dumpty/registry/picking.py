"""Which of several plugins serves: by a URL's scheme, or by kind and name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dumpty.errors import PluginConflict, PluginLoadError, PluginNotFound
from dumpty.registry.plugin import WATCHING
from dumpty.registry.suggestions import did_you_mean, known_plugin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.registry.plugin import Plugin
    from dumpty.types import Kind

__all__ = ["DISABLE", "by_any_scheme", "by_name", "by_scheme", "require_ok", "with_conflicts"]

ANY = "*"
"""The scheme of a notifier that answers all that no other does."""

DISABLE = "DUMPTY_DISABLE_PLUGINS"
"""The environment variable that blocks plugins."""


def by_name(plugins: Sequence[Plugin], kind: Kind, name: str) -> Plugin:
    """Return the plugin of a kind by its name.

    Raises:
        PluginNotFound, PluginConflict, PluginLoadError: as they say.
    """
    found = [p for p in plugins if p.name == name and p.kind in {kind, ""} and p.state not in WATCHING]
    if not found:
        names = sorted(p.name for p in plugins if p.kind == kind)
        raise PluginNotFound(
            f"no {kind} is called {name!r}; installed: {', '.join(names) or 'none'}."
            + (did_you_mean(name, names) or known_plugin(kind, name))
        )
    return require_ok(plugins, [p for p in found if p.kind == kind] or found)


def by_scheme(plugins: Sequence[Plugin], kind: Kind, scheme: str) -> Plugin:
    """Return the plugin of a kind that answers a scheme.

    Raises:
        PluginNotFound, PluginConflict, PluginLoadError: as they say.
    """
    found = [p for p in plugins if p.info and p.kind == kind and scheme in p.info.schemes]
    # A plugin that failed to load has told no schemes: by convention it is named after one.
    broken = [p for p in plugins if p.state in {"failed", "blocked"} and not p.info and p.name == scheme]
    if found or broken:
        return require_ok(plugins, found or broken)
    schemes = sorted({s for p in plugins if p.info and p.kind == kind for s in p.info.schemes})
    failed = [str(p) for p in plugins if p.state == "failed"]
    raise PluginNotFound(
        f"no {kind} answers the scheme {scheme!r}; installed: {', '.join(schemes) or 'none'}."
        + (did_you_mean(scheme, schemes) or known_plugin(kind, scheme))
        + (f" Not loaded: {', '.join(failed)}; see dumpty plugins" if failed else "")
    )


def by_any_scheme(plugins: Sequence[Plugin], kind: Kind, scheme: str) -> Plugin:
    """Return the plugin of a kind that answers a scheme, or else the one that answers all others (``*``).

    Raises:
        PluginNotFound, PluginConflict, PluginLoadError: as they say.
    """
    try:
        return by_scheme(plugins, kind, scheme)
    except PluginNotFound:
        if not scheme or not any(p.info and p.kind == kind and ANY in p.info.schemes for p in plugins):
            raise
    return by_scheme(plugins, kind, ANY)


def require_ok(plugins: Sequence[Plugin], candidates: Sequence[Plugin]) -> Plugin:
    """Return the first of ``candidates``, if it can serve.

    Raises:
        PluginConflict, PluginLoadError: as they say.
    """
    plugin = with_conflicts(plugins, candidates[0])
    if plugin.state == "ok":
        return plugin
    error = {"conflict": PluginConflict}.get(plugin.state, PluginLoadError)
    raise error(plugin.error, plugin=str(plugin), hook="describe")


def with_conflicts(plugins: Sequence[Plugin], plugin: Plugin) -> Plugin:
    """Return ``plugin`` with state conflict where another one claims its name or one of its schemes."""
    if plugin.state != "ok" or plugin.info is None:
        return plugin
    for other in plugins:
        if other is plugin or other.state != "ok" or other.info is None or other.kind != plugin.kind:
            continue
        shared_schemes = sorted({*plugin.info.schemes} & {*other.info.schemes})
        claim = f"the name '{plugin.name}'" if other.name == plugin.name else ""
        claim = claim or (f"the scheme {shared_schemes[0]!r}" if shared_schemes else "")
        if claim:
            text = (
                f"{plugin} and {other} both claim {claim}; uninstall one, "
                f"or set {DISABLE}={other.distribution}:{other.name}"
            )
            return replace(plugin, state="conflict", error=text)
    return plugin
