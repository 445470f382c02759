"""What may be wrong with a job: each kind of it by what its runs and its repositories say."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from dumpty.errors import DumptyError
from dumpty.indirection import is_indirect
from dumpty.jobs.values import rounded_text
from dumpty.repository.protocol.layout import folder_name
from dumpty.url import shown_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from dumpty.jobs.outcomes import DrillRun, JobRun
    from dumpty.jobs.settings import JobSettings
    from dumpty.operations.result import Backup
    from dumpty.types import NoticeKind

__all__ = [
    "LOOKED_BACK",
    "Condition",
    "DatabaseHealth",
    "Runs",
    "View",
    "copies_missing",
    "damaged",
    "drills",
    "failed",
    "gone",
    "held",
    "is_late",
    "oldest_allowed",
    "overdue",
    "suspicious",
    "unreadable",
    "warnings",
]

_MINUTE = timedelta(minutes=1)
_VARYING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<![\w./:@-])\d[\d,]*(?![\w./:@-])")
"""Ids and numbers that stand by themselves: none that are a part of a name."""
LOOKED_BACK = 5
"""Runs that are looked at: the latest slot is not always the one that ended last."""

_IMPORTANT = 3
"""Of several causes so many are told."""


class Condition(NamedTuple):
    """One thing that is wrong with a job: of what (``subject``), what (one line), since when, where that is known."""

    kind: NoticeKind
    subject: str
    text: str
    since: datetime | None = None

    @property
    def key(self) -> str:
        """What makes it the same one when it is seen again."""
        # A warning says at each run anew which backup it is of, and how many.
        return f"{self.kind}:{_VARYING.sub('#', self.text) if self.kind == 'warning' else self.subject}"


class DatabaseHealth(NamedTuple):
    """A database of a job: its newest good backup (None: there is none), and when that must have been made.

    ``backups`` are all that the job made of it, oldest first. ``copies_missing`` is in how many of the repositories
    that copies go to the newest good one is not known to be.
    """

    source: str
    database: str
    good: Backup | None
    oldest_allowed: datetime | None
    backups: tuple[Backup, ...] = ()
    copies_missing: int = 0

    @property
    def overdue(self) -> bool:
        """Whether the newest good backup is older than it may be."""
        return self.oldest_allowed is not None and (self.good is None or self.good.timestamp < self.oldest_allowed)


class Runs(NamedTuple):
    """The latest runs of a job that have a result, the one that ended last first, and whether one goes on.

    ``conditions`` are what is wrong with what is written down of them.
    """

    ended: tuple[JobRun, ...]
    running: bool
    conditions: tuple[Condition, ...]

    @property
    def last(self) -> JobRun | None:
        """The one that ended last."""
        return self.ended[0] if self.ended else None

    @property
    def judging(self) -> JobRun | None:
        """The last one that got as far as to know its databases."""
        return next((run for run in self.ended if run.databases), None)


class View(NamedTuple):
    """A repository at one look: its address as it may be shown, its backups, oldest first, and what cannot be read."""

    shown: str
    backups: Sequence[Backup]
    unreadable: Sequence[str]


def oldest_allowed(job: JobSettings, now: datetime, *, running: bool = False) -> datetime | None:
    """Return how old the newest good backup of a database may be, as the time when it was made; None: of any age.

    A job that says nothing may miss one time that it was due, and no second one. While it is ``running`` it gets a
    quarter of that more, and no longer: one that never ends, or is killed again and again, is overdue in the end.
    """
    if job.max_age is not None:
        return now - job.max_age - (min(job.deadline, job.max_age / 4) if running else timedelta())
    if job.schedule is None or (due := job.schedule.latest(now)) is None:
        return None
    before = job.schedule.latest(due - _MINUTE)
    if before is not None and running and now < due + min(job.deadline, (due - before) / 4):
        return job.schedule.latest(before - _MINUTE)
    return before


def is_late(job: JobSettings, now: datetime, known_since: datetime) -> bool:
    """Return whether a job that has made no good backup should have made one by now."""
    allowed = oldest_allowed(job, now)
    return allowed is not None and known_since < allowed


def failed(runs: Runs, known: Mapping[str, Backup]) -> Iterator[Condition]:
    """Yield what failed: of each database by the last run that knows it, of the job by the last run.

    Proofs that failed are told of their backups, where these are ``known``.
    """
    failures = [database for database in runs.judging.databases if not database.ok] if runs.judging else []
    for database in failures:
        yield Condition("failed", database.source, database.error or "it failed", database.started)
    last = runs.last
    if last is None or last.outcome != "failed":
        return
    proofs = [drill for drill in last.drills if drill.ok is False and drill.backup in known]
    if not proofs and all(database.ok for database in last.databases):
        yield Condition("failed", "", last.error or "it failed", last.started)


def overdue(
    job: JobSettings, runs: Runs, databases: Sequence[DatabaseHealth], now: datetime, known_since: datetime
) -> Iterator[Condition]:
    """Yield databases whose last good backup is older than it may be."""
    limit = f", {rounded_text(job.max_age)} are allowed" if job.max_age is not None else ", two times that it was due"
    for database in databases:
        if not database.overdue:
            continue
        if database.good is not None:
            made = database.good.timestamp
            text = f"its last good backup is of {made:%Y-%m-%d %H:%MZ}, {rounded_text(now - made)} ago{limit}"
            yield Condition("overdue", database.source, text, made)
        elif is_late(job, now, known_since) and not _is_new(runs, database):
            yield Condition("overdue", database.source, f"there is no good backup of it{limit}", None)
    if not databases and is_late(job, now, known_since):
        yield Condition("overdue", "", f"it was never run{limit}", None)


def _is_new(runs: Runs, database: DatabaseHealth) -> bool:
    """Return whether the first run that found a database is not longer ago than its backups may be old."""
    able = [run for run in runs.ended if run.databases]
    found = [run for run in able if any(entry.source == database.source for entry in run.databases)]
    if not found or database.oldest_allowed is None or (len(found) == len(able) >= LOOKED_BACK):
        return False
    return min(run.started for run in found) >= database.oldest_allowed


def suspicious(own: Sequence[Backup]) -> Iterator[Condition]:
    """Yield backups that hold much less than those before them, and that nobody has accepted."""
    for backup in own:
        if backup.state == "suspicious":
            lost = _several(backup.suspicions) or "only who can open it can see what it lost"
            text = (
                f"the backup of {backup.database_name} holds much less than those before it: {lost}; look, then say "
                f"dumpty accept {backup.id}, or remove it"
            )
            yield Condition("suspicious", backup.id, text, backup.timestamp)


def damaged(own: Sequence[Backup]) -> Iterator[Condition]:
    """Yield backups that are lost, or whose proof failed."""
    for backup in own:
        if backup.state in {"lost", "damaged"}:
            text = f"the backup of {backup.database_name} is {backup.state}: {backup.state_reason}"
            yield Condition("damaged", backup.id, text, backup.timestamp)


def unreadable(runs: Runs, view: View) -> Iterator[Condition]:
    """Yield manifests that cannot be read, of the job's databases as far as their place tells."""
    known = {(d.database, d.identity) for run in runs.ended for d in run.databases if d.identity}
    folders = [folder_name(*database) for database in known]
    for text in view.unreadable:
        if any(folder in text for folder in folders):
            yield Condition("damaged", text.partition(" ")[0], text)


def gone(runs: Runs, databases: Sequence[DatabaseHealth], own: Sequence[Backup]) -> Iterator[Condition]:
    """Yield databases that the last run backed up, and of which there is nothing at all."""
    made = {d.source: d for d in runs.judging.databases if d.ok} if runs.judging is not None else {}
    identities = {backup.source for backup in own}
    for database in databases:
        run = made.get(database.source)
        if run is not None and not database.backups and (run.identity or None) not in identities:
            text = f"backup {run.backup} was made, and there is no backup of {database.database} any more"
            yield Condition("damaged", database.source, text, run.started)


def drills(runs: Runs, known: Mapping[str, Backup], own: Sequence[Backup]) -> Iterator[Condition]:
    """Yield proofs that failed, or were not possible, by the last run that tried, unless it is proved since."""
    told = {backup.id for backup in own if backup.state in {"lost", "damaged"}}
    tried: dict[str, tuple[DrillRun, JobRun]] = {}
    by_database: dict[str, JobRun] = {}
    for run in reversed(runs.ended):
        tried.update({drill.backup: (drill, run) for drill in run.drills})
        by_database.update({drill.database: run for drill in run.drills})
    for backup_id, (drill, run) in tried.items():
        backup = known.get(backup_id)
        if backup is None or any(proof.ok and proof.at > run.started for proof in backup.proofs):
            continue
        if drill.ok is False and backup_id not in told:
            text = f"the proof of a backup of {drill.database} failed: {drill.error}"
            yield Condition("damaged", drill.backup, text, run.started)
        elif drill.ok is None and by_database[drill.database] is run:
            yield Condition("not-proved", drill.database, f"of backup {drill.backup}: {drill.error}", run.started)


def copies_missing(
    job: JobSettings, databases: Sequence[DatabaseHealth], copies: Mapping[str, View | DumptyError]
) -> Iterator[Condition]:
    """Yield repositories that lack a copy of the newest good backup of a database, or cannot be looked at."""
    for settings in job.copies:
        view = copies[settings.repository]
        if isinstance(view, DumptyError):
            yield Condition("copy-missing", _shown(settings.repository), f"the copies cannot be looked at: {view}")
            continue
        there = held(view)
        missing = [d.good for d in databases if d.good is not None and d.good.id not in there]
        if missing:
            names = _several([f"{backup.id} of {backup.database_name}" for backup in missing])
            yield Condition(
                "copy-missing",
                _shown(settings.repository),
                f"it lacks the newest good backup: {names}",
                missing[0].timestamp,
            )


def held(view: View | DumptyError) -> set[str]:
    """Return the ids of the backups that are known to be in a repository, and are not lost or damaged."""
    backups = () if isinstance(view, DumptyError) else view.backups
    return {backup.id for backup in backups if backup.state not in {"lost", "damaged"}}


def _shown(written: str) -> str:
    return written if is_indirect(written) else shown_address(written)


def warnings(runs: Runs) -> Iterator[Condition]:
    """Yield what the last run warned of that is told nowhere else."""
    run = runs.judging or runs.last
    if run is None:
        return
    elsewhere = {database.warnings[0] for database in run.databases if database.suspicions and database.warnings}
    for text in run.warnings:
        if text not in elsewhere:
            yield Condition("warning", "", text, run.started)


def _several(texts: Sequence[str]) -> str:
    more = len(texts) - _IMPORTANT
    return "; ".join(texts[:_IMPORTANT]) + (f"; and {more} more" if more > 0 else "")
