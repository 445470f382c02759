"""Runs jobs side by side, and returns what came of each."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

from dumpty.jobs.job_run import ActiveJob
from dumpty.jobs.task_pool import TaskPool

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dumpty.jobs.document import Limits
    from dumpty.jobs.finding import Database
    from dumpty.jobs.job_run import Listener
    from dumpty.jobs.outcomes import JobRun
    from dumpty.jobs.planning import Planned

__all__ = ["Runner"]

_ENDING_SECONDS = 20.0
"""How long what was interrupted is waited for: backups end within five, a database's own library may wait longer."""


class Runner:
    """Runs jobs: the failure of one stops no other.

    Args:
        limits: how much goes on side by side.
        listener: is told of what happens, in any thread.
        names: of all the configuration's jobs, also those that are not run now.
    """

    def __init__(self, limits: Limits, listener: Listener, names: Collection[str]) -> None:
        self._limits = limits
        self._listener = listener
        self._names = frozenset(names)
        self._locks: dict[str, threading.Lock] = {}
        self._locks_lock = threading.Lock()

    def run(self, planned: Sequence[Planned]) -> list[JobRun]:
        """Run jobs to their end, and return what came of each, in the same order.

        Raises:
            KeyboardInterrupt: a signal asks to end. What was begun is ended within seconds; runs that were not complete
                are given back, and nothing is written down of them.
        """
        pool = TaskPool(self._limits.parallel, self._limits.per_server)
        active = [ActiveJob(entry, self._listener, self._lock, self._names - {entry.job.name}) for entry in planned]
        for job in active:
            pool.add(functools.partial(self._begin, pool, job))
        try:
            pool.wait()
        except BaseException as error:
            for job in active:
                job.stop.interrupt(
                    f"interrupted by {error}" if isinstance(error, KeyboardInterrupt) else "the run failed"
                )
            pool.close(_ENDING_SECONDS)
            for job in active:
                job.abandon()
            raise
        return [job.result for job in active if job.result is not None]

    def _begin(self, pool: TaskPool, job: ActiveJob) -> None:
        # Before other jobs are begun: what is claimed is worked on.
        databases = job.prepare()
        pool.add_first([(functools.partial(self._back_up, pool, job, each), each.server) for each in databases])

    def _back_up(self, pool: TaskPool, job: ActiveJob, database: Database) -> None:
        if job.back_up(database):
            pool.add_first([(job.finish, "")])

    def _lock(self, address: str) -> threading.Lock:
        with self._locks_lock:
            return self._locks.setdefault(address, threading.Lock())
