"""What there is, and how each database stands: by how jobs are, and by what lies in repositories beside that."""

from __future__ import annotations

import hashlib
import statistics
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from dumpty.jobs.conditions import Condition, suspicious
from dumpty.jobs.database_run import HOST_TAG, job_tag
from dumpty.jobs.protection import Protected, Protection, Unknown
from dumpty.jobs.upkeep import removable
from dumpty.jobs.values import rounded_text
from dumpty.jobs.views import NoRepository
from dumpty.repository.protocol.layout import folder_name
from dumpty.repository.retention import decide
from dumpty.url import shown_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from dumpty.jobs.conditions import View
    from dumpty.jobs.health import JobHealth
    from dumpty.jobs.overview import Overview
    from dumpty.jobs.protection import Status
    from dumpty.jobs.settings import Configuration, JobSettings
    from dumpty.operations.result import Backup
    from dumpty.repository.retention import Decision

__all__ = ["of_jobs", "of_repository", "unreachable"]

_BY_CONDITION: tuple[Status, ...] = (
    "damaged", "failed", "overdue", "suspicious", "copy-missing", "not-proved", "warning"
)  # fmt: skip
_KEY_DIGITS = 16
_TOLERANCE = timedelta(hours=1)
"""How far clocks may be apart."""
_FEW = 3
_LONGEST = timedelta(days=30)
"""How old a backup may be of which nobody knows when the next is due."""


def of_jobs(
    overview: Overview, configuration: Configuration, now: datetime, redacted: Callable[[str], str]
) -> Protection:
    """Return what is protected by the jobs of a configuration, and what else lies in their repositories.

    Args:
        overview: how they are.
        configuration: they.
        now: when it was looked (aware).
        redacted: returns a text without the secrets that were read.
    """
    found = [_redacted(health, redacted) for health in overview.found]
    databases = [entry for health in found for entry in _of_job(health, now)]
    errors = overview.errors
    unknown = [Unknown(j, redacted(str(errors[j.name]))) for j in configuration.jobs if j.name in errors]
    for entry in unknown:
        databases += _never_seen(entry, errors[entry.job.name], overview.views.get(entry.job.repository), now)
    known = {backup.id for database in databases for backup in database.backups}
    tags = frozenset(map(job_tag, configuration.written))
    own = {job.repository for job in configuration.jobs}
    for written, view in overview.views.items():
        if written in own:
            databases += _by_source(view, [b for b in view.backups if b.id not in known], now, are_jobs_known=True)
    return Protection(
        at=now,
        databases=_sorted(databases),
        jobs=tuple(found),
        unknown=tuple(unknown),
        going=dict(_going(overview, tags, now)),
        unreadable=tuple(map(redacted, overview.unreadable)),
        repositories=tuple(dict.fromkeys(view.shown for view in overview.views.values())),
    )


def of_repository(view: View, now: datetime) -> Protection:
    """Return what is protected by the backups of one repository, of whose jobs nothing is known.

    Args:
        view: the repository.
        now: when it was looked (aware).
    """
    databases = _sorted(_by_source(view, view.backups, now, are_jobs_known=False))
    return Protection(now, databases, (), (), {}, tuple(view.unreadable), (view.shown,))


def unreachable(protection: Protection, error: str) -> Protection:
    """Return what was known before of what cannot be looked at any more: how it stands now nobody knows."""
    problem = Condition("unreachable", "", f"it cannot be looked at, and this is what was seen last: {error}")
    databases = tuple(
        database._replace(status="unknown", problems=(problem, *database.problems)) for database in protection.databases
    )
    return protection._replace(databases=databases)


def _sorted(databases: Iterable[Protected]) -> tuple[Protected, ...]:
    return tuple(sorted(databases, key=lambda entry: (entry.database.lower(), entry.source, entry.key)))


def _redacted(health: JobHealth, redacted: Callable[[str], str]) -> JobHealth:
    return health._replace(conditions=tuple(c._replace(text=redacted(c.text)) for c in health.conditions))


# -- of jobs -----------------------------------------------------------------------------------------------------------


def _of_job(health: JobHealth, now: datetime) -> Iterator[Protected]:
    job = health.job
    subjects = [
        {database.source, database.database, *(backup.id for backup in database.backups)}
        for database in health.databases
    ]
    known = set().union(*subjects)
    # What is of none of them in particular is of each: nobody is to be told that one is well which may not be.
    everywhere = [c for c in health.conditions if c.subject not in known]
    for database, own in zip(health.databases, subjects, strict=True):
        problems = [c for c in health.conditions if c.subject in own]
        problems += [c for c in everywhere if c.kind != "copy-missing" or database.copies_missing]
        wanted = 1 + len(job.copies)
        yield Protected(
            key=_key(job.name, database.source),
            job=job,
            repository=shown_address(job.repository),
            database=database.database,
            source=database.source,
            driver=database.backups[-1].driver if database.backups else "",
            backups=database.backups,
            good=database.good,
            repositories=wanted - database.copies_missing if database.good is not None else 0,
            repositories_wanted=wanted,
            next_run=None if job.schedule is None else job.schedule.next(now),
            status=_status(problems, database.good, health.undecided),
            problems=tuple(dict.fromkeys(problems)),
        )
    if not health.databases:
        yield _of_no_database(job, now, _status(health.conditions, None, health.undecided), health.conditions)


def _never_seen(unknown: Unknown, error: Exception, view: View | None, now: datetime) -> Iterator[Protected]:
    """Yield the databases of a job of which nothing can be said, as far as there are backups of them."""
    job = unknown.job
    problem = Condition("overdue" if isinstance(error, NoRepository) else "unreachable", "", unknown.error)
    status: Status = "none" if isinstance(error, NoRepository) else "unknown"
    row = _of_no_database(job, now, status, (problem,))
    own = [b for b in view.backups if job_tag(job.name) in b.tags] if view is not None else []
    for source, of_it in _grouped(own).items():
        newest = of_it[-1]
        yield row._replace(
            key=_key(job.name, source),
            database=newest.database_name,
            source=newest.database_url,
            driver=newest.driver,
            backups=tuple(of_it),
            good=_good(of_it, now),
        )
    if not own:
        yield row


def _of_no_database(job: JobSettings, now: datetime, status: Status, problems: tuple[Condition, ...]) -> Protected:
    """Return what stands for the databases of a job of which none are known: it never ran, or failed before that."""
    return Protected(
        key=_key(job.name, ""),
        job=job,
        repository=shown_address(job.repository),
        database=job.name,
        source=", ".join(shown_address(source) for source in job.sources),
        driver="",
        backups=(),
        good=None,
        repositories=0,
        repositories_wanted=1 + len(job.copies),
        next_run=None if job.schedule is None else job.schedule.next(now),
        status=status,
        problems=problems,
    )


# -- by backups alone --------------------------------------------------------------------------------------------------


def _by_source(view: View, backups: Iterable[Backup], now: datetime, *, are_jobs_known: bool) -> Iterator[Protected]:
    """Yield the databases that there are backups of, by these alone: no job is known to make them."""
    for source, of_it in _grouped(backups).items():
        newest, good = of_it[-1], _good(of_it, now)
        folder = folder_name(newest.database_name, source)
        problems = (
            *suspicious(of_it),
            *_unusable(of_it),
            *(Condition("damaged", source, line) for line in view.unreadable if folder in line),
            *_late(source, of_it, good, now),
            *(_orphaned(source, newest) if are_jobs_known else ()),
        )
        yield Protected(
            key=_key(view.shown, source),
            job=None,
            repository=view.shown,
            database=newest.database_name,
            source=newest.database_url,
            driver=newest.driver,
            backups=tuple(of_it),
            good=good,
            repositories=int(good is not None),
            repositories_wanted=1,
            next_run=None,
            status=_status(problems, good, frozenset()),
            problems=problems,
        )


def _grouped(backups: Iterable[Backup]) -> dict[str, list[Backup]]:
    groups: dict[str, list[Backup]] = {}
    for backup in backups:
        groups.setdefault(backup.source, []).append(backup)
    return groups


def _good(backups: Sequence[Backup], now: datetime) -> Backup | None:
    """Return the newest that can be relied on: none of the future, whose machine's clock is wrong."""
    latest = now + _TOLERANCE
    return next((b for b in reversed(backups) if b.state == "ok" and b.timestamp <= latest), None)


def _unusable(backups: Iterable[Backup]) -> Iterator[Condition]:
    for backup in backups:
        if backup.state in {"lost", "damaged"}:
            text = f"the backup of {backup.timestamp:%Y-%m-%d %H:%MZ} is {backup.state}: {backup.state_reason}"
            yield Condition("damaged", backup.id, text, backup.timestamp)


def _late(source: str, backups: Sequence[Backup], good: Backup | None, now: datetime) -> Iterator[Condition]:
    """Yield that the next one should be there by now, by how often they were made: nobody knows a schedule."""
    if any(backup.timestamp > now + _TOLERANCE for backup in backups):
        text = "a backup is of the future: the clock of some machine is wrong, or was; it counts nowhere until then"
        yield Condition("warning", source, text)
    if good is None:
        return
    made = [b.timestamp for b in backups if b.state == "ok" and b.timestamp <= good.timestamp][-10:]
    age, text, allowed = now - good.timestamp, "when one is due is not known here", _LONGEST
    if len(made) >= _FEW:
        usual = timedelta(seconds=statistics.median((b - a).total_seconds() for a, b in pairwise(made)))
        allowed = 2 * max(usual, timedelta(days=1)) + timedelta(hours=6)
        text = f"they used to be made every {rounded_text(usual)}"
    if age > allowed:
        said = f"its last good backup is {rounded_text(age)} old, and {text}"
        yield Condition("overdue", source, said, good.timestamp)


def _orphaned(source: str, newest: Backup) -> Iterator[Condition]:
    """Yield that the job that made the newest one does so no more."""
    for name in [tag[len(job_tag("")) :] for tag in newest.tags if tag.startswith(job_tag(""))][:1]:
        text = f"no job backs it up any more: {name}, which did, is none of the configuration, or has other databases"
        yield Condition("warning", source, text, newest.timestamp)


def _status(problems: Iterable[Condition], good: Backup | None, undecided: frozenset[str]) -> Status:
    kinds = {problem.kind for problem in problems} - undecided
    for kind in _BY_CONDITION:
        if kind in kinds:
            return kind
        if kind == "overdue" and good is None:
            return "none"
    return "ok"


def _key(*names: str) -> str:
    """Return a short name for what these name together, that can stand in a URL and tells nothing."""
    text = "\0".join(names).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:_KEY_DIGITS]


# -- what is to go -----------------------------------------------------------------------------------------------------


def _going(
    overview: Overview, tags: frozenset[str], now: datetime
) -> Iterator[tuple[str, tuple[Decision[Backup], ...]]]:
    """Yield for each job what it would remove from its own repository, if nothing were backed up before.

    As by its last run: it removes nothing of databases that this could not back up, and goes by that machine's name.
    """
    by_source = {written: _grouped(view.backups) for written, view in overview.views.items()}
    for health in overview.found:
        job, last = health.job, health.last
        if job.rules is None or last is None:
            continue
        identities = frozenset(database.identity for database in last.databases if database.ok and database.identity)
        groups = by_source.get(job.repository, {})
        own = [backup for identity in sorted(identities) for backup in groups.get(identity, ())]
        foreign = tags - {job_tag(job.name)}
        yield job.name, tuple(removable(decide(own, job.rules, now), identities, foreign, HOST_TAG + last.host)[0])
