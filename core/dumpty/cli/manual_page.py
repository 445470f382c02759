"""A page of the manual: drawn and paged on a terminal, plain Markdown elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Page", "show"]

_MAX_COLUMNS = 110
"""Lines that are longer are hard to read."""
_LINK_TO_PAGE = re.compile(r"\[([^]\[]+)\]\(([a-z-]+)\.md(?:#[\w-]+)?\)")
_LESS = "less -FRX"
"""Colours pass, and what fits on the screen is left there."""


class Page(NamedTuple):
    """Markdown of our own, which needs no escaping."""

    text: str

    def lines(self) -> list[str]:
        """Return the lines to print: drawn for a terminal, else the Markdown as it is."""
        return _drawn(self.text) if _on_terminal() else self.text.splitlines()


def show(lines: Sequence[str]) -> bool:
    """Show ``lines`` through the pager, and return whether there was one: on a terminal, where the user has one."""
    command = os.environ.get("PAGER", _LESS)
    program = command.partition(" ")[0]
    if not program or not shutil.which(program) or not _on_terminal() or not sys.stdin.isatty():
        return False
    import pydoc

    with _keyboard_to_pager():
        pydoc.pipepager("\n".join(lines) + "\n", command)
    return True


def _on_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _drawn(text: str) -> list[str]:
    from rich.console import Console
    from rich.markdown import Markdown

    text = _LINK_TO_PAGE.sub(
        lambda link: f"{'' if link[1] == link[2] else link[1] + ', '}`dumpty help {link[2]}`", text
    )
    drawn = io.StringIO()
    width = min(shutil.get_terminal_size().columns, _MAX_COLUMNS)
    console = Console(file=drawn, force_terminal=True, width=width, highlight=False)
    console.print(Markdown(text, hyperlinks=False))
    return drawn.getvalue().splitlines()


@contextlib.contextmanager
def _keyboard_to_pager() -> Iterator[None]:
    """Leave Ctrl-C to the pager, where it ends a search and not the reading."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
