"""Which jobs are at work, and how far each has come: what its events add up to."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from dumpty.jobs.events import JobEventKind
from dumpty.jobs.outcomes import DatabaseRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty.jobs.events import Expected, JobEvent
    from dumpty.types import Progress

__all__ = ["Activity", "JobAtWork"]

_WINDOW_SECONDS = 5.0
"""A speed is the average of so long."""
_SAMPLES_APART = 0.25
_STEPS = {
    JobEventKind.PREPARING: "looking for databases",
    JobEventKind.BEGUN: "waiting for room",
    JobEventKind.COPIES_BEGUN: "copies",
    JobEventKind.DRILL_BEGUN: "proof",
    JobEventKind.PRUNE_BEGUN: "removal",
}


class JobAtWork(NamedTuple):
    """A job at work: how far it has come.

    ``phase`` says what it is at, in words. ``subjects`` are the URLs of the databases that it is at, the longest at
    work first, or else the address of a repository. ``bytes_done`` are those of what goes on now, ``bytes_total`` is
    None where that is not known. ``speed`` is in bytes a second, ``elapsed`` and ``remaining`` are seconds:
    ``remaining`` is None where no earlier run tells, and 0 where it takes longer than then.
    """

    job: str
    slot: str
    phase: str
    subjects: tuple[str, ...]
    bytes_done: int
    bytes_total: int | None
    speed: float
    done: int
    total: int
    elapsed: float
    remaining: float | None


class Activity:
    """Adds up the events of all runs; give ``take`` to a ``Listener``.

    Args:
        ticks: returns seconds that nobody sets.
    """

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._lock = threading.Lock()
        self._queued: set[tuple[str, str]] = set()
        self._jobs: dict[tuple[str, str], _Job] = {}

    def take(self, event: JobEvent) -> None:
        """Take an event up, in any thread; it returns at once."""
        key, now = (event.job, event.slot), self._ticks()
        with self._lock:
            if event.kind is JobEventKind.QUEUED:
                self._queued.add(key)
            elif event.kind is JobEventKind.PREPARING:
                self._queued.discard(key)
                self._jobs[key] = _Job(now)
                self._jobs[key].take(event, now)
            elif event.kind is JobEventKind.ENDED:
                self._queued.discard(key)
                self._jobs.pop(key, None)
            elif key in self._jobs:
                self._jobs[key].take(event, now)

    @property
    def waiting(self) -> int:
        """How many jobs wait until there is room for them."""
        with self._lock:
            return len(self._queued)

    def at_work(self) -> list[JobAtWork]:
        """Return the jobs that are at work, the longest first."""
        now = self._ticks()
        with self._lock:
            return [job.view(name, slot, now) for (name, slot), job in self._jobs.items()]


class _Work:
    """One call that goes on: a database's backup, copies, a proof, a removal."""

    def __init__(self, phase: str, now: float) -> None:
        self.phase, self.began = phase, now
        self.bytes_done = 0
        self.bytes_total: int | None = None

    def wait(self) -> None:
        """Note that it is done again from its beginning, after a while."""
        self.phase, self.bytes_done, self.bytes_total = "waiting to try again", 0, None

    def take(self, progress: Progress) -> int:
        """Take progress up, and return how many bytes more than before it says."""
        same = progress.phase == self.phase
        moved = max(0, progress.bytes_done - (self.bytes_done if same else 0))
        self.phase = progress.phase.value
        self.bytes_done, self.bytes_total = progress.bytes_done, progress.bytes_total
        return moved


class _Job:
    """What is known of a job at work."""

    def __init__(self, now: float) -> None:
        self._began = self._databases_ended = now
        self._done = self._total = 0
        self._databases: dict[str, _Work] = {}
        self._left: dict[str, None] = {}
        self._expected: Expected | None = None
        self._mean = self._seconds_done = self._expected_done = 0.0
        self._step, self._step_work = "", _Work("", now)
        self._subject = self._items = ""
        self._moved = 0
        self._samples = deque([(now, 0)])

    def take(self, event: JobEvent, now: float) -> None:
        self._done, self._total = event.done, event.total
        if event.kind is JobEventKind.PROGRESS:
            self._progress(event, now)
        elif event.kind is JobEventKind.DATABASE_BEGUN:
            self._databases[event.database] = _Work("beginning", now)
            self._left.pop(event.database, None)
        elif event.kind is JobEventKind.DATABASE_DELAYED and event.database in self._databases:
            self._databases[event.database].wait()
        elif event.kind is JobEventKind.DATABASE_ENDED:
            self._database_ended(event, now)
        elif event.kind in _STEPS:
            self._step, self._step_work = _STEPS[event.kind], _Work("", now)
            self._subject, self._items = event.repository or event.database, ""
        if event.kind is JobEventKind.BEGUN:
            self._left, self._expected = dict.fromkeys(event.databases), event.expected
            if event.expected is not None:
                self._mean = sum(event.expected.databases.values()) / len(event.expected.databases)

    def _progress(self, event: JobEvent, now: float) -> None:
        if event.progress is None:
            return
        work = self._databases.get(event.database, self._step_work)
        self._moved += work.take(event.progress)
        if work is self._step_work and event.progress.items_total:
            self._items = f" ({event.progress.items_done} of {event.progress.items_total})"
        self._sample(now)

    def _database_ended(self, event: JobEvent, now: float) -> None:
        self._databases.pop(event.database, None)
        self._databases_ended = now
        if self._done == self._total:
            self._step = "ending"
        if self._expected is not None and isinstance(event.result, DatabaseRun) and event.result.ok:
            self._seconds_done += event.result.duration_seconds
            self._expected_done += self._seconds_of(event.database, self._expected)

    def _sample(self, now: float) -> None:
        """Keep how many bytes have moved by now, and forget what was too long ago."""
        if now - self._samples[-1][0] >= _SAMPLES_APART:
            self._samples.append((now, self._moved))
        while len(self._samples) > 1 and now - self._samples[1][0] >= _WINDOW_SECONDS:
            self._samples.popleft()

    def view(self, name: str, slot: str, now: float) -> JobAtWork:
        self._sample(now)
        since, before = self._samples[0]
        works = [*self._databases.values()] or [self._step_work]
        totals = [work.bytes_total for work in works]
        known = [total for total in totals if total is not None]
        return JobAtWork(
            job=name,
            slot=slot,
            phase=works[0].phase if self._databases else self._step_phase(),
            subjects=tuple(self._databases) or ((self._subject,) if self._subject else ()),
            bytes_done=sum(work.bytes_done for work in works),
            bytes_total=sum(known) if len(known) == len(totals) else None,
            speed=(self._moved - before) / (now - since) if now > since else 0.0,
            done=self._done,
            total=self._total,
            elapsed=now - self._began,
            remaining=self._remaining(now),
        )

    def _step_phase(self) -> str:
        within = self._step_work.phase
        return f"{self._step}: {within}{self._items}" if within else self._step

    # -- how long it will take -------------------------------------------------------------------------------------

    def _seconds_of(self, database: str, expected: Expected) -> float:
        """Return how long a database took in the run before; one that was not among them about as long as others."""
        return expected.databases.get(database, self._mean)

    def _remaining(self, now: float) -> float | None:
        expected = self._expected
        if expected is None:
            return None
        if not self._left and not self._databases:
            return max(0.0, expected.after_seconds - (now - self._databases_ended))
        parts = [self._seconds_of(database, expected) for database in self._left]
        for database, work in self._databases.items():
            parts.append(max(0.0, self._seconds_of(database, expected) - (now - work.began)))
        left = sum(parts)
        if not left:
            return 0.0
        # As much slower, or faster, than then as what is done was; the more of it is done, the more that says.
        pace = (self._seconds_done + left) / (self._expected_done + left)
        return max(left / expected.parallel, *parts) * pace + expected.after_seconds
