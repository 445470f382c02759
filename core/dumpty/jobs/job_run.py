"""One run of one job: claimed, its databases backed up, what follows, and what came of it written down."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from dumpty.errors import DumptyError, Locked
from dumpty.jobs import database_run
from dumpty.jobs.earlier_runs import read_earlier_runs
from dumpty.jobs.events import EventSource, JobEventKind, Listener
from dumpty.jobs.finding import find_databases, has_files, heard_warnings
from dumpty.jobs.outcomes import CopyRun, DatabaseRun, DrillRun, JobRun, decode, encode
from dumpty.jobs.stop import Stop
from dumpty.jobs.values import duration_text
from dumpty.jobs.work import FollowUp, LocalWork, Order, Reporting, WorkersLost
from dumpty.process.cancellation import cancellable
from dumpty.redaction import redact
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dumpty.backup_manager import BackupManager
    from dumpty.jobs.earlier_runs import EarlierRuns
    from dumpty.jobs.finding import Database
    from dumpty.jobs.outcomes import Outcome
    from dumpty.jobs.planning import Planned
    from dumpty.jobs.work import Fleet, Work
    from dumpty.types import RunClaim

__all__ = ["ActiveJob", "Listener"]

T = TypeVar("T", CopyRun, DrillRun)


class ActiveJob:
    """A job on its way: ``prepare``, ``back_up`` for each database, and ``finish``, each in whatever thread.

    Args:
        planned: which run of which job.
        listener: who is told.
        locks: returns a repository's lock, by its address: nothing is removed from it by two jobs at once.
        others: the names of the configuration's other jobs, whose backups are not this one's to remove.
        fleet: who does the work; None is this process.

    ``result`` is what came of it, once it has ended; ``settled`` is True where that stands in the repository, this
    machine's or another one's: whoever asks again is told so. ``claimed``: it was begun here; ``begun`` tells of that.
    """

    def __init__(
        self,
        planned: Planned,
        listener: Listener,
        locks: Callable[[str], threading.Lock],
        others: frozenset[str],
        fleet: Fleet | None = None,
    ) -> None:
        self.job, self.slot, self._by_hand = planned.job, planned.slot, planned.due is None
        self.stop = Stop()
        self.result: JobRun | None = None
        self.settled = self.claimed = False
        self.begun: threading.Thread | None = None
        self._listener, self._fleet = listener, fleet
        self._secrets: set[str] = set()
        self._events = EventSource(self.job.name, self.slot, listener.events, self._redacted)
        self._events.tell(JobEventKind.QUEUED)
        self._started, self._start = datetime.now(UTC), time.monotonic()
        self._claim: RunClaim | None = None
        self._timer: threading.Timer | None = None
        reporting = Reporting(listener.tell, self._remember, self._events)
        self._order = Order(self.job, self.slot, self.stop, reporting, others)
        self._local = LocalWork(self._order, locks)
        self._work: Work = self._local
        self._databases: list[DatabaseRun] = []
        self._remaining = 0
        self._asked = False
        self._earlier: EarlierRuns | None = None
        self._warnings: list[str] = []
        self._lock = threading.Lock()

    # -- before ----------------------------------------------------------------------------------------------------

    def prepare(self) -> list[Database]:
        """Claim the run, and return the databases to back up; none where it has ended already (``result``)."""
        self._started, self._start = datetime.now(UTC), time.monotonic()  # before, it waited for others
        self._events.tell(JobEventKind.PREPARING)
        try:
            with cancellable(self.stop.token, f"the preparation of the job {self.job.name}"):
                repository = self._local.repository
                if self._fleet is not None:
                    self._work = self._fleet.work(self._order)
            if not self._claim_run(manager := repository.open()):
                self._end_elsewhere(manager)
                return []
            databases = self._ready()
            self._begin(manager, databases)
        except WorkersLost:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the failure of one job stops no other
            # By hand it was asked for, and is not done; a slot that is due is tried again by whoever looks next.
            elsewhere = isinstance(error, Locked) and self._claim is None and not self._by_hand
            self._end("skipped" if elsewhere else "failed", error=error)
            return []
        self._asked = any(database.was_found for database in databases)
        return databases

    def _begin(self, manager: BackupManager, databases: list[Database]) -> None:
        """Tell which databases there are, and how long they may take, where somebody wants to know."""
        shown, expected = tuple(parse_url(database.url).url for database in databases), None
        self._remaining = self._events.total = len(databases)
        if self._listener.estimates:
            with contextlib.suppress(Exception):  # whatever is wrong with earlier runs, this one is not
                self._earlier = read_earlier_runs(manager, self.job.name)
                expected = self._earlier.expected(shown)
        self._events.tell(JobEventKind.BEGUN, databases=shown, expected=expected)

    def _ready(self) -> list[Database]:
        """Read keys, and find the databases; what may pass is tried again, as their backups are."""
        wait = self.job.retry_wait.total_seconds()
        for attempt in itertools.count(1):
            try:
                with (
                    cancellable(self.stop.token, f"the preparation of the job {self.job.name}"),
                    heard_warnings() as heard,
                ):
                    if self._fleet is None:  # else they are read where they are used
                        self._local.read_keys()
                    databases = find_databases(self.job, self._remember)
            except DumptyError as error:
                if attempt > self.job.retries or self.stop.asked or not database_run.is_transient(error):
                    raise
                self._tell(f"{error}; tried again in {wait:.0f} s, {attempt} of {self.job.retries} times")
                self.stop.wait(wait)
                wait *= 2
            else:
                self._warnings += heard
                return databases
        raise AssertionError  # it counts for ever

    def _end_elsewhere(self, manager: BackupManager) -> None:
        """End a run that somebody else has done, or is at; whose files were others, though, has not done this one."""
        content = manager.run_result(self.job.name, self.slot)
        self.settled = content is not None
        host = decode(content, f"run {self.slot} of the job {self.job.name}").host if content else socket.gethostname()
        if host != socket.gethostname() and has_files(self.job):
            warning = (
                f"it was run by {host}, whose files are not those of {socket.gethostname()}: give jobs on several "
                "machines names of their own, or repositories"
            )
            self._tell(warning)
            self._end("attention", warnings=[warning])
        else:
            self._end("skipped", warnings=[f"it is done, by {host}" if content else "somebody is at it"])

    def _claim_run(self, manager: BackupManager) -> bool:
        """Claim the run; return False where it is done, or somebody is at it."""
        try:
            claim = manager.claim_run(self.job.name, self.slot)
        except Locked:
            # Two that claim at the same moment are both refused: whoever then waits less gets in.
            if self.stop.wait(random.uniform(0.1, 1.0)):  # noqa: S311 - no secret
                raise
            claim = manager.claim_run(self.job.name, self.slot)
        if claim is None:
            return False
        self._claim, self.claimed = claim.__enter__(), True
        deadline = self.job.deadline
        reason = f"the deadline of {duration_text(deadline)} of the job {self.job.name} has passed"
        self._timer = threading.Timer(deadline.total_seconds(), self.stop.ask, (reason,))
        self._timer.daemon = True
        self._timer.start()
        return True

    def _remember(self, secrets: Iterable[str]) -> None:
        found = set(secrets)
        self._secrets |= found
        self._listener.remember(found)

    def _tell(self, text: str) -> None:
        self._listener.tell(f"{self.job.name}: {self._redacted(text)}")

    def _redacted(self, text: str) -> str:
        return redact(text, tuple(self._secrets))  # other threads add to them

    # -- a database ------------------------------------------------------------------------------------------------

    def back_up(self, database: Database) -> bool:
        """Back up one database; return whether it was the last of them, so that ``finish`` is next."""
        assert self._claim is not None  # noqa: S101 - prepare() returned it
        run = self._work.back_up(database, self._claim.key)
        if not run.ok:
            self._tell(f"{run.source}: FAILED: {run.error}")
        with self._lock:
            self._databases.append(run)
            self._remaining -= 1
            # Before anybody can know that it was the last: what follows is told after it.
            self._events.done += 1
            self._events.tell(JobEventKind.DATABASE_ENDED, database=run.source, result=run)
            return self._remaining == 0

    # -- after -----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Do what follows, and write down what came of the run: then ``result`` has it."""
        try:
            self._finish()
        except WorkersLost:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the failure of one job stops no other
            self._end("failed", error=error)

    def _finish(self) -> None:
        assert self._claim is not None  # noqa: S101 - as above
        warnings = [*self._warnings, *(text for run in self._databases for text in run.warnings), *self._vanished()]
        made = [run for run in self._databases if run.ok]
        after = self._work.follow_up(made, self._claim.key) if made else FollowUp()
        failed = [run for run in self._databases if not run.ok]
        damaged = [drill for drill in after.drills if drill.ok is False]
        open_questions = [*(c for c in after.copies if not c.ok), *(d for d in after.drills if d.ok is None)]
        warnings += after.warnings
        error = _summary(failed, len(self._databases)) if failed else None
        if damaged and error is None:
            error = DumptyError(f"a drill failed: {damaged[0].error}")
        if self.stop.asked and error is None:
            error = DumptyError(f"{self.stop.reason}: the backups are made, and not all that follows was done")
        outcome: Outcome = "failed" if error is not None else "attention" if open_questions or warnings else "ok"
        self._end(
            outcome,
            error=error,
            warnings=warnings,
            copies=tuple(self._shown(copy) for copy in after.copies),
            drills=tuple(self._shown(drill) for drill in after.drills),
            removed=after.removed,
        )

    def _shown(self, entry: T) -> T:
        """Return what followed the backups without secrets: a plugin may say more than it should."""
        from msgspec.structs import replace

        return entry if entry.error is None else replace(entry, error=self._redacted(entry.error))

    def _vanished(self) -> list[str]:
        """Return a warning for each database that the last run found, and this one did not."""
        if not self._asked:
            return []
        earlier = self._earlier or read_earlier_runs(self._local.repository.open(), self.job.name)
        if earlier.problem is not None:
            self._tell(f"warning: it is not known which databases there were before: {earlier.problem}")
        return earlier.vanished(run.source for run in self._databases)

    def _end(
        self,
        outcome: Outcome,
        *,
        error: Exception | SystemExit | None = None,
        warnings: list[str] | None = None,
        **facts: Any,
    ) -> None:
        """Write down what came of the run, where it is claimed, and keep it as ``result``."""
        if error is not None and not self._databases:
            self._tell(f"{'not run' if outcome == 'skipped' else 'FAILED'}: {database_run.error_text(error)}")
        if self._timer is not None:
            self._timer.cancel()
        run = JobRun(
            job=self.job.name,
            slot=self.slot,
            outcome=outcome,
            host=socket.gethostname(),
            started=self._started,
            ended=datetime.now(UTC),
            duration_seconds=round(time.monotonic() - self._start, 3),
            databases=tuple(sorted(self._databases, key=lambda run: run.source)),
            warnings=tuple(self._redacted(text) for text in warnings or ()),
            error=None if error is None else self._redacted(database_run.error_text(error)),
            error_type=None if error is None else type(error).__name__,
            **facts,
        )
        self.result = self._recorded(run)

    def tell_end(self) -> None:
        """Tell that nothing of it goes on any more."""
        if self.result is not None:
            self._events.tell(JobEventKind.ENDED, result=self.result)

    def _recorded(self, run: JobRun) -> JobRun:
        """Write a run down, and return it; with what kept it from being written down."""
        from msgspec.structs import replace

        if self._claim is None or self.stop.interrupted:
            self.abandon()
            return run
        try:
            counts = self._claim.finish(encode(run))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - of a plugin's store, too: the failure of one job stops no other
            problem = f"what came of the run could not be written down: {error}"
        else:
            self.settled = True
            if counts:
                return run
            problem = "it took so long without a sign of life that another run of the same slot came first, and counts"
        finally:
            self.abandon()
        outcome: Outcome = "attention" if run.outcome == "ok" else run.outcome
        return replace(run, outcome=outcome, warnings=(*run.warnings, self._redacted(problem)))

    def abandon(self) -> None:
        """Leave the run; where nothing is written down of it, whoever comes next may try at once."""
        self._local.close()
        if self._timer is not None:
            self._timer.cancel()
        claim, self._claim = self._claim, None
        if claim is not None:
            with contextlib.suppress(Exception):  # nobody who comes next needs it given back
                claim.__exit__(None, None, None)


def _summary(failed: list[DatabaseRun], total: int) -> DumptyError:
    first = failed[0]
    if total == 1:
        return DumptyError(first.error or "")
    return DumptyError(f"{len(failed)} of {total} databases failed, the first: {first.database}: {first.error}")
