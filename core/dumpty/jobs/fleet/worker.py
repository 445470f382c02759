"""What runs in a worker's process: assignments in its threads, and what it tells of them meanwhile."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec.structs import replace

from dumpty._version import __version__
from dumpty.errors import DumptyError
from dumpty.jobs import database_run
from dumpty.jobs.events import EventSource, JobEvent, JobEventKind
from dumpty.jobs.fleet.assignments import (
    TOPIC,
    Answer,
    Assignment,
    Happened,
    Machine,
    Message,
    as_values,
    resolve,
)
from dumpty.jobs.outcomes import CopyRun, DrillRun, as_json
from dumpty.jobs.settings import settings_of
from dumpty.jobs.stop import Stop
from dumpty.jobs.values import duration_text
from dumpty.jobs.work import FollowUp, LocalWork, Order, Reporting
from dumpty.process.cancellation import cancellable
from dumpty.redaction import redact
from dumpty.url import parse_url, shown_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dumpty.jobs.outcomes import DatabaseRun
    from dumpty.jobs.work import Managers

    T = TypeVar("T", CopyRun, DrillRun, DatabaseRun)

__all__ = ["about", "perform", "stop"]

_JOBS = 64
"""Jobs whose work a process remembers; another one is begun anew."""
_STOPPED = 256
_IDLE_SECONDS = 60.0
"""After how long without work a process gives up its connections to repositories."""
_APART_SECONDS = 1.0
"""How often one database's progress is told: it all goes through the scheduler."""


class _JobWork:
    """What a process does of one run of one job, in several threads. ``threads`` is how many are at it."""

    def __init__(self, assignment: Assignment, send: Callable[[Message], None], process: _Process) -> None:
        self._assignment, self._send = assignment, send
        self.stop = Stop()
        self.threads = 0
        self.secrets: set[str] = set()
        self._prepared = False
        self._lock = threading.Lock()
        self._told_at: dict[str, tuple[str, float]] = {}
        self._timer: threading.Timer | None = None
        self.job = settings_of(assignment.job, assignment.document)
        events = EventSource(assignment.job, assignment.slot, self._event, self.redacted)
        reporting = Reporting(self.tell, self.remember, events)
        others = frozenset(assignment.others)
        order = Order(self.job, assignment.slot, self.stop, reporting, others, contested=True)
        self.local = LocalWork(order, process.lock_of, process.managers)

    def begin(self, assignment: Assignment) -> None:
        """Count one thread more; the job's deadline ends what it does."""
        self.threads += 1
        if self._timer is None:
            reason = f"the deadline of {duration_text(self.job.deadline)} of the job {assignment.job} has passed"
            self._timer = threading.Timer(assignment.deadline_seconds, self.stop.ask, (reason,))
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """Forget its deadline."""
        if self._timer is not None:
            self._timer.cancel()

    def prepare(self) -> None:
        """See that the run was begun in this machine's repository of that address, and read keys; once.

        Raises:
            DumptyError: it was not, or keys cannot be read.
        """
        with self._lock:
            wait = self.job.retry_wait.total_seconds()
            for attempt in itertools.count(1):
                if self._prepared:
                    return
                try:
                    with cancellable(self.stop.token, f"the preparation of the job {self._assignment.job}"):
                        self._require_known()
                        self.local.read_keys()
                except DumptyError as error:
                    if attempt > self.job.retries or not database_run.is_transient(error) or self.stop.wait(wait):
                        raise
                    wait *= 2
                else:
                    self._prepared = True

    def _require_known(self) -> None:
        repository, assignment = self.local.repository, self._assignment
        if repository.open().run_key(assignment.job, assignment.slot) != assignment.key:
            raise DumptyError(
                f"on {Machine.current().host} {shown_address(repository.address)} knows nothing of the run "
                f"{assignment.slot} of the job {assignment.job}: it is another place there, or the run is over; "
                "workers need a repository that all of them share"
            )

    def tell(self, text: str) -> None:
        """Tell of what has failed."""
        self._send(Message(run=self._assignment.run, job=self._assignment.job, tell=self.redacted(text)))

    def log(self, record: logging.LogRecord, secrets: Iterable[str]) -> None:
        """Tell what the library's log says."""
        fields = getattr(record, "event", ""), record.levelno, redact(record.getMessage(), secrets)
        self._send(Message(run=self._assignment.run, job=self._assignment.job, log=fields))

    def remember(self, secrets: Iterable[str]) -> None:
        """Keep secrets that were read here out of all that is told."""
        self.secrets |= set(secrets)

    def redacted(self, text: str) -> str:
        """Return a text without them."""
        return redact(text, frozenset(self.secrets))

    def shown(self, answer: Answer) -> Answer:
        """Return an answer without them: a plugin may say more than it should."""
        done, after = answer.backed_up, answer.after
        if done is not None:
            done = replace(self._entry(done), warnings=tuple(map(self.redacted, done.warnings)))
        if after is not None:
            after = FollowUp(
                copies=tuple(map(self._entry, after.copies)),
                drills=tuple(map(self._entry, after.drills)),
                removed=after.removed,
                warnings=tuple(map(self.redacted, after.warnings)),
            )
        return replace(answer, backed_up=done, after=after)

    def _entry(self, entry: T) -> T:
        return entry if entry.error is None else replace(entry, error=self.redacted(entry.error))

    def _event(self, event: JobEvent) -> None:
        if event.kind is JobEventKind.DATABASE_BEGUN:  # whoever gave it says so
            return
        if event.progress is not None:
            subject, now = event.database or event.backup or event.repository, time.monotonic()
            # What is done within a second needs no progress, and of thousands it would be most of what is told.
            phase, at = self._told_at.setdefault(subject, ("", now))
            if phase in {"", event.progress.phase} and now < at + _APART_SECONDS:
                return
            self._told_at[subject] = event.progress.phase, now
        happened = Happened(
            kind=event.kind,
            database=event.database,
            backup=event.backup,
            repository=event.repository,
            error=event.error,
            progress=event.progress,
            removed=event.removed,
            copy=event.result if isinstance(event.result, CopyRun) else None,
            drill=event.result if isinstance(event.result, DrillRun) else None,
        )
        self._send(Message(run=self._assignment.run, job=self._assignment.job, happened=happened))


class _Process:
    """What the threads of a worker's process share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._works: OrderedDict[tuple[str, str, bool], _JobWork] = OrderedDict()
        self._stopped: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._at_work: dict[int, _JobWork] = {}
        self._rests: threading.Timer | None = None
        self._ended = 0.0
        self._listens = False
        self.managers: Managers = {}

    def lock_of(self, address: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(address, threading.Lock())

    def begin(self, assignment: Assignment, send: Callable[[Message], None]) -> _JobWork:
        """Return the work of an assignment's job; call ``end`` in the end."""
        # What follows knows which other jobs there are, so that nothing of theirs is removed.
        key = assignment.run, assignment.job, assignment.database is None
        with self._lock:
            known = self._works.get(key)
        new = known or _JobWork(assignment, send, self)
        with self._lock:
            work = self._works.setdefault(key, new)  # another thread may have been faster
            self._works.move_to_end(key)
            work.begin(assignment)
            idle = [other for other, its in self._works.items() if not its.threads]
            for other in idle[: max(0, len(self._works) - _JOBS)]:
                self._works.pop(other).close()
            self._at_work[threading.get_ident()] = work
            if not self._listens:
                self._listens = True
                logging.getLogger("dumpty").addHandler(_LogSender(logging.WARNING))
            for asked in ((assignment.run, ""), (assignment.run, assignment.job)):
                if asked in self._stopped:
                    work.stop.interrupt(self._stopped[asked])
            return work

    def end(self) -> None:
        """Note that this thread is at nothing; after a while without work, connections are given up."""
        with self._lock:
            self._at_work.pop(threading.get_ident()).threads -= 1
            self._ended = time.monotonic()
            if self._rests is None:
                self._rest_after(_IDLE_SECONDS)

    def stop(self, run: str, job: str, reason: str) -> None:
        with self._lock:
            self._stopped[run, job] = reason
            while len(self._stopped) > _STOPPED:
                self._stopped.popitem(last=False)
            works = [work for key, work in self._works.items() if key[:2] == (run, job or key[1])]
        for work in works:
            work.stop.interrupt(reason)

    def logged(self, record: logging.LogRecord) -> None:
        with self._lock:
            works = list(self._at_work.values())
            # A thread of a backup's own is taken for that of any: the text says what it is about.
            work = self._at_work.get(record.thread or 0) or (works[0] if works else None)
        if work is not None:
            work.log(record, frozenset().union(*(each.secrets for each in works)))

    def _rest_after(self, seconds: float) -> None:
        self._rests = threading.Timer(seconds, self._rest)
        self._rests.daemon = True
        self._rests.start()

    def _rest(self) -> None:
        with self._lock:
            self._rests = None
            remaining = self._ended + _IDLE_SECONDS - time.monotonic()
            if self._at_work or remaining > 0:
                self._rest_after(max(remaining, 1.0))
                return
            for work in self._works.values():
                work.close()
            for kept in (self._works, self._locks, self.managers):  # addresses may hold secrets: tomorrow's are others
                kept.clear()


class _LogSender(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _process.logged(record)


_process = _Process()


def perform(values: dict[str, Any]) -> dict[str, Any]:
    """Do what an ``Assignment`` says, in a thread of a worker's, and return the ``Answer``; both are plain values."""
    from distributed import get_worker

    if values.get("version") != __version__:
        text = f"{Machine.current().host} has dumpty {__version__}, and {values.get('version')} gives it work"
        return as_values(Answer(error=f"{text}: install the same there", error_type="DependencyError"))
    worker = get_worker()

    def send(message: Message) -> None:
        # As bytes: a name may hold what Dask's own messages cannot, and one that fails would end the worker.
        worker.log_event(TOPIC, as_json(message))

    try:
        return as_values(_perform(msgspec.convert(values, Assignment), send))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what it is may mean nothing where it is unpacked
        return as_values(Answer(error=database_run.error_text(error), error_type=type(error).__name__))


def _perform(assignment: Assignment, send: Callable[[Message], None]) -> Answer:
    machine = Machine.current()
    if assignment.machine not in {None, machine}:
        raise DumptyError(f"this is to be done on {assignment.machine.host}, and {machine.host} is another machine")
    work = _process.begin(assignment, send)
    try:
        work.prepare()
        if assignment.database is None:
            return work.shown(Answer(after=work.local.follow_up(assignment.made, assignment.key)))
        database = resolve(assignment.database, machine.host)
        work.remember(parse_url(database.url).secrets)
        return work.shown(Answer(backed_up=work.local.back_up(database, assignment.key)))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        return Answer(error=work.redacted(database_run.error_text(error)), error_type=type(error).__name__)
    finally:
        _process.end()


def stop(run: str, job: str, reason: str) -> None:
    """End what this process does of a run, or of one of its jobs, within seconds."""
    _process.stop(run, job, reason)


def about() -> tuple[str, str]:
    """Return what tells this process's machine from others: the fields of its ``Machine``."""
    machine = Machine.current()
    return machine.host, machine.boot
