"""How all jobs of a configuration are, each by itself: one whose repository cannot be looked at hides no other."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from dumpty.errors import DumptyError, StoreError
from dumpty.jobs.views import NoAnswer, NoRepository, Views, in_time
from dumpty.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dumpty.jobs.conditions import View
    from dumpty.jobs.health import JobHealth
    from dumpty.jobs.settings import JobSettings

__all__ = ["Looks", "Overview"]

_NEVER = datetime.min.replace(tzinfo=UTC)
_MOST_SECONDS = 600.0
"""How long the look at one job may take."""
_RENEWED_SECONDS = 900.0
"""How long what is listed counts where no run has ended: backups are accepted, proved and removed by hand, too."""

_AGAIN_SECONDS = 3600.0


class Overview(NamedTuple):
    """How jobs are (``found``), why that cannot be said of others (``errors``, by job), and what nobody can read.

    ``views`` are the repositories that were looked at, by address as it is written.
    """

    found: Sequence[JobHealth]
    errors: dict[str, DumptyError]
    unreadable: Sequence[str]
    views: Mapping[str, View] = MappingProxyType({})


class Looks:
    """Looks at jobs, by what their repositories hold; nothing is changed.

    Who looks again lists the backups of a repository anew where a run has ended since, or a quarter of an hour is over:
    in a bucket each listing costs something. One that gave no answer is left alone for an hour.

    Args:
        remember: is told of every secret that is read.
    """

    def __init__(self, remember: Callable[[Iterable[str]], None]) -> None:
        self._remember = remember
        self._hung: dict[str, tuple[DumptyError, float]] = {}
        self._began = self._listed_at = time.monotonic()
        self._begin_anew()

    def overview(self, jobs: Sequence[JobSettings], now: datetime, listed_within: float = float("inf")) -> Overview:
        """Return how jobs are, at a time (aware). One that was never run is overdue.

        What was listed more than ``listed_within`` seconds ago is listed anew.
        """
        if time.monotonic() - self._began >= _RENEWED_SECONDS:
            self._begin_anew()
        elif time.monotonic() - self._listed_at >= listed_within:
            self._views.list_anew()
            self._listed_at = time.monotonic()
        found: list[JobHealth] = []
        errors: dict[str, DumptyError] = {}
        unreadable: list[str] = []
        for job in jobs:
            if (hung := self._hung.get(job.repository)) and time.monotonic() - hung[1] < _AGAIN_SECONDS:
                errors[job.name] = hung[0]
                continue
            try:
                found.append(self._health(job, now))
            except NoAnswer as error:
                errors[job.name], self._hung[job.repository] = error, (error, time.monotonic())
                unreadable += self._views.unreadable()
                self._begin_anew()  # whoever hangs has them still
            except (Exception, SystemExit) as error:  # noqa: BLE001 - of a plugin's store, too: how others are is told
                errors[job.name] = error if isinstance(error, DumptyError) else StoreError(one_line(error))
        self._used = True
        unreadable = list(dict.fromkeys([*unreadable, *self._views.unreadable()]))
        return Overview(found, errors, unreadable, self._views.seen())

    def _begin_anew(self) -> None:
        self._views, self._began, self._used = Views(self._remember), time.monotonic(), False
        self._listed_at = self._began

    def _health(self, job: JobSettings, now: datetime) -> JobHealth:
        """Return how a job is; what was open for a while may have been closed by the other side, so it is tried anew.

        Raises:
            NoAnswer: looking takes too long.
            Exception: its repository cannot be looked at.
        """
        try:
            return _within(self._views, job, now)
        except (NoAnswer, NoRepository):
            raise
        except Exception:
            if not self._used:
                raise
            self._views.forget(job.repository)
            return _within(self._views, job, now)


def _within(views: Views, job: JobSettings, now: datetime) -> JobHealth:
    """Return how a job is.

    Raises:
        NoAnswer: looking takes too long.
        DumptyError: its repository cannot be looked at.
    """
    text = f"its repositories have given no answer for {_MOST_SECONDS / 60:.0f} min"
    return in_time(lambda: views.health(job, now, _NEVER), _MOST_SECONDS, text, f"dumpty-look-{job.name}")
