"""What a run of a job does: its databases backed up, and what follows; here, by whichever process does it."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec import Struct

from dumpty.errors import DumptyError
from dumpty.jobs import database_run
from dumpty.jobs.finding import is_local
from dumpty.jobs.outcomes import CopyRun, DrillRun  # noqa: TC001 - msgspec asks for it
from dumpty.jobs.upkeep import Place, Upkeep, read_address
from dumpty.operations.given_keys import given_recipients, given_signing_key
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dumpty.backup_manager import BackupManager
    from dumpty.jobs.events import EventSource
    from dumpty.jobs.finding import Database
    from dumpty.jobs.outcomes import DatabaseRun
    from dumpty.jobs.settings import JobSettings
    from dumpty.jobs.stop import Stop

    Managers = dict[tuple[int, str, str, str], BackupManager]

__all__ = ["Fleet", "FollowUp", "LocalWork", "Order", "Reporting", "Work", "WorkersLost", "purpose_of"]


class Reporting(NamedTuple):
    """Who is told of work, in any thread: of what fails, of each secret that is read, and of all that happens."""

    tell: Callable[[str], None]
    remember: Callable[[Iterable[str]], None]
    events: EventSource


class FollowUp(Struct, frozen=True, kw_only=True):
    """What followed the backups of a run."""

    copies: tuple[CopyRun, ...] = ()
    drills: tuple[DrillRun, ...] = ()
    removed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class WorkersLost(DumptyError):
    """Nothing more comes back of what workers elsewhere do; the run is ended as if it had been interrupted."""


class Order(NamedTuple):
    """Which run of which job is to be worked on, what ends it, who is told, and the names of all other jobs.

    ``contested``: somebody else may be at the same backups, taking whoever works here for dead.
    """

    job: JobSettings
    slot: str
    stop: Stop
    reporting: Reporting
    others: frozenset[str]
    contested: bool = False


class Fleet(Protocol):
    """Workers elsewhere."""

    def work(self, order: Order) -> Work:
        """Return what has a run's work done by them.

        Raises:
            DumptyError: it is none that others can do.
        """
        ...


class Work(Protocol):
    """Does the work of one run, in any thread, in this process or by way of others."""

    def back_up(self, database: Database, key: str) -> DatabaseRun:
        """Back up one database; failures are in what is returned. ``key`` is the run's."""
        ...

    def follow_up(self, made: Sequence[DatabaseRun], key: str) -> FollowUp:
        """Copy, prove and remove, after the backups that succeeded."""
        ...


class LocalWork:
    """The work of one job, done here: ``prepare``, ``back_up`` for each database, and ``follow_up``.

    Args:
        order: what is to be done; the backups of ``order.others`` are not this job's to remove.
        locks: returns a repository's lock, by its address: nothing is removed from it by two jobs at once.
        managers: those that are open, by thread, address, compressor and verifier, where several jobs share them.
    """

    def __init__(self, order: Order, locks: Callable[[str], threading.Lock], managers: Managers | None = None) -> None:
        self._job, self._stop, self._reporting = order.job, order.stop, order.reporting
        self._locks, self._others, self._contested = locks, order.others, order.contested
        self._managers: Managers = {} if managers is None else managers
        self._keys = database_run.Keys(None, None)
        self._repository: Place | None = None

    @property
    def repository(self) -> Place:
        """The job's repository, whose address is read when it is first asked for.

        Raises:
            OptionError, CommandError: there is nothing to read.
        """
        if self._repository is None:
            self._repository = self._place(read_address(self._job.repository, self._reporting.remember))
        return self._repository

    def read_keys(self) -> None:
        """Read whom backups are encrypted to, and what signs them.

        Raises:
            DumptyError: they cannot be read, or are none.
        """
        signing_key = None if self._job.sign_with is None else given_signing_key(self._job.sign_with)
        if signing_key is not None:
            self._reporting.remember(signing_key.secrets)
        self._keys = database_run.Keys(given_recipients(self._job.encrypt_to) or None, signing_key)

    def back_up(self, database: Database, key: str) -> DatabaseRun:
        """Back up one database, in this thread."""
        return database_run.back_up(
            self.repository.open,
            self._job,
            database.url,
            database.format,
            purpose_of(key, self._job, database),
            self._keys,
            self._stop,
            self._reporting.tell,
            self._reporting.events,
            contested=self._contested,
        )

    def follow_up(self, made: Sequence[DatabaseRun], key: str) -> FollowUp:
        """Do what follows, in this thread."""
        del key  # all of it may be done twice
        reporting = self._reporting
        prefixed = Reporting(self._told, reporting.remember, reporting.events)
        upkeep = Upkeep(self._job, made, self.repository, self._place, self._stop, *prefixed, self._others)
        upkeep.run()
        return FollowUp(
            copies=tuple(upkeep.copies),
            drills=tuple(upkeep.drills),
            removed=tuple(upkeep.removed),
            warnings=tuple(upkeep.warnings),
        )

    def close(self) -> None:
        """Give up the connections to repositories; what is asked for later opens them anew."""
        self._managers.clear()

    def _told(self, text: str) -> None:
        self._reporting.tell(f"{self._job.name}: {text}")

    def _place(self, address: str) -> Place:
        return Place(address, lambda: self._manager(address), self._locks(address))

    def _manager(self, address: str) -> BackupManager:
        """Return this thread's manager of a repository."""
        from dumpty.backup_manager import BackupManager

        key = threading.get_ident(), address, self._job.compressor, self._job.verifier
        if key not in self._managers:
            manager = BackupManager(address, compressor=self._job.compressor, verifier=self._job.verifier)
            manager.expect_many()
            self._managers[key] = manager
        return self._managers[key]


def purpose_of(key: str, job: JobSettings, database: Database) -> str:
    """Return what stands for a database's backup in a run (``once``): who does it again, as it was asked for, finds it.

    What is another database on another machine has that machine's name in it.
    """
    asked = (
        job.format,
        job.compressor,
        job.verifier,
        job.encrypt_to,
        job.sign_with,
        job.tags,
        sorted(job.options.items()),
    )
    where = socket.gethostname() if is_local(database.url, job.via) else ""
    return repr((key, where, database.format, parse_url(database.url).url, asked))
