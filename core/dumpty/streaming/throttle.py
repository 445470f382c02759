"""Holds a backup back to a number of bytes a second, for a database that has other work to do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dumpty.errors import OptionError
from dumpty.process.call import pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty.streaming.reporter import ReportBytes


__all__ = ["throttled"]

_MAX_CATCH_UP_SECONDS = 1.0
"""How much of a pause of the database's is made up for afterwards, at most."""


def throttled(rate_limit: int | None, report: ReportBytes | None) -> ReportBytes | None:
    """Return a progress report that calls ``report`` and takes as long as ``rate_limit`` bytes a second ask for.

    Whoever writes waits while its progress is reported, and whoever feeds the writer waits with it.

    Raises:
        OptionError: ``rate_limit`` is no whole number of bytes, or less than 1.
    """
    if rate_limit is None:
        return report
    if not isinstance(rate_limit, int) or isinstance(rate_limit, bool) or rate_limit < 1:
        raise OptionError(f"rate_limit is a whole number of bytes a second, 1 or more, not {rate_limit!r}")
    return Throttle(rate_limit, report)


class Throttle:
    """A progress report that sleeps; ``clock`` and ``sleep`` count in seconds."""

    def __init__(
        self,
        rate: int,
        report: ReportBytes | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = pause,
    ) -> None:
        self._rate = rate
        self._report = report
        self._clock = clock
        self._sleep = sleep
        self._started = clock()

    def __call__(self, done: int, expected: int | None) -> None:
        now, due = self._clock(), self._started + done / self._rate
        if due > now:
            self._sleep(due - now)
        elif now - due > _MAX_CATCH_UP_SECONDS:
            self._started += now - due - _MAX_CATCH_UP_SECONDS
        if self._report is not None:
            self._report(done, expected)
