"""Jobs, their runs, and how they are, as JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from dumpty.replies import runs
from dumpty.replies.backups import as_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from dumpty.errors import DumptyError
    from dumpty.jobs.health import JobHealth
    from dumpty.jobs.outcomes import JobRun
    from dumpty.jobs.protection import Measured, Protected
    from dumpty.jobs.settings import JobSettings
    from dumpty.types import StoredRun

__all__ = ["health_as_json", "protected_as_json", "run_as_json", "stored_run_as_json"]

# Made with the module, by one thread: several that met the type for the first time at once would crash msgspec 0.22.
msgspec.json.Decoder(runs.JobRun)


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


def protected_as_json(database: Protected) -> runs.ProtectedDatabase:
    """Return a database and what is known of its backups, as a JSON value."""
    last, restored, gap = database.last_proof, database.last_restore, database.longest_gap
    return runs.ProtectedDatabase(
        database=database.database,
        source=database.source,
        driver=database.driver,
        job=None if database.job is None else database.job.name,
        repository=database.repository,
        state=database.status,
        backups=len(database.backups),
        size_bytes=database.size_bytes,
        backup=None if database.good is None else as_json(database.good),
        since=database.since,
        last_proof=None if last is None else _proof(last),
        last_restore=None if restored is None else _proof(restored),
        restore_seconds=None if restored is None else restored.proof.seconds,
        longest_gap_seconds=None if gap is None else _seconds(gap),
        repositories=database.repositories,
        repositories_wanted=database.repositories_wanted,
        next=database.next_run,
        problems=[runs.Problem(kind=c.kind, subject=c.subject, text=c.text, since=c.since) for c in database.problems],
    )


def _proof(measured: Measured) -> runs.ProofOfBackup:
    proof = measured.proof
    return runs.ProofOfBackup(backup=measured.backup.id, level=proof.level, ok=proof.ok, at=proof.at)


def _seconds(age: timedelta) -> float:
    return max(0.0, round(age.total_seconds(), 3))
