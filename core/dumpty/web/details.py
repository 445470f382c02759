"""What pages and reports say of databases and backups, put into words and figures."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, get_args

from dumpty.jobs.protection import Status
from dumpty.web import text
from dumpty.web.charts import chart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dumpty.jobs.conditions import Condition
    from dumpty.jobs.protection import Protected, Protection
    from dumpty.jobs.run_log import LoggedRun
    from dumpty.operations.result import Backup
    from dumpty.web.charts import Chart

__all__ = [
    "RANKS",
    "Fact",
    "Failures",
    "Problem",
    "charts",
    "facts",
    "failures",
    "failures_of",
    "outcome",
    "problems_of",
]

Failures = dict[tuple[str, str], list[datetime]]
RANKS: Mapping[str, int] = {status: rank for rank, status in enumerate(get_args(Status))}
"""Each status, the more it needs somebody the lower."""


class Problem(NamedTuple):
    """What is wrong, with what, and with which database's page (None: with none of them alone)."""

    name: str
    condition: Condition
    database: Protected | None


class Fact(NamedTuple):
    """A name, and what there is to say under it."""

    name: str
    text: str


def problems_of(protection: Protection) -> Iterator[Problem]:
    """Yield what is wrong, each thing once, that of the gravest kind first."""
    seen: set[tuple[str, str, str]] = set()
    found: list[Problem] = []
    for database in protection.databases:
        job = database.job.name if database.job is not None else ""
        for condition in database.problems:
            same = (job, condition.kind, f"{condition.subject}\0{condition.text}")
            if same not in seen:
                seen.add(same)
                found.append(Problem(database.database, condition, database))
    for health in protection.jobs:
        for condition in health.conditions:
            same = (health.job.name, condition.kind, f"{condition.subject}\0{condition.text}")
            if same not in seen:
                seen.add(same)
                found.append(Problem(health.job.name, condition, None))
    yield from sorted(found, key=lambda problem: RANKS.get(problem.condition.kind, -1))


def failures(runs: Iterable[LoggedRun]) -> Failures:
    """Return when the backup of each database failed, by its job and its URL without secrets."""
    found: dict[tuple[str, str], list[datetime]] = {}
    for run in runs:
        for database in run.result.databases if run.result is not None else ():
            if not database.ok:
                found.setdefault((run.stored.job, database.source), []).append(database.started)
    return found


def failures_of(database: Protected, failed: Failures) -> Sequence[datetime]:
    """Return when the backup of one database failed."""
    return failed.get((database.job.name, database.source), ()) if database.job is not None else ()


def outcome(run: LoggedRun) -> str:
    """Return in one word what came of a run."""
    if run.result is not None:
        return run.result.outcome
    return "running" if run.stored.running else "unreadable" if run.error else "no result"


def charts(database: Protected) -> list[Chart]:
    """Return the drawings of how a database's backups went over time."""
    good = [backup for backup in database.backups if backup.state == "ok"]
    drawn = [
        chart("Stored size", [(b.timestamp, b.size_bytes) for b in good], lambda n: text.size(round(n))),
        chart("Rows", [(b.timestamp, b.rows) for b in good if b.tables], lambda n: text.count(round(n))),
        chart(
            "Duration",
            [(b.timestamp, (b.ended - b.timestamp).total_seconds()) for b in good if b.ended is not None],
            text.duration,
        ),
    ]
    return [drawing for drawing in drawn if drawing is not None]


def facts(backup: Backup) -> list[Fact]:
    """Return what is known of a backup, beside its tables and proofs."""
    evidence = backup.evidence
    took = f", took {text.duration(backup.ended - backup.timestamp)}" if backup.ended is not None else ""
    dumped = "" if backup.plain_size_bytes is None else f", {backup.plain_size_bytes:,} as dumped"
    pairs = [
        ("Id", backup.id),
        ("Taken", f"{backup.timestamp:%Y-%m-%d %H:%M:%S}Z{took}"),
        ("Database", backup.database_url),
        ("Source", backup.source),
        ("Driver and format", f"{backup.driver}, {'+'.join((backup.format, *backup.stages))}"),
        *(("File", path) for path in backup.files),
        ("Size", f"{backup.size_bytes:,} bytes stored ({text.size(backup.size_bytes)}){dumped}"),
        ("SHA-256", backup.checksum),
        *(("Digest " + name, digest) for name, digest in backup.digests.items()),
        ("Encrypted", _encryption(backup)),
        ("Signed", f"it says by {', '.join(backup.claimed_signers)}, unchecked" if backup.claimed_signers else "no"),
        ("Tables and rows", _contents(backup)),
        *_evidence(backup),
        *((f"Version of {name}", version) for name, version in evidence.versions.items()),
        *(("Note", note) for note in evidence.notes),
        ("Tags", ", ".join(backup.tags)),
        ("Pinned", backup.pinned),
        ("Accepted", backup.accepted),
    ]
    return [Fact(name, said) for name, said in pairs if said]


def _encryption(backup: Backup) -> str:
    if not backup.recipient_kinds:
        return "no"
    keys = f": {', '.join(backup.recipients)}" if backup.recipients else ""
    number = text.count(len(backup.recipient_kinds), "recipient")
    return f"to {number} ({', '.join(backup.recipient_kinds)}){keys}"


def _contents(backup: Backup) -> str:
    if not backup.tables and not backup.evidence.objects:
        return "nothing that was counted"
    return f"{text.count(backup.tables, 'table')}, {text.count(backup.rows, 'row')}"


def _evidence(backup: Backup) -> Iterator[tuple[str, str]]:
    if backup.sealed:
        yield "Sealed", "tables, versions, notes and plain size: dumpty show --identity FILE shows them"
        return
    yield "Of one moment", "yes" if backup.evidence.consistent else "NO"
    if backup.evidence.snapshot:
        yield "Snapshot", backup.evidence.snapshot
