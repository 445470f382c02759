"""``dumpty help``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumpty.cli.arguments import Json  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.manual_page import Page
from dumpty.cli.output import Line, Report, Table
from dumpty.cli.status import UsageError
from dumpty.registry.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.resources.abc import Traversable

    from dumpty.replies.values import Topic

EXAMPLES = """
dumpty help
dumpty help restoring
dumpty help prune
"""

_ORDER = (
    "getting-started",
    "first-week",
    "databases",
    "reach",
    "restoring",
    "verification",
    "trying",
    "pytest",
    "configuration",
    "schedules",
    "alarms",
    "page",
    "metrics",
    "fleets",
    "retention",
    "shrinking",
    "s3",
    "gcs",
    "objectstore",
    "copies",
    "sftp",
    "encryption",
    "signatures",
    "machine-gone",
    "rights",
    "trust",
    "promises",
    "speed",
    "json",
    "plugins",
    "reference",
)


_FENCE_NOTE = re.compile(r"(?m)^(```\w+) .*$")
"""What stands beside a block's language is for the tests."""


def _complete(incomplete: str) -> list[str]:
    return [topic for topic in _pages() if topic.startswith(incomplete)]


_Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TOPIC]", help="A page of the manual, or a command: `plugins new`.", autocompletion=_complete
    ),
]


def help_(ctx: typer.Context, topic: _Words = None, json: Json = False) -> Report:
    """Show a page of the manual, or list its pages.

    On a terminal a page is drawn, and shown through $PAGER or less; elsewhere it is printed as Markdown. Of a command,
    its --help is shown.
    """
    pages = _pages()
    if not topic:
        return _topics(pages, json=json)
    name = " ".join(topic)
    if name in pages:
        text = _FENCE_NOTE.sub(r"\1", pages[name].read_text(encoding="utf-8"))
        return _report([_topic(name, _title(text), text)], [Page(text)], json=json)
    text = _command_help(ctx, topic, pages)
    return _report([_topic(name, f"dumpty {name} --help", text)], text.splitlines(), json=json)


def _topic(name: str, title: str, text: str = "") -> Topic:
    from dumpty.replies.values import Topic

    return Topic(topic=name, title=title, text=text)


def _report(topics: list[Topic], lines: Sequence[Line], *, json: bool) -> Report:
    from dumpty.replies.verbs import HelpReply

    return Report(reply=HelpReply(topics=topics), lines=lines, json=json, only_prints=True)


def _pages() -> dict[str, Traversable]:
    """Return the manual's pages by topic, in the order in which a newcomer reads them."""
    from importlib import resources

    found = {
        page.name.removesuffix(".md"): page
        for page in resources.files("dumpty").joinpath("manual").iterdir()
        if page.name.endswith(".md")
    }
    return {topic: found[topic] for topic in (*_ORDER, *sorted(set(found) - set(_ORDER))) if topic in found}


def _title(text: str) -> str:
    return text.partition("\n")[0].lstrip("# ")


def _topics(pages: dict[str, Traversable], *, json: bool) -> Report:
    titles = {name: _title(page.read_text(encoding="utf-8")) for name, page in pages.items()}
    rows = [(name, title.partition(": ")[2] or title) for name, title in titles.items()]
    lines: list[Line] = [Table(("TOPIC", "WHAT IS IN IT"), rows), "", "dumpty help TOPIC shows a page"]
    return _report([_topic(name, title) for name, title in titles.items()], lines, json=json)


def _command_help(ctx: typer.Context, words: list[str], topics: dict[str, Traversable]) -> str:
    """Return what ``--help`` says of the command that ``words`` name.

    Raises:
        UsageError: there is none.
    """
    context: Any = ctx.find_root()
    for word in words:
        commands = getattr(context.command, "commands", {})
        if word not in commands:
            names = [*commands, *(topics if context.parent is None else ())]
            text = f"there is no page and no command called {' '.join(words)!r}.{did_you_mean(word, names)}"
            raise UsageError(f"{text} See dumpty help")
        context = type(context)(commands[word], info_name=word, parent=context)
    return str(context.get_help())
