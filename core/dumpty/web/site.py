"""What pages are made of: what is protected, what was run, and what the service that shows them said."""

from __future__ import annotations

import threading
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty.jobs.activity import Activity
    from dumpty.jobs.protection import Protection
    from dumpty.jobs.run_log import LoggedRun
    from dumpty.web.actions import Actions
    from dumpty.web.tasks import Tasks

__all__ = ["How", "Messages", "Said", "Site"]

How = Literal["visited", "renewed", "now"]

_MOST_MESSAGES = 500


class Said(NamedTuple):
    """A line that was said, and when (aware)."""

    at: datetime
    text: str


class Messages:
    """The last lines that a service said, for whoever looks later."""

    def __init__(self) -> None:
        self._lines: deque[Said] = deque(maxlen=_MOST_MESSAGES)
        self._lock = threading.Lock()

    def also(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """Return what says a line by ``say``, and keeps it."""

        def heard(text: str) -> None:
            with self._lock:
                self._lines.append(Said(datetime.now(UTC), text))
            say(text)

        return heard

    def of(self, job: str = "") -> list[Said]:
        """Return what was said, of one job or at all, oldest first."""
        with self._lock:
            return [said for said in self._lines if not job or said.text.startswith(f"{job}: ")]


class Site(NamedTuple):
    """Where pages get what they show.

    ``protection`` and ``runs`` return what is known, None where nothing is within so many seconds: as somebody visits a
    page, as an open one renews itself, or what is found by a look now. ``metrics`` is None where there are no jobs to
    measure. ``title`` is the file or the repository that is shown, ``serves`` whether jobs are run here, too, and
    ``activity`` how far those are. ``actions`` are what may be asked for by who has shown a token, and ``tasks`` what
    was. ``problem`` is told of what goes wrong, ``redacted`` returns a text without secrets.
    """

    title: str
    serves: bool
    protection: Callable[[float, How], Protection | None]
    runs: Callable[[float, How], tuple[LoggedRun, ...] | None]
    metrics: Callable[[float], bytes | None] | None
    messages: Messages
    activity: Activity
    actions: Actions
    tasks: Tasks
    problem: Callable[[str], None]
    redacted: Callable[[str], str]
