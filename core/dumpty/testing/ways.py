"""Where a transport leads to, as a suite's author supplies it, and the commands that its rules run there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty.testing.rules import require, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.types import Endpoint

__all__ = ["ARGUMENTS", "ReachablePlace", "Run", "run_command", "shows_arguments"]

ARGUMENTS = {
    "spaces and nothing": ("a b", " ", "", "  c"),
    "quotes": ("it's", '"quoted"', "'", "\\", "\\'", '"\\""'),
    "what shells take for themselves": ("$HOME", "`id`", "$(id)", ";|&<>()", "*", "~", "!x", "#", "{a,b}", "%s"),
    "newlines and tabs": ("a\nb", "\t", "\n"),
    "leading dashes": ("-c", "--", "--help", "-"),
    "not ASCII": ("Größe", "失敗 😀"),
}
"""Arguments that nothing on the way may make anything else of."""


@dataclass(kw_only=True)
class ReachablePlace:
    """A place that a transport leads to, where ``sh``, ``cat`` and ``printf`` are.

    Args:
        url: what leads there.
        echo: where a server listens, as seen from there, which sends back what it gets, until the end of that.
        silent: where nobody listens.
        missing: a URL of a place that is not there; "" where none can be told.
        same: other URLs of the same place: by another user, with other settings.
        others: URLs of other places.
    """

    url: str
    echo: Endpoint
    silent: Endpoint
    missing: str = ""
    same: Sequence[str] = ()
    others: Sequence[str] = ()


@dataclass(kw_only=True)
class Run:
    """What came of a command."""

    status: int
    output: bytes
    error: str


def shows_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the command that writes its arguments, each in brackets."""
    return ["sh", "-c", 'for argument do printf "[%s]" "$argument"; done', "sh", *arguments]


def run_command(argv: object, data: bytes = b"", *, seconds: float) -> Run:
    """Run what a transport returned, on this machine, to its end.

    Raises:
        RuleBroken: it is no command, or did not end in that time.
    """
    rule = "A transport returns commands: lists of str, a program and its arguments."
    valid = isinstance(argv, list) and argv and all(isinstance(word, str) for word in argv)
    require(valid, rule, "Return a list of str.", f"it returned {shown(argv)}")
    assert isinstance(argv, list)  # noqa: S101 - required above
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True) as process:  # noqa: S603

        def kill() -> None:  # with all that it started, which may have its output open
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            output, error = process.communicate(data)
        finally:
            expired = not timer.is_alive() and process.returncode is not None and process.returncode < 0
            timer.cancel()
    require(not expired, "A command ends with what it runs.", "Pass on the end of its input.", f"{argv[0]} went on")
    return Run(status=process.returncode, output=output, error=error.decode("utf-8", "replace"))
