"""``dumpty plugins check``: the conformance suite, run against an installed plugin."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from dumpty.cli.arguments import Json, Kind, Quiet
from dumpty.cli.output import Line, Report, count, say
from dumpty.cli.status import UsageError
from dumpty.cli.urls import read_url, watch
from dumpty.errors import PluginError
from dumpty.registry.suggestions import did_you_mean

if TYPE_CHECKING:
    from dumpty.replies.verbs import CheckPluginReply
    from dumpty.testing.check import Verdict

EXAMPLES = """
dumpty plugins check zstd
dumpty plugins check newdb --source newdb://localhost/shop --target newdb://localhost/scratch
dumpty plugins check newplace --url newplace://bucket/tests
"""


def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name, as `dumpty plugins` lists it.")],
    kind: Annotated[
        Kind | None, typer.Option("--kind", "-k", help="Needed where plugins of several kinds have that name.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="For a driver: a small database with content, which nobody changes meanwhile. It is only read.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "--url",
            metavar="URL",
            help="For a driver: a database that does not exist; others are made beside it, and left. "
            "For a store: a place, in a folder of which it is tested, and which is left as it was; "
            "of a layout of its own, no backups are left.",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Prove that an installed plugin keeps the rules of its kind.

    Runs the conformance suite of dumpty.testing, and says of every rule whether it is kept, broken (and what to do),
    or could not be proved here (and why). Needs pytest: pip install "dumpty[testing]".
    """
    from dumpty.testing.check import check as run

    chosen = _kind(name, kind)
    if source is not None and chosen != "driver":
        raise UsageError(f"only a driver is checked with --source, and {name} is a {chosen}")
    if target is not None and chosen not in {"driver", "store"}:
        raise UsageError(f"only drivers and stores are checked with --target, and {name} is a {chosen}")
    source_url = None if source is None else read_url(source)[0]
    target_url = None if target is None else _store_url(target) if chosen == "store" else read_url(target)[0]
    if not (json or quiet) and sys.stderr.isatty():
        say(f"checking the {chosen} {name}; this may take minutes…")
    return _report(run(name, chosen, source_url, target_url), json=json, quiet=quiet)


def _store_url(text: str) -> str:
    """Return where a store is: a path, or its URL; ``file:///path`` is one, and ``file:path`` a file that holds one."""
    if "://" in text.partition(" ")[0] or not text.startswith(("env:", "file:", "cmd:", "-")):
        watch([text])
        return text
    return read_url(text)[0]


def _kind(name: str, requested: Kind | None) -> Kind:
    """Return the kind of the plugin called ``name``.

    Raises:
        UsageError: plugins of several kinds are.
        PluginNotFound, PluginLoadError, PluginConflict: as they say.
    """
    from dumpty.registry.host import default_host

    host = default_host()
    kinds: list[Kind] = [requested] if requested else [k for k in get_args(Kind) if _has_kind(name, k)]
    if len(kinds) > 1:
        raise UsageError(f"plugins of several kinds are called {name}: {', '.join(kinds)}; say which with --kind")
    if kinds:
        host.named(kinds[0], name)
        return kinds[0]
    plugin = next((p for p in host.plugins() if p.name == name), None)
    if plugin is None or not plugin.error:
        names = sorted({p.name for p in host.plugins()})
        problem = (
            f"{plugin} only watches, and there is no suite for that" if plugin else f"no plugin is called {name!r}"
        )
        close = "" if plugin else did_you_mean(name, names)
        raise UsageError(f"{problem}; installed: {', '.join(names) or 'none'}.{close}")
    host.named("driver", name)
    raise PluginError(plugin.error, plugin=str(plugin), hook="describe")


def _has_kind(name: str, kind: str) -> bool:
    from dumpty.registry.host import default_host

    return any(p.name == name and p.kind == kind for p in default_host().plugins())


def _report(verdict: Verdict, *, json: bool, quiet: bool) -> Report:
    broken = verdict.of("broken")
    lines: list[Line] = [f"{verdict.kind}: {verdict.plugin}"]
    lines += [f"  ok      {rule.rule}" for rule in verdict.of("kept")]
    for reason in dict.fromkeys(rule.reason for rule in verdict.of("unproved")):
        lines.append(f"not proved here: {reason}")
        lines += [f"  -       {rule.rule}" for rule in verdict.of("unproved") if rule.reason == reason]
    # What needs attention stands last, where it is read.
    for rule in broken:
        lines += [f"  BROKEN  {rule.rule}", f"          {rule.reason}"]
    lines += [f"left, and yours to remove: {url}" for url in verdict.remaining_databases]
    kept_count, unproved_count = len(verdict.of("kept")), len(verdict.of("unproved"))
    counts = [f"{count(kept_count, 'rule')} kept", f"{len(broken)} broken", f"{unproved_count} not proved here"]
    advice = "; --source URL and --target URL prove more" if any("--source" in r.reason for r in verdict.rules) else ""
    lines.append(", ".join(counts) + advice)
    error: PluginError | None = None
    if broken:
        error = PluginError(f"{verdict.plugin} breaks {count(len(broken), 'rule')}, the first: {broken[0].rule}")
    elif not verdict.kept:
        error = PluginError(f"no rule of {verdict.plugin} could be proved here; the reasons are above")
    return Report(reply=_reply(verdict), lines=lines, error=error, json=json, quiet=quiet)


def _reply(verdict: Verdict) -> CheckPluginReply:
    from dumpty.replies.values import Rule
    from dumpty.replies.verbs import CheckPluginReply

    return CheckPluginReply(
        plugin=verdict.plugin,
        kind=verdict.kind,
        rules=[Rule(test=r.test, rule=r.rule, state=r.state, reason=r.reason) for r in verdict.rules],
        left=list(verdict.remaining_databases),
    )
