"""Repositories as they are looked at to say how jobs are: each as seldom as its answers stay right."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import unquote

from dumpty.errors import DumptyError, StoreError
from dumpty.jobs.conditions import View
from dumpty.jobs.health import health_of, runs_of
from dumpty.jobs.upkeep import read_address
from dumpty.streaming.worker import run_abandonable
from dumpty.url import shown_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from dumpty.backup_manager import BackupManager
    from dumpty.jobs.health import JobHealth
    from dumpty.jobs.outcomes import JobRun
    from dumpty.jobs.settings import JobSettings

__all__ = ["NoAnswer", "NoRepository", "Views", "in_time"]

T = TypeVar("T")
_MOST_SECONDS = 120.0
"""How long the look at a repository of copies may take."""
_APART = timedelta(minutes=5)
"""How far the clocks of whoever runs and whoever looks may be apart."""


class NoRepository(StoreError):
    """There is nothing at a local path."""


class NoAnswer(StoreError):
    """Looking takes too long: a repository may hang where nobody can wake it."""


def in_time(work: Callable[[], T], seconds: float, error: str, name: str) -> T:
    """Return what ``work`` does, or leave it behind, with whatever it uses, when it has taken so many seconds.

    Raises:
        NoAnswer: it did, with the text ``error``.
    """
    ends = time.monotonic() + seconds
    return run_abandonable(
        work,
        discard=lambda _: None,
        over=lambda: time.monotonic() > ends,
        error=lambda: NoAnswer(error),
        name=name,
    )


class _Seen(NamedTuple):
    view: View | DumptyError
    at: datetime


class Views:
    """Repositories, each looked at as often as runs have ended since.

    Args:
        remember: is told of every secret that is read.
    """

    def __init__(self, remember: Callable[[Iterable[str]], None]) -> None:
        self._remember = remember
        self._managers: dict[str, tuple[str, BackupManager]] = {}
        self._seen: dict[str, _Seen] = {}
        self._results: dict[tuple[str, str], dict[str, JobRun]] = {}

    def health(self, job: JobSettings, now: datetime, known_since: datetime) -> JobHealth:
        """Return how a job is, by what its repositories say.

        Raises:
            DumptyError: its own repository cannot be looked at.
        """
        # Runs first: what is listed then has the backups of all that ended.
        known = self._results.setdefault((job.repository, job.name), {})
        runs = runs_of(job, self.opened(job.repository)[1], now, known)
        ended = max((run.ended for run in runs.ended), default=None)
        made = {database.backup for run in runs.ended[:1] for database in run.databases if database.backup}
        view = self._look(job.repository, ended, made)
        if isinstance(view, DumptyError):
            raise view
        copies = {copy.repository: self._look(copy.repository, ended, made, copies=True) for copy in job.copies}
        return health_of(job, runs, view, copies, now, known_since)

    def forget(self, written: str) -> None:
        """Open a repository anew, and list it anew, when it is looked at next."""
        self._managers.pop(written, None)
        self._seen.pop(written, None)

    def list_anew(self) -> None:
        """List every repository anew, when it is looked at next."""
        self._seen.clear()

    def seen(self) -> dict[str, View]:
        """Return what was looked at, by address as it is written."""
        return {written: seen.view for written, seen in self._seen.items() if isinstance(seen.view, View)}

    def unreadable(self) -> list[str]:
        """Return what could not be read of all that was looked at."""
        return [text for view in self.seen().values() for text in view.unreadable]

    def opened(self, written: str) -> tuple[str, BackupManager]:
        """Return the address of a repository as it may be shown, and its manager; one that is not there is not made.

        Raises:
            NoRepository: there is none at a local path.
            DumptyError: it cannot be opened.
        """
        from dumpty.backup_manager import BackupManager

        if written not in self._managers:
            address = read_address(written, self._remember)
            path = unquote(address[len("file://") :]) if address.startswith("file://") else address
            if "://" not in path and not os.path.isdir(path):
                text = "nothing was backed up there yet, or it is not mounted"
                raise NoRepository(f"there is no repository at {path}: {text}")
            self._managers[written] = shown_address(address), BackupManager(address)
        return self._managers[written]

    def _look(
        self, written: str, ended: datetime | None, made: AbstractSet[str], *, copies: bool = False
    ) -> View | DumptyError:
        """Return what is in a repository, at the earliest when a run ``ended`` that ``made`` backups; or why not."""
        seen = self._seen.get(written)
        if seen is None or (ended is not None and (seen.at <= ended or _may_be_older(seen, ended, made))):
            at = datetime.now(UTC)
            try:
                view: View | DumptyError = self.listed(written) if not copies else self._listed_in_time(written)
            except DumptyError as error:
                view = error
            seen = self._seen[written] = _Seen(view, at)
        return seen.view

    def listed(self, written: str) -> View:
        """Return what is in the repository at an address, as it is written, listed now.

        Raises:
            NoRepository: there is none at a local path.
            DumptyError: it cannot be opened, or listed.
        """
        shown, manager = self.opened(written)
        listing = manager.listing()
        return View(shown, listing.backups, [str(problem) for problem in listing.problems])

    def _listed_in_time(self, written: str) -> View:
        """Return what is in a repository of copies: one that hangs hides nothing else.

        Raises:
            NoAnswer: it gives none.
        """
        own = Views(self._remember)  # whoever is left behind has connections of his own
        text = f"there was no answer within {_MOST_SECONDS:.0f} s"
        return in_time(lambda: own.listed(written), _MOST_SECONDS, text, "dumpty-look-at-copies")


def _may_be_older(seen: _Seen, ended: datetime, made: AbstractSet[str]) -> bool:
    """Return whether a look that seems to be newer than a run may be older: by clocks that are apart."""
    if isinstance(seen.view, DumptyError) or seen.at > ended + _APART:
        return False
    return not made <= {backup.id for backup in seen.view.backups}
