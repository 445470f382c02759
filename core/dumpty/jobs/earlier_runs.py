"""What earlier runs of a job say of this one: which databases there were, and how long they took."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from dumpty.errors import DumptyError
from dumpty.jobs.events import Expected
from dumpty.jobs.outcomes import decode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty.backup_manager import BackupManager
    from dumpty.jobs.outcomes import JobRun

__all__ = ["EarlierRuns", "read_earlier_runs"]

_LOOKED_BACK = 5
"""Runs that are looked at: the latest slot is not always the one that ran last."""


class EarlierRuns(NamedTuple):
    """Runs that got as far as to know their databases; ``problem`` is why there may be more of them."""

    runs: list[JobRun]
    problem: DumptyError | None

    def vanished(self, databases: Iterable[str]) -> list[str]:
        """Return a warning for each database that the last run had, and that is not among these."""
        before = max(self.runs, key=lambda run: run.ended, default=None)
        gone = {run.source for run in before.databases} - {*databases} if before is not None else set()
        return [
            f"{source} is not among the job's databases any more: its backups stay, and nothing removes them"
            for source in sorted(gone)
        ]

    def expected(self, databases: Iterable[str]) -> Expected | None:
        """Return how long these may take, by the last run that succeeded; None where it had none of them."""
        good = [run for run in self.runs if run.outcome in {"ok", "attention"}]
        last = max(good, key=lambda run: run.ended, default=None)
        if last is None:
            return None
        took = {run.source: run.duration_seconds for run in last.databases}
        if took.keys().isdisjoint(databases):
            return None
        begun = min(run.started for run in last.databases)
        ends = [(run.started - begun).total_seconds() + run.duration_seconds for run in last.databases]
        spent, elapsed = sum(took.values()), max(ends)
        before = (begun - last.started).total_seconds()
        return Expected(
            databases=took,
            parallel=max(1.0, spent / elapsed) if elapsed > 0 else 1.0,
            after_seconds=max(0.0, last.duration_seconds - before - elapsed),
        )


def read_earlier_runs(manager: BackupManager, job: str) -> EarlierRuns:
    """Return the runs of a job that ended last, as far as they can be read."""
    runs: list[JobRun] = []
    try:
        done = (stored for stored in manager.runs(job) if stored.done)
        for stored in itertools.islice(done, _LOOKED_BACK):
            content = manager.run_result(job, stored.slot)
            runs += [decode(content, f"run {stored.slot} of the job {job}")] if content else []
    except DumptyError as error:
        return EarlierRuns([run for run in runs if run.databases], error)
    return EarlierRuns([run for run in runs if run.databases], None)
