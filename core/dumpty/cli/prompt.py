"""Questions on the terminal, where there is one."""

from __future__ import annotations

import sys

__all__ = ["confirm", "on_terminal", "passphrase"]


def on_terminal() -> bool:
    """Return whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def passphrase(question: str) -> str:
    """Ask for a passphrase, which is not shown; "" where there is nobody to ask, or nothing was answered."""
    import getpass

    return getpass.getpass(question, stream=sys.stderr) if on_terminal() else ""


def confirm(question: str) -> bool:
    """Ask, and return whether the answer is yes."""
    from dumpty.cli.standard_streams import ForgivingStream
    from dumpty.cli.urls import redacted
    from dumpty.redaction import plain

    errors = ForgivingStream(sys.stderr)
    errors.write(f"{plain(redacted(question))} [y/N] ")
    errors.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
