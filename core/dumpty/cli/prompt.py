"""Questions on the terminal, where there is one."""

from __future__ import annotations

import sys

__all__ = ["agreed", "on_terminal"]


def on_terminal() -> bool:
    """Return whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agreed(question: str) -> bool:
    """Ask, and return whether the answer is yes."""
    from dumpty.cli.output import plain
    from dumpty.cli.standard_streams import Forgiving
    from dumpty.cli.urls import redacted

    errors = Forgiving(sys.stderr)
    errors.write(f"{plain(redacted(question))} [y/N] ")
    errors.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
