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

__all__ = ["Overview", "look_at"]

_NEVER = datetime.min.replace(tzinfo=UTC)
_MOST_SECONDS = 600.0
"""How long the look at one job may take: a repository may hang where nobody can wake it."""


class Overview(NamedTuple):
    """How jobs are (``found``), why that cannot be said of others (``errors``, by job), and what nobody can read."""

    found: Sequence[JobHealth]
    errors: dict[str, DumptyError]
    unreadable: Sequence[str]


class _NoAnswer(StoreError):
    """Looking at a job took too long."""


def look_at(
    jobs: Sequence[JobSettings], now: datetime, known_since: datetime | None, remember: Callable[[Iterable[str]], None]
) -> Overview:
    """Look at jobs, by what their repositories hold; nothing is changed.

    Args:
        jobs: which.
        now: the time (aware).
        known_since: how long they could have been run (aware): until it is late, one that never was is well. None
            excuses none.
        remember: is told of every secret that is read.
    """
    views = Views(remember)
    found: list[JobHealth] = []
    errors: dict[str, DumptyError] = {}
    unreadable: list[str] = []
    hung: dict[str, DumptyError] = {}
    for job in jobs:
        try:
            if job.repository in hung:
                raise hung[job.repository]
            found.append(_within(views, job, now, known_since or _NEVER))
        except _NoAnswer as error:
            errors[job.name] = hung[job.repository] = error
            unreadable += views.unreadable()
            views = Views(remember)  # whoever hangs has them still
        except NoRepository as error:
            if known_since is not None and not is_late(job, now, known_since):
                found.append(JobHealth(job, (), running=False, databases=(), conditions=(), undecided=frozenset()))
            else:
                errors[job.name] = error
        except Exception as error:  # noqa: BLE001 - of a plugin's store, too: how others are is told
            errors[job.name] = error if isinstance(error, DumptyError) else StoreError(one_line(error))
    return Overview(found, errors, list(dict.fromkeys([*unreadable, *views.unreadable()])))


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
