"""``dumpty plugins`` and ``dumpty plugins show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import Json, Quiet  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.output import Line, Report, Table, count, seconds
from dumpty.cli.plugin_description import as_json, condition, kind_text, with_declarations
from dumpty.registry.plugin import AUTO
from dumpty.registry.suggestions import did_you_mean

if TYPE_CHECKING:
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Option

EXAMPLES = """
dumpty plugins
dumpty plugins show postgres
dumpty plugins new newdb --kind driver
dumpty plugins check zstd
"""

_SLOW = 0.5
"""Seconds that loading a plugin may take, before the list says so."""


def plugins(json: Json = False, quiet: Quiet = False) -> Report:
    """List the plugins, and whether they work.

    What each is for, where it comes from, and why it does not work where it does not.
    """
    from dumpty.registry.host import default_host
    from dumpty.replies.verbs import PluginsReply

    all_plugins = default_host().plugins()
    conditions = [(p, *condition(p)) for p in all_plugins]
    rows = [(kind_text(p), p.name, _served_names(p), _origin(p), state) for p, state, _ in conditions]
    lines: list[Line] = [Table(("KIND", "NAME", "FOR", "FROM", "STATE"), rows)]
    lines += [f"{p.name}: {reason}" for p, _, reason in conditions if reason]
    lines += [f"{p.name}: {_slowness(p)}" for p in all_plugins if p.seconds > _SLOW]
    reply = PluginsReply(plugins=[as_json(p) for p in all_plugins])
    return Report(reply=reply, lines=lines, json=json, quiet=quiet, only_prints=True)


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name.")],
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Show one plugin, its formats and its options.

    Options are given to the other commands as -o KEY=VALUE, or -o NAME.KEY=VALUE where two plugins have the same. A
    backup is written in the format that is marked (auto), unless you say --format NAME.
    """
    from dumpty.errors import PluginNotFound
    from dumpty.registry.host import default_host
    from dumpty.replies.verbs import ShowPluginReply

    all_plugins = default_host().plugins()
    matches = [p for p in all_plugins if p.name == name]
    if not matches:
        names = sorted({p.name for p in all_plugins})
        raise PluginNotFound(
            f"no plugin is called {name!r}; installed: {', '.join(names) or 'none'}.{did_you_mean(name, names)}"
        )
    lines: list[Line] = []
    for plugin in matches:
        lines += [*([""] if lines else []), *_details(plugin)]
    return Report(
        reply=ShowPluginReply(plugins=[with_declarations(p) for p in matches]),
        lines=lines,
        json=json,
        quiet=quiet,
        only_prints=True,
    )


def _slowness(plugin: Plugin) -> str:
    return (
        f"{plugin} took {seconds(plugin.seconds)} to load, and every command waits for that; "
        f"DUMPTY_DISABLE_PLUGINS={plugin.distribution}:{plugin.name} leaves it out"
    )


def _served_names(plugin: Plugin) -> str:
    if plugin.info is None:
        return ""
    return " ".join([*(f"{s}://" for s in plugin.info.schemes), *([plugin.info.suffix] if plugin.info.suffix else [])])


def _origin(plugin: Plugin) -> str:
    return f"{plugin.distribution} {plugin.version}".rstrip()


def _details(plugin: Plugin) -> list[Line]:
    info = plugin.info
    state, reason = condition(plugin)
    lines: list[Line] = [f"{plugin.name}: {plugin.kind or 'plugin'} of {_origin(plugin)}, {state}"]
    if reason:
        lines.append(f"  {reason}")
    if info is None:
        return lines
    if info.summary:
        lines.append(f"  {info.summary}")
    if _served_names(plugin):
        lines.append(f"  for {_served_names(plugin)}")
    if info.requires:
        lines.append(f'  its library: pip install "{info.requires}"')
    if info.formats:
        suits = plugin.formats(AUTO)[0]
        rows = [(f"  {f.name}" + (" (auto)" if f is suits else ""), f.suffix, f.help) for f in info.formats]
        lines += ["", Table(("FORMAT", "SUFFIX", "WHAT IT IS"), rows)]
    if info.options:
        options = [
            (f"  {o.name}", type(o.default).__name__, _default(o), ", ".join(o.verbs), _help(o)) for o in info.options
        ]
        lines += ["", Table(("OPTION (-o)", "TYPE", "DEFAULT", "FOR", "WHAT IT DOES"), options)]
    else:
        lines.append(f"  {count(0, 'option')}")
    return lines


def _default(option: Option) -> str:
    value = option.default
    if isinstance(value, bool):
        return "on" if value else "off"
    return (",".join(value) if isinstance(value, list) else str(value)) or '""'


def _help(option: Option) -> str:
    choices = f" (one of {', '.join(map(str, option.choices))})" if option.choices else ""
    return option.help + choices
