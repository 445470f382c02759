"""How jobs are, as metrics for Prometheus: what each is called, and what it says.

All are gauges, and of what happened they say when, not how long ago: the age of a figure that nobody renews any more
would stand still (https://prometheus.io/docs/practices/instrumentation/#timestamps-not-time-since).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple, get_args

from dumpty.jobs.views import NoRepository
from dumpty.operations.coverage import reaches
from dumpty.types import LEVELS, NoticeKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from prometheus_client import Metric

    from dumpty.jobs.conditions import DatabaseHealth
    from dumpty.jobs.health import JobHealth
    from dumpty.jobs.overview import Overview
    from dumpty.jobs.settings import DrillSettings, JobSettings

__all__ = ["CONTENT_TYPE", "METRICS", "Gauge", "measure", "written"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of what ``written`` returns."""

_JOB = ("backup_job",)  # not "job", which Prometheus has for the name of what it asks
_DATABASE = ("backup_job", "database", "source")


class Gauge(NamedTuple):
    """A metric: its name, what it says, and the names of its labels."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


METRICS: tuple[Gauge, ...] = (
    Gauge("dumpty_job_looked_timestamp_seconds", "When it was looked how the job is", _JOB),
    Gauge("dumpty_job_readable", "Whether that can be said: its repository is there and can be looked at", _JOB),
    Gauge("dumpty_job_running", "Whether a run of the job goes on", _JOB),
    Gauge("dumpty_job_databases", "Databases of the job", _JOB),
    Gauge("dumpty_job_problems", "Things that are wrong with the job, by kind of alarm", (*_JOB, "kind")),
    Gauge("dumpty_job_last_run_timestamp_seconds", "When the last run of the job ended", _JOB),
    Gauge("dumpty_job_last_run_duration_seconds", "How long the last run took, copies and proofs included", _JOB),
    Gauge("dumpty_job_last_run_failed", "Whether the last run failed, in whole or in part", _JOB),
    Gauge("dumpty_job_consecutive_failed_runs", "How many of the last five runs failed since one did not", _JOB),
    Gauge("dumpty_job_next_run_timestamp_seconds", "When the job is due next by its schedule", _JOB),
    Gauge("dumpty_database_last_success_timestamp_seconds", "When the newest good backup was begun", _DATABASE),
    Gauge("dumpty_database_last_proof_timestamp_seconds", "When a backup was proved last", (*_DATABASE, "level")),
    Gauge(
        "dumpty_database_proved_backup_timestamp_seconds",
        "When the newest backup that was restored was begun",
        _DATABASE,
    ),
    Gauge(
        "dumpty_database_proof_overdue", "Whether the last proof is twice as long ago as the job wants it", _DATABASE
    ),
    Gauge("dumpty_database_restore_duration_seconds", "How long the last proof by restoring took", _DATABASE),
    Gauge("dumpty_database_backup_duration_seconds", "How long the newest good backup took", _DATABASE),
    Gauge("dumpty_database_backup_bytes", "Stored size of the newest good backup", _DATABASE),
    Gauge("dumpty_database_backup_plain_bytes", "Size of its dump, where that can be seen", _DATABASE),
    Gauge("dumpty_database_backup_tables", "Tables that were counted in the newest good backup", _DATABASE),
    Gauge("dumpty_database_backup_rows", "Rows that were counted in the newest good backup", _DATABASE),
    Gauge("dumpty_database_backups", "Good backups that there are", _DATABASE),
    Gauge("dumpty_database_suspicious_backups", "Backups that hold too little, which nobody has accepted", _DATABASE),
    Gauge("dumpty_database_damaged_backups", "Backups that are lost or damaged", _DATABASE),
    Gauge("dumpty_database_missing_copies", "Repositories in which no copy of the newest good one is seen", _DATABASE),
    Gauge("dumpty_database_failed", "Whether the last run of its job failed to back it up", _DATABASE),
    Gauge("dumpty_database_overdue", "Whether the newest good backup is older than it may be", _DATABASE),
)
"""Every metric that there is."""

_KINDS = tuple(kind for kind in get_args(NoticeKind) if kind not in {"test", "unrecorded"})
"""What is wrong by what repositories say."""

_Sample = tuple[str, tuple[str, ...], float]
"""The name of a metric, the values of its labels, and its own."""


def measure(overview: Overview, jobs: Sequence[JobSettings], now: datetime) -> list[Metric]:
    """Return what there is to say of jobs, in the order of ``METRICS``; what is not known is left out.

    Args:
        overview: how they are.
        jobs: which they are.
        now: when it was looked (aware).
    """
    from prometheus_client.core import GaugeMetricFamily

    families = {gauge.name: GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels) for gauge in METRICS}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for name, labels, value in _samples(overview, jobs, now):
        texts = tuple(map(_printable, labels))
        if (name, texts) not in seen:  # names that differ in bytes which are no text
            seen.add((name, texts))
            families[name].add_metric(texts, value)
    return [family for family in families.values() if family.samples]


def written(metrics: Sequence[Metric]) -> bytes:
    """Return metrics in Prometheus's text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)  # nothing but these: none of the process, of Python
    registry.register(_Measured(metrics))
    return generate_latest(registry)


def _printable(text: str) -> str:
    """Return a text in which what cannot be printed is escaped: a name may hold what breaks lines elsewhere."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Measured:
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        """Return the metrics, for the registry."""
        return self._metrics


def _samples(overview: Overview, jobs: Sequence[JobSettings], now: datetime) -> Iterator[_Sample]:
    found = {health.job.name: health for health in overview.found}
    for job in jobs:
        labels, health = (job.name,), found.get(job.name)
        yield "dumpty_job_looked_timestamp_seconds", labels, now.timestamp()
        yield "dumpty_job_readable", labels, health is not None
        if job.schedule is not None:
            yield "dumpty_job_next_run_timestamp_seconds", labels, job.schedule.next(now).timestamp()
        if health is not None:
            yield from _of_job(health, now)
        else:  # and of all else nothing is known
            kind = "overdue" if isinstance(overview.errors.get(job.name), NoRepository) else "unreachable"
            yield "dumpty_job_problems", (job.name, kind), 1


def _of_job(health: JobHealth, now: datetime) -> Iterator[_Sample]:
    labels, last = (health.job.name,), health.last
    yield "dumpty_job_running", labels, health.running
    yield "dumpty_job_databases", labels, len(health.databases)
    if last is not None:
        yield "dumpty_job_last_run_timestamp_seconds", labels, last.ended.timestamp()
        yield "dumpty_job_last_run_duration_seconds", labels, last.duration_seconds
        yield "dumpty_job_last_run_failed", labels, last.outcome == "failed"
    failed = itertools.takewhile(lambda run: run.outcome == "failed", health.ended)
    yield "dumpty_job_consecutive_failed_runs", labels, sum(1 for _ in failed)
    kinds = [condition.kind for condition in health.conditions]
    for kind in _KINDS:
        if kind not in health.undecided:
            yield "dumpty_job_problems", (health.job.name, kind), kinds.count(kind)
    for database in health.databases:
        of_it = (health.job.name, database.database, database.source)
        for name, value in _of_database(database, health, now):
            yield f"dumpty_database_{name}", of_it, value
        for level, at in _proved(database):
            yield "dumpty_database_last_proof_timestamp_seconds", (*of_it, level), at


def _of_database(database: DatabaseHealth, health: JobHealth, now: datetime) -> Iterator[tuple[str, float]]:
    wrong = {condition.kind for condition in health.conditions if condition.subject == database.source}
    yield "overdue", "overdue" in wrong
    # A run that failed before it knew its databases backed none of them up.
    last = health.last
    yield "failed", "failed" in wrong or (last is not None and last.outcome == "failed" and not last.databases)
    if health.job.drill is not None:
        yield "proof_overdue", _is_proof_overdue(database, health.job.drill, now)
    if "copy-missing" not in health.undecided:
        yield "missing_copies", database.copies_missing
    states = [backup.state for backup in database.backups]
    yield "backups", states.count("ok")
    yield "suspicious_backups", states.count("suspicious")
    yield "damaged_backups", states.count("lost") + states.count("damaged")
    good = database.good
    if good is not None:
        yield "last_success_timestamp_seconds", good.timestamp.timestamp()
        yield "backup_bytes", good.size_bytes
        if good.ended is not None:
            yield "backup_duration_seconds", (good.ended - good.timestamp).total_seconds()
        if good.plain_size_bytes is not None:
            yield "backup_plain_bytes", good.plain_size_bytes
        if good.tables or good.rows:  # else nothing was counted, or there was nothing
            yield "backup_tables", good.tables
            yield "backup_rows", good.rows
    restored = [(p, b) for b in database.backups for p in b.proofs if p.ok and p.level == "restore"]
    if restored:
        yield "restore_duration_seconds", max((proof for proof, _ in restored), key=lambda proof: proof.at).seconds
    if there := [backup.timestamp for _, backup in restored if backup.state not in {"lost", "damaged"}]:
        yield "proved_backup_timestamp_seconds", max(there).timestamp()


def _is_proof_overdue(database: DatabaseHealth, drill: DrillSettings, now: datetime) -> bool:
    """Return whether the last proof is twice as long ago as it may be; where there is none, its oldest good backup."""
    proofs = [p.at for b in database.backups for p in b.proofs if p.ok and reaches(p.level, drill.level)]
    good = [backup.timestamp for backup in database.backups if backup.state == "ok"]
    since = max(proofs, default=min(good, default=now))
    return now - since > 2 * drill.every


def _proved(database: DatabaseHealth) -> Iterator[tuple[str, float]]:
    proofs = [proof for backup in database.backups for proof in backup.proofs if proof.ok]
    for level in LEVELS:
        if times := [proof.at for proof in proofs if proof.level == level]:
            yield level, max(times).timestamp()
