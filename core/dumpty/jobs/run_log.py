"""What became of the latest runs of jobs, by what their repositories say."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from dumpty.errors import DumptyError, ManifestError
from dumpty.jobs.outcomes import decode
from dumpty.jobs.views import NoRepository, Views, in_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dumpty.jobs.outcomes import JobRun
    from dumpty.types import StoredRun

__all__ = ["LoggedRun", "RunLog"]

_MOST_RUNS = 300
"""Runs that are read of one repository: each is an object of its own."""
_MOST_SECONDS = 120.0


class LoggedRun(NamedTuple):
    """A run that a repository knows of: what came of it, or why that cannot be read; neither where it has no result."""

    repository: str
    stored: StoredRun
    result: JobRun | None
    error: str


class RunLog:
    """Reads the latest runs from repositories; each result once, for it never changes.

    Args:
        repositories: returns the addresses, as they are written.
        remember: is told of every secret that is read.
        problem: is told what cannot be read.
    """

    def __init__(
        self,
        repositories: Callable[[], Iterable[str]],
        remember: Callable[[Iterable[str]], None],
        problem: Callable[[str], None],
    ) -> None:
        self._repositories, self._remember, self._problem = repositories, remember, problem
        self._views = Views(remember)
        self._known: dict[tuple[str, str, str], JobRun] = {}

    def __call__(self, listed_within: float = 0.0) -> tuple[LoggedRun, ...]:
        """Return them, the latest slot first; a repository that cannot be looked at has none, and that is told."""
        del listed_within
        found: list[LoggedRun] = []
        seen: dict[tuple[str, str, str], JobRun] = {}
        for written in dict.fromkeys(self._repositories()):
            try:
                read = self._read_in_time(written)
            except NoRepository:
                continue  # nothing was run yet, and whoever looks at the jobs says so
            except DumptyError as error:
                self._views = Views(self._remember)  # whoever hangs has them still; what was closed is opened anew
                self._problem(f"the runs cannot be looked at: {error}")
                continue
            found += read
            seen |= {(written, r.stored.job, r.stored.slot): r.result for r in read if r.result is not None}
        self._known = seen
        return tuple(sorted(found, key=lambda run: (run.stored.slot, run.stored.job), reverse=True))

    def _read_in_time(self, written: str) -> list[LoggedRun]:
        views, text = self._views, f"there was no answer within {_MOST_SECONDS:.0f} s"
        return in_time(lambda: self._read(views, written), _MOST_SECONDS, text, "dumpty-look-at-runs")

    def _read(self, views: Views, written: str) -> list[LoggedRun]:
        shown, manager = views.opened(written)
        read = []
        for stored in itertools.islice(manager.runs(), _MOST_RUNS):
            result, error = self._known.get((written, stored.job, stored.slot)), ""
            if result is None and stored.done:
                try:
                    content = manager.run_result(stored.job, stored.slot) or b""
                    result = decode(content, f"run {stored.slot} of the job {stored.job}") if content else None
                except ManifestError as problem:
                    error = str(problem)
            read.append(LoggedRun(shown, stored, result, error))
        return read
