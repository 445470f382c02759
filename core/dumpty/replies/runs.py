"""The objects inside of what ``run``, ``runs`` and ``config`` print under ``--json``; as ``values`` has others."""

from __future__ import annotations

from typing import Any, Literal

from dumpty.replies.values import Backup, Bytes, Count, LastProof, Moment, Object, Seconds
from dumpty.types import Level, NoticeKind  # noqa: TC001

__all__ = [
    "CopyRun",
    "DatabaseHealth",
    "DatabaseRun",
    "DrillRun",
    "JobHealth",
    "JobPlan",
    "JobRun",
    "JobSettings",
    "Metric",
    "Notified",
    "Problem",
    "ProofOfBackup",
    "ProtectedDatabase",
    "Run",
    "Sample",
    "ScheduleFile",
]

Outcome = Literal["ok", "attention", "failed", "skipped"]
DatabaseState = Literal[
    "damaged", "failed", "overdue", "none", "suspicious", "copy-missing", "not-proved", "warning", "unknown", "ok"
]


class DatabaseRun(Object, kw_only=True):
    """How the backup of one database went: ``backup`` is its id, ``source`` a URL, ``suspicions`` what it has lost."""

    source: str
    database: str
    ok: bool
    backup: str | None
    started: Moment
    duration_seconds: Seconds
    attempts: Count
    size_bytes: Bytes
    plain_size_bytes: Bytes | None
    tables: Count
    rows: Count
    suspicions: list[str]
    error: str | None
    error_type: str | None


class CopyRun(Object, kw_only=True):
    """How a backup came into another repository."""

    backup: str
    repository: str
    ok: bool
    error: str | None
    error_type: str | None


class DrillRun(Object, kw_only=True):
    """How the proof of a backup went; ``ok`` is null where this machine could not decide."""

    backup: str
    database: str
    level: Level
    ok: bool | None
    duration_seconds: Seconds
    error: str | None
    error_type: str | None


class JobRun(Object, kw_only=True):
    """What came of one run of a job; ``removed`` are the ids of backups that its rules let go."""

    job: str
    slot: str
    outcome: Outcome
    host: str
    started: Moment
    ended: Moment
    duration_seconds: Seconds
    databases: list[DatabaseRun]
    copies: list[CopyRun]
    drills: list[DrillRun]
    removed: list[str]
    warnings: list[str]
    error: str | None
    error_type: str | None


class Run(Object, kw_only=True):
    """A run that a repository knows of; ``result`` is null while it goes on, where it was killed, or is unreadable."""

    job: str
    slot: str
    repository: str
    running: bool
    host: str
    result: JobRun | None


class JobPlan(Object, kw_only=True):
    """What would be run: ``due`` is null by hand, ``databases`` are URLs; ``error`` says why it would fail."""

    job: str
    repository: str
    due: Moment | None
    next: Moment | None
    done: bool
    databases: list[str]
    error: str | None
    error_type: str | None


class DatabaseHealth(Object, kw_only=True):
    """A database of a job: its newest good ``backup`` (null: there is none), and whether that is too old."""

    source: str
    database: str
    backup: str | None
    timestamp: Moment | None
    age_seconds: Seconds | None
    overdue: bool


class Problem(Object, kw_only=True):
    """What is wrong with a job: of what, in a line, since when (null: that is not known)."""

    kind: NoticeKind
    subject: str
    text: str
    since: Moment | None


class JobHealth(Object, kw_only=True):
    """How a job is; ``running`` is null where its repository cannot be looked at."""

    job: str
    running: bool | None
    last_run: Moment | None
    last_outcome: Outcome | None
    databases: list[DatabaseHealth]
    problems: list[Problem]


class ProofOfBackup(LastProof, kw_only=True):
    """A proof that holds, and the id of the backup that it is of."""

    backup: str


class ProtectedDatabase(Object, kw_only=True):
    """A database, and how it stands: ``state`` says it in a word, ``problems`` at length.

    ``backup`` is the newest that can be relied on, ``repositories`` in how many that is known to be whole, and
    ``repositories_wanted`` in how many it should be. ``since`` is when the oldest good backup was made; ``last_proof``
    is of any level, ``last_restore`` the newest by restoring, which took ``restore_seconds``. ``job`` is null where
    none is known to back it up.
    """

    database: str
    source: str
    driver: str
    job: str | None
    repository: str
    state: DatabaseState
    backups: Count
    size_bytes: Bytes
    backup: Backup | None
    since: Moment | None
    last_proof: ProofOfBackup | None
    last_restore: ProofOfBackup | None
    restore_seconds: Seconds | None
    longest_gap_seconds: Seconds | None
    repositories: Count
    repositories_wanted: Count
    next: Moment | None
    problems: list[Problem]


class Sample(Object, kw_only=True):
    """One value of a metric, and of what it is."""

    labels: dict[str, str]
    value: float


class Metric(Object, kw_only=True):
    """A metric: a gauge of Prometheus."""

    name: str
    help: str
    samples: list[Sample]


class Notified(Object, kw_only=True):
    """Whether somebody took a message; of the address only what may be seen."""

    address: str
    ok: bool
    error: str | None
    error_type: str | None


class JobSettings(Object, kw_only=True):
    """A job of a configuration: what is written for it, over the defaults, without secrets; and when it is due."""

    job: str
    settings: dict[str, Any]
    next: Moment | None


class ScheduleFile(Object, kw_only=True):
    """A unit of systemd, or a crontab: where it belongs, and all of its text."""

    path: str
    text: str
