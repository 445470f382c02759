"""How far jobs have come, on standard error: a live line for each on a terminal, else a line for each event."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from dumpty.cli.job_lines import at_work_lines, event_line
from dumpty.cli.live_lines import LiveLines
from dumpty.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty.jobs.events import JobEvent

__all__ = ["Follower", "job_progress"]


class Follower(NamedTuple):
    """What is told of a run's events, and whether it makes use of ``JobEvent.expected``."""

    events: Callable[[JobEvent], None]
    estimates: bool


@contextlib.contextmanager
def job_progress(*, json: bool, quiet: bool) -> Iterator[Follower]:
    """Yield who is told of jobs: who watches at a terminal, who reads lines later, or nobody."""
    watched = sys.stderr.isatty()
    if quiet or (json and not watched):
        yield Follower(lambda _: None, estimates=False)
    elif watched and _moves_its_cursor():
        from dumpty.jobs.activity import Activity

        activity = Activity()

        def content(width: int, height: int) -> list[str]:
            return at_work_lines(activity.at_work(), activity.waiting, width, height)

        with LiveLines(sys.stderr, content):
            yield Follower(activity.take, estimates=True)
    else:
        yield Follower(_say, estimates=False)


def _moves_its_cursor() -> bool:
    """Return whether the terminal can, and nothing else writes to it: a debugger's log goes there by itself."""
    debugging = os.environ.get("DUMPTY_DEBUG", "") not in {"", "0"}
    return os.environ.get("TERM", "dumb") not in {"dumb", "unknown"} and not debugging


def _say(event: JobEvent) -> None:
    if text := event_line(event):
        say(text)
