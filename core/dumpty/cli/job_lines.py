"""What is said of jobs, line by line: as it happens, and of those at work in one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.cli.live_lines import cells
from dumpty.cli.output import count, seconds, size
from dumpty.cli.urls import redacted
from dumpty.jobs.events import JobEventKind
from dumpty.jobs.outcomes import CopyRun, DatabaseRun, DrillRun, JobRun
from dumpty.redaction import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.jobs.activity import JobAtWork
    from dumpty.jobs.events import JobEvent

__all__ = ["at_work_lines", "backed_up_line", "ended_line", "event_line"]

_LEAST_SUBJECT = 20
"""Columns below which what a job is at is left out."""


def event_line(event: JobEvent) -> str:
    """Return what to say of an event; "" where that is nothing, or was said as a failure."""
    text = ""
    match event.result:
        case DatabaseRun(ok=True) as run:
            facts = f"{size(run.size_bytes)}, {count(run.rows, 'row')}, {seconds(run.duration_seconds)}"
            return f"{backed_up_line(event)}: {facts}"
        case CopyRun(ok=True) as copy:
            text = f"backup {copy.backup} is copied to {copy.repository}"
        case DrillRun(ok=True) as drill:
            text = f"backup {drill.backup} of {drill.database} is proved, {seconds(drill.duration_seconds)}"
        case JobRun(outcome="ok" | "attention" | "failed") as run:
            return ended_line(run)
    if event.kind is JobEventKind.BEGUN:
        text = f"begun, {count(event.total, 'database')}"
    elif event.kind is JobEventKind.DATABASE_BEGUN:
        text = f"{event.database} is being backed up"
    elif event.kind is JobEventKind.REMOVED:
        text = f"{count(len(event.removed), 'backup')} removed from {event.repository}"
    return f"{event.job}: {text}" if text else ""


def backed_up_line(event: JobEvent) -> str:
    """Return what to say of a database that is backed up; "" of another event."""
    if not isinstance(event.result, DatabaseRun) or not event.result.ok:
        return ""
    return f"{event.job}: {event.database} is backed up, {event.done} of {event.total}"


def ended_line(run: JobRun) -> str:
    """Return what came of a run."""
    made = [database for database in run.databases if database.ok]
    parts = [f"{len(made)} of {count(len(run.databases), 'database')} backed up"]
    parts += [size(sum(database.size_bytes for database in made)), seconds(run.duration_seconds)]
    copied = sum(copy.ok for copy in run.copies)
    parts += [f"{copied} of {count(len(run.copies), 'copy', 'copies')} made"] * bool(run.copies)
    parts += [f"{len(run.removed)} removed"] * bool(run.removed)
    outcome = run.outcome if run.outcome == "ok" else run.outcome.upper()
    return f"{run.job}: {outcome}: {', '.join(parts)}"


# -- at work -----------------------------------------------------------------------------------------------------------


def at_work_lines(jobs: Sequence[JobAtWork], waiting: int, width: int, height: int) -> list[str]:
    """Return a line for each job at work, as many as fit, and one for those of which there is none."""
    fits = len(jobs) + bool(waiting) <= height
    shown = jobs if fits else jobs[: height - 1]
    more = len(jobs) - len(shown)
    rest = [f"{count(more, 'more job')} at work"] * bool(more) + [
        f"{count(waiting, 'job')} {'waits' if waiting == 1 else 'wait'}"
    ] * bool(waiting)
    lines = [_line(job, width) for job in shown]
    return [*lines, _cut(", ".join(rest), width)] if rest else lines


def _line(job: JobAtWork, width: int) -> str:
    parts = [job.phase, *([f"{job.done} of {count(job.total, 'database')}"] if job.total else [])]
    if job.bytes_done:
        # What was expected is an estimate; what is known to be wrong is not said.
        known = job.bytes_total is not None and job.bytes_total >= job.bytes_done
        parts.append(f"{size(job.bytes_done)} of {size(job.bytes_total or 0)}" if known else size(job.bytes_done))
        parts += [f"{size(round(job.speed))}/s"] if job.speed >= 1 else []
    parts.append(_clock(job.elapsed))
    if job.remaining is not None:
        parts.append(f"about {_clock(job.remaining + 1)} left" if job.remaining else "longer than last time")
    line = plain(redacted(f"{job.job}: {', '.join(parts)}"))
    others = f" and {len(job.subjects) - 1} more" if len(job.subjects) > 1 else ""
    room = width - cells(line) - len(others) - len(": ")
    if job.subjects and room >= _LEAST_SUBJECT:
        line += f": {_end_of(plain(redacted(job.subjects[0])), room)}{others}"
    return _cut(line, width)


def _clock(duration: float) -> str:
    minutes, second = divmod(int(duration), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _cut(text: str, width: int) -> str:
    """Return a text, or as much of its beginning as fits."""
    while cells(text) > width:
        text = text[:-1]
    return text


def _end_of(text: str, width: int) -> str:
    """Return a text, or as much of its end as fits: there a URL names its database."""
    if cells(text) <= width:
        return text
    while cells(text) > width - len("..."):
        text = text[1:]
    return f"...{text}"
