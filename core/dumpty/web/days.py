"""Which days have a good backup, which should have one and have none, and on which something went wrong."""

from __future__ import annotations

import bisect
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from dumpty.jobs.database_run import job_tag
from dumpty.repository.retention import decide

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from dumpty.jobs.protection import Protected
    from dumpty.repository.retention import Rules

__all__ = ["Day", "days_of", "gaps_in", "weeks"]

_DAY = timedelta(days=1)
State = Literal["good", "wrong", "gap", "none"]


class Day(NamedTuple):
    """A day in UTC. ``wrong``: something went wrong, and there is no good backup. ``gap``: there should be one."""

    date: date
    state: State
    backups: int

    @property
    def text(self) -> str:
        """What there is to say of it."""
        words = {
            "good": f"{self.backups} good backup{'s' if self.backups != 1 else ''}",
            "wrong": "no good backup: what was tried failed, or is not good any more",
            "gap": "no good backup, and one was due",
            "none": "no backup",
        }
        return f"{self.date:%Y-%m-%d}: {words[self.state]}"


def days_of(database: Protected, failed: Iterable[datetime], now: datetime, number: int) -> list[Day]:
    """Return the last ``number`` days of a database, oldest first.

    Args:
        database: which.
        failed: when a run of it began that failed (aware).
        now: the end of the last day, which is not over (aware).
        number: how many.
    """
    good = [backup.timestamp for backup in database.backups if backup.state == "ok"]
    wrong = {b.timestamp.astimezone(UTC).date() for b in database.backups if b.state != "ok"}
    wrong |= {when.astimezone(UTC).date() for when in failed}
    made: dict[date, int] = {}
    for when in good:
        made[when.date()] = made.get(when.date(), 0) + 1
    today = now.astimezone(UTC).date()
    first = today - _DAY * (number - 1)
    gaps = _gaps(database, good, first, now)
    return [_day(first + _DAY * n, made, wrong, gaps) for n in range(number)]


def _day(day: date, made: dict[date, int], wrong: Collection[date], gaps: Collection[date]) -> Day:
    if day in made:
        return Day(day, "good", made[day])
    return Day(day, "wrong" if day in wrong else "gap" if day in gaps else "none", 0)


def _gaps(database: Protected, good: Sequence[datetime], first: date, now: datetime) -> set[date]:
    """Return the days, since its first backup that no pin holds, on which one was due that is missing.

    Days go by the schedule as it is now. Where nobody knows a schedule none is. What the rules of its job would have
    let go meanwhile is not missing.
    """
    job = database.job
    if not good or job is None or job.schedule is None:
        return set()
    # What is pinned may be from long before it was made by this job, or as often.
    own = [b.timestamp for b in database.backups if b.state == "ok" and not b.pinned and job_tag(job.name) in b.tags]
    start = max(datetime.combine(first, datetime.min.time(), UTC), min(own, default=now))
    missing, day = [], start.date()
    while day <= now.date():
        begins = datetime.combine(day, datetime.min.time(), UTC)
        due = job.schedule.next(max(begins, start) - timedelta(seconds=1))
        if due < begins + _DAY and due + job.deadline < now and not _any_between(good, due, job.schedule.next(due)):
            missing.append(due)
        day += _DAY
    return {due.date() for due in _kept(database, job.rules, missing, now)}


def _kept(database: Protected, rules: Rules | None, missing: Sequence[datetime], now: datetime) -> list[datetime]:
    """Return those of missing backups that would still be there, had all been made."""
    there = [backup for backup in database.backups if backup.state == "ok"]
    if rules is None or not missing:
        return list(missing)
    unreal = {f"missing-{due.isoformat()}": due for due in missing}
    plain = replace(there[0], proofs=(), pinned="", suspicious=False)
    made = [replace(plain, id=name, timestamp=due) for name, due in unreal.items()]
    decisions = decide([*there, *made], rules, now)
    return [unreal[d.backup.id] for d in decisions if d.keep and d.backup.id in unreal]


def _any_between(times: Sequence[datetime], start: datetime, end: datetime) -> bool:
    """Return whether one of the times, oldest first, is not before ``start``, and before ``end``."""
    index = bisect.bisect_left(times, start)
    return index < len(times) and times[index] < end


def weeks(days: Sequence[Day]) -> list[list[Day | None]]:
    """Return days as columns of a calendar: Monday to Sunday, None where there is none."""
    padded: list[Day | None] = [None] * (days[0].date.weekday() if days else 0)
    padded += days
    padded += [None] * (-len(padded) % 7)
    return [padded[start : start + 7] for start in range(0, len(padded), 7)]


def gaps_in(days: Iterable[Day]) -> list[str]:
    """Return the stretches of days on which a good backup is missing: ``2026-11-03``, ``2026-11-07 to 2026-11-09``."""
    return list(_stretches(day.date for day in days if day.state in {"gap", "wrong"}))


def _stretches(days: Iterable[date]) -> Iterator[str]:
    first = last = None
    for day in [*days, None]:
        if last is not None and day is not None and day - last == _DAY:
            last = day
            continue
        if first is not None:
            yield f"{first}" if first == last else f"{first} to {last}"
        first = last = day
