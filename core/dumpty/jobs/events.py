"""What happens in runs of jobs, told while it happens: to a terminal, to a log, to whoever shows it."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from dumpty.jobs.outcomes import CopyRun, DatabaseRun, DrillRun, JobRun, as_json
from dumpty.types import Progress  # noqa: TC001 - msgspec asks for it

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dumpty.types import ProgressCallback

__all__ = ["EventSource", "Expected", "JobEvent", "JobEventKind", "Listener", "encode"]

Result = DatabaseRun | CopyRun | DrillRun | JobRun
_APART_SECONDS = 0.1
"""How often progress within one phase is told: a driver reports every block that it writes."""
_log = logging.getLogger(__name__)


class JobEventKind(StrEnum):
    """What has happened, in the order in which it does; beside it the fields of ``JobEvent`` that say more.

    ================ ===================================== ==========================================================
    queued                                                 the run waits until there is room for it
    preparing                                              it is claimed, keys are read, and databases looked for
    begun            databases, expected                   it is this machine's, and ``total`` databases are to do
    database_begun   database
    progress         progress, and whose it is             a phase begins, or goes on; at most ten times a second
    database_delayed database, error                       it failed, and is tried again after a while
    database_ended   database, result: ``DatabaseRun``     it is backed up, or failed
    copies_begun     repository
    copied           repository, result: ``CopyRun``       one for each backup, when all copies there are done
    drill_begun      database, backup
    drill_ended      database, backup, result: ``DrillRun``
    prune_begun      repository
    removed          repository, removed                   where anything was
    ended            result: ``JobRun``                    nothing of the run goes on any more
    ================ ===================================== ==========================================================

    A run that another machine has done, or that fails before its databases are known, has no ``begun``. Of several
    databases each has its own order. One that is interrupted may have no ``ended``.
    """

    QUEUED = auto()
    PREPARING = auto()
    BEGUN = auto()
    DATABASE_BEGUN = auto()
    PROGRESS = auto()
    DATABASE_DELAYED = auto()
    DATABASE_ENDED = auto()
    COPIES_BEGUN = auto()
    COPIED = auto()
    DRILL_BEGUN = auto()
    DRILL_ENDED = auto()
    PRUNE_BEGUN = auto()
    REMOVED = auto()
    ENDED = auto()


class Expected(Struct, frozen=True, kw_only=True):
    """How long a run may take, by the last one that succeeded.

    ``databases`` are the seconds that each took, by its URL; ``parallel`` is how many of them went on at once, on
    average; ``after_seconds`` is how long copies, proofs and removals took after them.
    """

    databases: dict[str, float]
    parallel: float
    after_seconds: float


class JobEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened in a run of a job; ``encode`` writes it as JSON.

    ``job`` and ``slot`` name the run, ``at`` is aware, in UTC. ``done`` of the run's ``total`` databases were tried by
    then, successfully or not. ``database`` and ``databases`` are URLs without secrets, ``repository`` is an address
    without them, ``backup`` and ``removed`` are ids. Texts may hold whatever a database is named, control characters
    included.
    """

    job: str
    slot: str
    kind: JobEventKind
    at: datetime
    done: int = 0
    total: int = 0
    database: str = ""
    databases: tuple[str, ...] = ()
    backup: str = ""
    repository: str = ""
    error: str | None = None
    progress: Progress | None = None
    result: Result | None = None
    removed: tuple[str, ...] = ()
    expected: Expected | None = None


def encode(event: JobEvent) -> bytes:
    """Return an event as JSON: an object with the fields of ``JobEvent``, those that say nothing left out."""
    return as_json(event)


class Listener(NamedTuple):
    """Who is told of jobs, in any thread.

    ``tell`` is told of what fails, line by line; ``remember`` of every secret that is read, so that nothing shows it.
    ``events`` is told of all that happens. Backups wait for it, so it returns at once; one that raises is told nothing
    more of that run. ``estimates``: earlier runs are read, for ``JobEvent.expected``.
    """

    tell: Callable[[str], None]
    remember: Callable[[Iterable[str]], None]
    events: Callable[[JobEvent], None]
    estimates: bool = False


class EventSource:
    """Tells of one run's events; what is wrong with whoever listens fails no backup.

    Args:
        job: the job's name.
        slot: the run's.
        sink: is told.
        redact: returns a text without the secrets that are known by then.

    ``done`` and ``total`` are what the next events say of them.
    """

    def __init__(self, job: str, slot: str, sink: Callable[[JobEvent], None], redact: Callable[[str], str]) -> None:
        self._job, self._slot, self._redact = job, slot, redact
        self._sink: Callable[[JobEvent], None] | None = sink
        self.done = self.total = 0

    def tell(self, kind: JobEventKind, *, result: Result | None = None, error: str | None = None, **facts: Any) -> None:
        """Tell of an event, in any thread."""
        sink = self._sink
        if sink is None:
            return
        try:
            if result is not None and result.error is not None:
                result = replace(result, error=self._redact(result.error))
            event = JobEvent(
                job=self._job,
                slot=self._slot,
                kind=kind,
                at=datetime.now(UTC),
                done=self.done,
                total=self.total,
                error=None if error is None else self._redact(error),
                result=result,
                **facts,
            )
            sink(event)
        except Exception:  # noqa: BLE001 - a progress callback that raised would end the backup
            self._sink = None
            text = "whoever is told what the job %s does has failed, and is told no more of this run"
            _log.warning(text, self._job, exc_info=True, extra={"event": "listener-failed"})

    def progress(self, **facts: Any) -> ProgressCallback:
        """Return what a facade calls with how far it has come; ``facts`` say of what."""
        phase, next_at = "", 0.0

        def report(progress: Progress) -> None:
            nonlocal phase, next_at
            now = time.monotonic()
            if progress.phase != phase or now >= next_at:
                phase, next_at = progress.phase, now + _APART_SECONDS
                self.tell(JobEventKind.PROGRESS, progress=progress, **facts)

        return report
