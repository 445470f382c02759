"""Jobs, their runs, and how they are, as JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from dumpty.replies import runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from dumpty.errors import DumptyError
    from dumpty.jobs.health import JobHealth
    from dumpty.jobs.outcomes import JobRun
    from dumpty.jobs.settings import JobSettings
    from dumpty.types import StoredRun

__all__ = ["health_as_json", "run_as_json", "stored_run_as_json"]


def run_as_json(run: JobRun) -> runs.JobRun:
    """Return what came of a run, as a JSON value."""
    return msgspec.convert(run, runs.JobRun, from_attributes=True)


def stored_run_as_json(repository: str, stored: StoredRun, result: JobRun | None) -> runs.Run:
    """Return a run that a repository knows of, as a JSON value; ``result`` is what came of it, where that is known."""
    return runs.Run(
        job=stored.job,
        slot=stored.slot,
        repository=repository,
        running=stored.running,
        host=result.host if result is not None else stored.host,
        result=None if result is None else run_as_json(result),
    )


def health_as_json(
    job: JobSettings,
    health: JobHealth | None,
    error: DumptyError | None,
    now: datetime,
    redacted: Callable[[str], str],
) -> runs.JobHealth:
    """Return how a job is, or, without that, the error that keeps it from being said; ``redacted`` blanks secrets."""
    if health is None:
        return runs.JobHealth(
            job=job.name,
            running=None,
            last_run=None,
            last_outcome=None,
            databases=[],
            problems=[runs.Problem(kind="unreachable", subject="", text=redacted(str(error)), since=None)],
        )
    return runs.JobHealth(
        job=job.name,
        running=health.running,
        last_run=None if health.last is None else health.last.ended,
        last_outcome=None if health.last is None else health.last.outcome,
        databases=[
            runs.DatabaseHealth(
                source=database.source,
                database=database.database,
                backup=None if database.good is None else database.good.id,
                timestamp=None if database.good is None else database.good.timestamp,
                age_seconds=None if database.good is None else _seconds(now - database.good.timestamp),
                overdue=database.overdue,
            )
            for database in health.databases
        ],
        problems=[
            runs.Problem(kind=c.kind, subject=c.subject, text=redacted(c.text), since=c.since)
            for c in health.conditions
        ],
    )


def _seconds(age: timedelta) -> float:
    return max(0.0, round(age.total_seconds(), 3))
