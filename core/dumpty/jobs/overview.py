"""How all jobs of a configuration are, each by itself: one whose repository cannot be looked at hides no other."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from dumpty.errors import DumptyError, StoreError
from dumpty.jobs.conditions import is_late
from dumpty.jobs.health import JobHealth
from dumpty.jobs.views import NoRepository, Views
from dumpty.redaction import one_line
from dumpty.streaming.worker import run_abandonable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dumpty.jobs.settings import JobSettings

__all__ = ["Looks", "Overview"]

_NEVER = datetime.min.replace(tzinfo=UTC)
_MOST_SECONDS = 600.0
"""How long the look at one job may take: a repository may hang where nobody can wake it."""
_RENEWED_SECONDS = 900.0
"""How long what is listed counts where no run has ended: backups are accepted, proved and removed by hand, too."""


class Overview(NamedTuple):
    """How jobs are (``found``), why that cannot be said of others (``errors``, by job), and what nobody can read."""

    found: Sequence[JobHealth]
    errors: dict[str, DumptyError]
    unreadable: Sequence[str]


class _NoAnswer(StoreError):
    """Looking at a job took too long."""


class Looks:
    """Looks at jobs, by what their repositories hold; nothing is changed.

    Who looks again lists the backups of a repository anew where a run has ended since, or a quarter of an hour is over:
    in a bucket each listing costs something.

    Args:
        remember: is told of every secret that is read.
    """

    def __init__(self, remember: Callable[[Iterable[str]], None]) -> None:
        self._remember = remember
        self._begin_anew()

    def overview(self, jobs: Sequence[JobSettings], now: datetime, known_since: datetime | None) -> Overview:
        """Return how jobs are.

        Args:
            jobs: which.
            now: the time (aware).
            known_since: how long they could have been run (aware): until it is late, one that never was is well. None
                excuses none.
        """
        if time.monotonic() - self._began >= _RENEWED_SECONDS:
            self._begin_anew()
        found: list[JobHealth] = []
        errors: dict[str, DumptyError] = {}
        unreadable: list[str] = []
        hung: dict[str, DumptyError] = {}
        for job in jobs:
            try:
                if job.repository in hung:
                    raise hung[job.repository]
                found.append(self._health(job, now, known_since or _NEVER))
            except _NoAnswer as error:
                errors[job.name] = hung[job.repository] = error
                unreadable += self._views.unreadable()
                self._begin_anew()  # whoever hangs has them still
            except NoRepository as error:
                if known_since is not None and not is_late(job, now, known_since):
                    found.append(JobHealth(job, (), running=False, databases=(), conditions=(), undecided=frozenset()))
                else:
                    errors[job.name] = error
            except Exception as error:  # noqa: BLE001 - of a plugin's store, too: how others are is told
                errors[job.name] = error if isinstance(error, DumptyError) else StoreError(one_line(error))
        self._used = True
        return Overview(found, errors, list(dict.fromkeys([*unreadable, *self._views.unreadable()])))

    def _begin_anew(self) -> None:
        self._views, self._began, self._used = Views(self._remember), time.monotonic(), False

    def _health(self, job: JobSettings, now: datetime, known_since: datetime) -> JobHealth:
        """Return how a job is; what was open for a while may have been closed by the other side, so it is tried anew.

        Raises:
            _NoAnswer: looking takes too long.
            DumptyError: its repository cannot be looked at.
        """
        try:
            return _within(self._views, job, now, known_since)
        except _NoAnswer:
            raise
        except DumptyError:
            if not self._used:
                raise
            self._begin_anew()
            return _within(self._views, job, now, known_since)


def _within(views: Views, job: JobSettings, now: datetime, known_since: datetime) -> JobHealth:
    """Return how a job is.

    Raises:
        _NoAnswer: looking takes too long.
        DumptyError: its repository cannot be looked at.
    """
    ends = time.monotonic() + _MOST_SECONDS
    return run_abandonable(
        lambda: views.health(job, now, known_since),
        discard=lambda _: None,
        over=lambda: time.monotonic() > ends,
        error=lambda: _NoAnswer(f"its repositories have given no answer for {_MOST_SECONDS / 60:.0f} min"),
        name=f"dumpty-look-{job.name}",
    )
