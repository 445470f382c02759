"""The work of one run of a job, given to workers: what is sent of it, and what is told of it."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import structs

from dumpty._version import __version__
from dumpty.errors import DumptyError
from dumpty.indirection import indirect_line
from dumpty.jobs.events import JobEventKind
from dumpty.jobs.finding import is_local
from dumpty.jobs.fleet.assignments import Answer, Assignment, Machine, Message, refer_to
from dumpty.jobs.outcomes import DatabaseRun, encodable
from dumpty.jobs.upkeep import read_address
from dumpty.jobs.work import WorkersLost
from dumpty.url import database_name, parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dumpty.jobs.document import Job
    from dumpty.jobs.finding import Database
    from dumpty.jobs.settings import JobSettings
    from dumpty.jobs.work import FollowUp, Order

__all__ = ["DaskWork", "local_part"]


def local_part(job: JobSettings, remember: Callable[[Iterable[str]], None]) -> str:
    """Return what of a job means another thing on another machine, "" for nothing: then this machine does its work."""
    urls = [("a source", indirect_line(written, "database URL"), job.via) for written in job.sources]
    if job.drill is not None and job.drill.on is not None:
        urls.append(("the server of the drills", indirect_line(job.drill.on, "database URL"), ()))
    for what, url, via in urls:
        remember(parse_url(url).secrets)
        if is_local(url, via):
            return what
    for copy in job.copies:
        address = read_address(copy.repository, remember)
        if "://" not in address or address.lower().startswith("file:"):
            return "a copy"
    return ""


class DaskWork:
    """The work of one run of a job, done by workers; the contract is ``dumpty.jobs.work.Work``.

    Args:
        run: the call of ``dumpty run`` that it is part of.
        order: what is to be done.
        document: what is written for the job, without what workers need not know.
        submit: has an assignment done.
        follow_up_locally: whether what follows its backups is done on this machine.
    """

    def __init__(
        self,
        run: str,
        order: Order,
        document: Job,
        submit: Callable[[Assignment, Order], Answer],
        *,
        follow_up_locally: bool,
    ) -> None:
        self._run, self._order, self._document, self._submit = run, order, document, submit
        self._follow_up_locally = follow_up_locally
        self._ends = time.monotonic() + order.job.deadline.total_seconds()
        self._open: set[str] = set()

    def back_up(self, database: Database, key: str) -> DatabaseRun:
        """Have one database backed up."""
        reference, started, start = refer_to(database), datetime.now(UTC), time.monotonic()
        self._order.reporting.events.tell(JobEventKind.DATABASE_BEGUN, database=reference.shown)
        subject = encodable(reference.shown)
        self._open.add(subject)
        try:
            local = is_local(database.url, self._order.job.via)
            assignment = structs.replace(self._assignment(key, local=local), database=reference)
            answer = self._submit(assignment, self._order)
            if answer.backed_up is not None:
                return answer.backed_up
            problem, kind = answer.error or "a worker has nothing to say of it", answer.error_type
        except WorkersLost:
            raise
        except DumptyError as error:
            problem, kind = str(error), type(error).__name__
        finally:
            self._open.discard(subject)
        return DatabaseRun(
            source=reference.shown,
            database=database_name(parse_url(database.url)),
            ok=False,
            started=started,
            duration_seconds=round(time.monotonic() - start, 3),
            attempts=1,
            error=problem,
            error_type=kind,
        )

    def follow_up(self, made: Sequence[DatabaseRun], key: str) -> FollowUp:
        """Have done what follows; a worker that is killed has it done once more, by another one."""
        assignment = self._assignment(key, local=self._follow_up_locally)
        assignment = structs.replace(assignment, made=tuple(made), others=tuple(sorted(self._order.others)))
        answer = self._submit(assignment, self._order)
        if answer.after is None:
            raise DumptyError(f"what follows the backups was not done: {answer.error}")
        return answer.after

    def heard(self, message: Message) -> None:
        """Tell what a worker tells of this run."""
        reporting = self._order.reporting
        if message.tell:
            reporting.tell(message.tell)
        if message.log is not None:
            event, level, text = message.log
            log = logging.getLogger("dumpty")
            log.log(level, "%s", text, extra={"event": event})
        happened = message.happened
        # What is told of a database that is done comes late.
        if happened is not None and (not happened.database or happened.backup or happened.database in self._open):
            reporting.events.tell(happened.kind, **happened.facts())

    def _assignment(self, key: str, *, local: bool) -> Assignment:
        return Assignment(
            version=__version__,
            run=self._run,
            job=self._order.job.name,
            slot=self._order.slot,
            key=key,
            document=self._document,
            deadline_seconds=max(0.0, self._ends - time.monotonic()),
            machine=Machine.current() if local else None,
        )
