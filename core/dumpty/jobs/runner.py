"""Runs jobs side by side, and returns what came of each."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING

from dumpty.jobs.job_run import ActiveJob
from dumpty.jobs.task_pool import TaskPool
from dumpty.jobs.telling import tell_begun, tell_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from dumpty.jobs.document import Limits
    from dumpty.jobs.finding import Database
    from dumpty.jobs.job_run import Listener
    from dumpty.jobs.outcomes import JobRun
    from dumpty.jobs.planning import Planned
    from dumpty.jobs.watch import Watch
    from dumpty.jobs.work import Fleet

__all__ = ["Runner"]

_ENDING_SECONDS = 20.0
"""How long what was interrupted is waited for: backups end within five, a database's own library may wait longer."""


class Runner:
    """Runs jobs: the failure of one stops no other.

    Args:
        limits: how much goes on side by side.
        listener: is told of what happens, in any thread.
        names: of all the configuration's jobs, also those that are not run now.
        watch: tells people how jobs are, after each run.
        fleet: who does the work; None is this process.
    """

    def __init__(
        self,
        limits: Limits,
        listener: Listener,
        names: Collection[str],
        watch: Watch,
        fleet: Fleet | None = None,
    ) -> None:
        self._listener, self._watch, self._fleet = listener, watch, fleet
        self._names = frozenset(names)
        self._locks: dict[str, threading.Lock] = {}
        self._locks_lock = threading.Lock()
        self._pool = TaskPool(limits.parallel, limits.per_server)
        self._active: set[ActiveJob] = set()

    def run(self, planned: Sequence[Planned]) -> list[JobRun]:
        """Run jobs to their end, and return what came of each, in the same order; once.

        Raises:
            KeyboardInterrupt: a signal asks to end. What was begun is ended within seconds; runs that were not complete
                are given back, and nothing is written down of them.
        """
        with self.ended_in_good_order():
            jobs = [self._add(entry, None) for entry in planned]
            self._pool.wait()
        return [job.result for job in jobs if job.result is not None]

    # -- for ever --------------------------------------------------------------------------------------------------

    def start(self, idle: Callable[[], None]) -> None:
        """Begin to run what ``add`` is given, until ``ended_in_good_order`` is left.

        ``idle`` is called, in any thread, when there is room, and when there is something to ``check``.
        """
        self._pool.start(idle)

    @property
    def has_room(self) -> bool:
        """Whether a job that is added begins at once: one that waits here would be outdated when it begins."""
        return self._pool.has_room

    def add(self, entry: Planned, ended: Callable[[ActiveJob], None]) -> None:
        """Run a job as soon as there is room; ``ended`` is called then, in the thread that it ended in."""
        self._add(entry, ended)

    def change(self, limits: Limits, names: Collection[str]) -> None:
        """Go on with another configuration; what has begun ends as it began.

        Raises:
            RuntimeError: there is no room for so many threads; nothing is changed then.
        """
        self._pool.resize(limits.parallel, limits.per_server)
        self._names = frozenset(names)

    def check(self) -> None:
        """Raise what no job foresaw, if that happened."""
        self._pool.check()

    @contextlib.contextmanager
    def ended_in_good_order(self) -> Iterator[None]:
        """End what has begun, within seconds, where the block ends by an exception; nothing is written down of it."""
        try:
            yield
        except BaseException as error:
            active = list(self._active)
            for job in active:
                job.stop.interrupt(
                    f"interrupted by {error}" if isinstance(error, KeyboardInterrupt) else "the run failed"
                )
            try:
                self._pool.close(_ENDING_SECONDS)
            finally:  # a signal may come only now
                for job in active:
                    job.abandon()
            raise

    # -- a job -----------------------------------------------------------------------------------------------------

    def _add(self, entry: Planned, ended: Callable[[ActiveJob], None] | None) -> ActiveJob:
        job = ActiveJob(entry, self._listener, self._lock, self._names - {entry.job.name}, self._fleet)
        with self._locks_lock:
            self._active.add(job)
        self._pool.add(functools.partial(self._begin, job, ended))
        return job

    def _begin(self, job: ActiveJob, ended: Callable[[ActiveJob], None] | None) -> None:
        # Before other jobs are begun: what is claimed is worked on.
        databases = job.prepare()
        if databases:
            tell_begun(job, self._listener, self._watch)
            self._pool.add_first(
                [(functools.partial(self._back_up, job, each, ended), each.server) for each in databases]
            )
        else:
            self._end(job, ended)

    def _back_up(self, job: ActiveJob, database: Database, ended: Callable[[ActiveJob], None] | None) -> None:
        if job.back_up(database):
            self._pool.add_first([(functools.partial(self._finish, job, ended), "")])

    def _finish(self, job: ActiveJob, ended: Callable[[ActiveJob], None] | None) -> None:
        job.finish()
        self._end(job, ended)

    def _end(self, job: ActiveJob, ended: Callable[[ActiveJob], None] | None) -> None:
        try:
            tell_ended(job, self._listener, self._watch)
        finally:
            job.tell_end()
            with self._locks_lock:
                self._active.discard(job)
                if not self._active:
                    self._locks.clear()  # by address, which may hold a secret that is another one tomorrow
            if ended is not None:
                ended(job)

    def _lock(self, address: str) -> threading.Lock:
        with self._locks_lock:
            return self._locks.setdefault(address, threading.Lock())
