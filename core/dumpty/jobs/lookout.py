"""Sees now and then how jobs are while they are served: what is overdue does not run, and so tells nobody."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from dumpty.jobs.settings import JobSettings
    from dumpty.jobs.watch import Watch

__all__ = ["Lookout"]

_FIRST_SECONDS = 60.0
_SECONDS = 900.0
_REMINDER_SECONDS = 86_400.0


class Times(Protocol):
    """What is asked of a clock."""

    def now(self) -> datetime: ...

    def ticks(self) -> float: ...

    def wake(self) -> None: ...


class Lookout:
    """Looks at jobs in a thread of its own: whom it tells may be slow, and runs need all their room.

    Args:
        watch: looks, and tells.
        problem: is told of what goes wrong, of one thing once a day.
        clock: the time; it is woken after each look.
    """

    def __init__(self, watch: Watch, problem: Callable[[str], None], clock: Times) -> None:
        self._watch, self._problem, self._clock = watch, problem, clock
        self._busy = False
        self._next = clock.ticks() + _FIRST_SECONDS
        self._told: dict[str, float] = {}

    @property
    def busy(self) -> bool:
        """Whether it is looking."""
        return self._busy

    def forget(self) -> None:
        """Tell again what goes wrong: the configuration is another one."""
        self._told.clear()

    def look(self, jobs: Sequence[JobSettings]) -> None:
        """Look at jobs, where it is time to, and return at once."""
        ticks = self._clock.ticks()
        if ticks < self._next or self.busy:
            return
        self._next = ticks + _SECONDS
        watched = [job for job in jobs if job.notify]
        if watched:
            arguments = (watched, self._clock.now(), ticks)
            # Where it hangs, or the program ends meanwhile, whoever looks next tells what it did not.
            self._busy = True
            try:
                threading.Thread(target=self._look, args=arguments, name="dumpty-lookout", daemon=True).start()
            except RuntimeError:  # no room for another thread: at the next time there may be
                self._busy = False

    def _look(self, jobs: Sequence[JobSettings], now: datetime, ticks: float) -> None:
        try:
            for text in self._watch.look(jobs, now):
                if ticks - self._told.get(text, -_REMINDER_SECONDS) >= _REMINDER_SECONDS:
                    self._told[text] = ticks
                    self._problem(text)
        finally:
            self._busy = False  # before it wakes anybody: the thread itself lives on for a moment
            self._clock.wake()
