"""How jobs are: what their repositories say of their runs and backups, and what of it somebody should look at."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from dumpty.errors import ManifestError
from dumpty.jobs import conditions
from dumpty.jobs.conditions import LOOKED_BACK, Condition, DatabaseHealth, Runs, View, oldest_allowed
from dumpty.jobs.database_run import job_tag
from dumpty.jobs.outcomes import decode
from dumpty.operations.reach import is_reached, read_way
from dumpty.registry.host import default_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from dumpty.backup_manager import BackupManager
    from dumpty.errors import DumptyError
    from dumpty.jobs.outcomes import JobRun
    from dumpty.jobs.settings import JobSettings
    from dumpty.operations.result import Backup

__all__ = ["JobHealth", "health_of", "is_there", "place_of", "runs_of"]

_TOLERANCE = timedelta(hours=1)
"""How far clocks may be apart."""

_FUTURE = "a run or a backup is of the future: the clock of some machine is wrong, or was; it counts nowhere until then"
_MOST_LOOKED_BACK = 50


class JobHealth(NamedTuple):
    """How a job is: its latest runs that have a result, whether one goes on, its databases, and what is wrong.

    ``ended`` begins with the run that ended last. ``undecided`` are kinds of which nothing can be said while a run goes
    on.
    """

    job: JobSettings
    ended: tuple[JobRun, ...]
    running: bool
    databases: tuple[DatabaseHealth, ...]
    conditions: tuple[Condition, ...]
    undecided: frozenset[str]

    @property
    def last(self) -> JobRun | None:
        """The run that ended last."""
        return self.ended[0] if self.ended else None


def runs_of(job: JobSettings, manager: BackupManager, now: datetime, known: dict[str, JobRun]) -> Runs:
    """Return what is known of the latest runs of a job; one that cannot be read, or is of the future, says nothing.

    ``known`` are results that were read before, by slot, which never change; those that are read now are added.

    Raises:
        StoreError: they cannot be listed.
    """
    runs: list[JobRun] = []
    wrong: list[Condition] = []
    running = False
    read: dict[str, JobRun] = {}
    for number, stored in enumerate(manager.runs(job.name)):
        running = running or stored.running
        if number < _MOST_LOOKED_BACK and len(runs) < LOOKED_BACK and stored.done:
            try:
                run = known.get(stored.slot) or _result(manager, job.name, stored.slot)
            except ManifestError as error:
                wrong.append(Condition("damaged", f"run {stored.slot}", str(error)))
                continue
            read |= {stored.slot: run} if run is not None else {}
            if run is not None and run.ended > now + _TOLERANCE:
                wrong.append(Condition("warning", "", _FUTURE))
            elif run is not None:
                runs.append(run)
    known.clear()
    known |= read
    runs.sort(key=lambda run: run.ended, reverse=True)
    return Runs(tuple(runs), running, tuple(dict.fromkeys(wrong)))


def _result(manager: BackupManager, job: str, slot: str) -> JobRun | None:
    content = manager.run_result(job, slot) or b""
    return decode(content, f"run {slot} of the job {job}") if content else None


def health_of(
    job: JobSettings,
    runs: Runs,
    view: View,
    copies: Mapping[str, View | DumptyError],
    now: datetime,
    known_since: datetime,
) -> JobHealth:
    """Return how a job is.

    Args:
        job: which.
        runs: its latest.
        view: of its repository.
        copies: of the repositories that it copies into, by address as they are written; why there is none.
        now: the time (aware).
        known_since: how long it could have been run; one that never was is not overdue at once.
    """
    identities = {d.identity for run in runs.ended for d in run.databases if d.identity}
    known = {backup.id: backup for backup in view.backups}
    tagged = [backup for backup in view.backups if job_tag(job.name) in backup.tags]
    own = [backup for backup in tagged if backup.timestamp <= now + _TOLERANCE]
    # Its drills prove those, too, that were made before it was there.
    nobodys = [b for b in view.backups if b.source in identities and not any(t.startswith(job_tag("")) for t in b.tags)]
    concerned = [*own, *nobodys]
    allowed = oldest_allowed(job, now, running=runs.running)
    databases = tuple(_databases(job, runs, own, allowed, copies.values()))
    found = [
        *runs.conditions,
        *([Condition("warning", "", _FUTURE)] if len(own) < len(tagged) else []),
        *conditions.failed(runs, known),
        *conditions.overdue(job, runs, databases, now, known_since),
        *conditions.suspicious(own),
        *conditions.damaged(concerned),
        *conditions.unreadable(runs, view),
        *conditions.gone(runs, databases, own),
        *conditions.drills(runs, known, concerned),
        *conditions.copies_missing(job, databases, copies),
        *conditions.warnings(runs),
    ]
    return JobHealth(
        job=job,
        ended=runs.ended,
        running=runs.running,
        databases=databases,
        conditions=tuple({condition.key: condition for condition in found}.values()),
        undecided=_undecided(job, runs, databases, now, known_since),
    )


def _undecided(
    job: JobSettings, runs: Runs, databases: Sequence[DatabaseHealth], now: datetime, known_since: datetime
) -> frozenset[str]:
    """Return the kinds of which nothing can be said now."""
    kinds = set()
    fresh = any(d.good is not None and now - d.good.timestamp < job.deadline for d in databases)
    changed = runs.last is None or runs.last.ended < known_since
    if (runs.running and fresh) or changed:  # its copies may be on their way, or be asked for only since
        kinds.add("copy-missing")
    if not any(run.drills for run in runs.ended):
        kinds.add("not-proved")
    return frozenset(kinds)


def _databases(
    job: JobSettings, runs: Runs, own: Sequence[Backup], allowed: datetime | None, copies: Iterable[View | DumptyError]
) -> Iterator[DatabaseHealth]:
    """Yield the databases of the last run that got as far as to know them, or else those that there are backups of."""
    place = place_of(job)
    ran = (database for run in reversed(runs.ended) for database in run.databases)
    identities = {d.source: d.identity for d in ran if d.identity and is_there(d.identity, place)}
    if runs.judging is not None:
        found = {database.source: database.database for database in runs.judging.databases}
    else:
        found = {backup.database_url: backup.database_name for backup in own}
    held = [conditions.held(view) for view in copies]
    # By what each is of, or a thousand databases would be looked for among the backups of all of them.
    # By a way the same URL is another database's.
    by_url = {} if job.via else _grouped([b for b in own if not is_reached(b.source)], "database_url")
    by_identity = _grouped(own, "source")
    for source, name in sorted(found.items()):
        of_it = {backup.id: backup for backup in by_url.get(source, ())}
        of_it |= {backup.id: backup for backup in by_identity.get(identities.get(source), ())}
        backups = tuple(sorted(of_it.values(), key=lambda backup: backup.timestamp))
        good = next((backup for backup in reversed(backups) if backup.state == "ok"), None)
        missing = sum(good.id not in ids for ids in held) if good is not None else 0
        # As its backups call it, also where a run failed that got no further than its URL.
        called = backups[-1].database_name if backups else name
        yield DatabaseHealth(source, called, good, allowed, backups, missing)


def place_of(job: JobSettings) -> str:
    """Return the end of the way that a job goes by, as it stands in the identities of databases there; "" for none."""
    if not job.via:
        return ""
    way = read_way(default_host(), job.via)
    return way.place if way is not None else ""


def is_there(identity: str, place: str) -> bool:
    """Return whether a database is one at the end of a way, or, where there is none, of no way."""
    return f"@{place}/" in f"@{identity}" if place else not is_reached(identity)


def _grouped(backups: Sequence[Backup], name: str) -> dict[str | None, list[Backup]]:
    groups: dict[str | None, list[Backup]] = {}
    for backup in backups:
        groups.setdefault(getattr(backup, name), []).append(backup)
    return groups
