"""Gives the work of jobs to the workers of a scheduler, and takes what comes back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import structs

from dumpty.errors import DependencyError, DumptyError, OptionError
from dumpty.jobs.fleet import worker
from dumpty.jobs.fleet.assignments import (
    TOPIC,
    Answer,
    Assignment,
    as_values,
    message_of,
    require_by_reference,
)
from dumpty.jobs.fleet.dask_work import DaskWork, local_part
from dumpty.jobs.fleet.joining import joined, require_private
from dumpty.jobs.views import in_time
from dumpty.jobs.work import WorkersLost
from dumpty.repository.protocol.layout import new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from distributed import Client, Future

    from dumpty.jobs.document import Job
    from dumpty.jobs.work import Order

__all__ = ["DaskFleet", "open_fleet"]

_LOOK_SECONDS = 0.5
_ANSWER_SECONDS = 15.0
_WORKERS_SECONDS = 5.0
_ENDING_SECONDS = 15.0
"""How long what is told to end is waited for; a worker that does not answer may be gone, or its network."""
_LONELY_SECONDS = 30.0
_TASK_SECONDS = 20.0
"""How often the scheduler is asked for a task of which nothing was heard."""


@contextlib.contextmanager
def open_fleet(
    workers: str, parallel: int, documents: Mapping[str, Job], tell: Callable[[str], None]
) -> Iterator[DaskFleet]:
    """Within the block, have the workers of a scheduler; the first two arguments are those of ``joined``.

    Args:
        workers: which.
        parallel: how many backups at once, where the workers are started for it.
        documents: what is written for each job, over the defaults.
        tell: is told when no worker is left.

    Raises:
        DumptyError: as ``joined``.
    """
    with joined(workers, parallel) as client:
        fleet = DaskFleet(client, workers, documents, tell)
        fleet.require_dumpty()
        client.subscribe_topic(TOPIC, fleet.heard)
        try:
            yield fleet
        finally:
            fleet.close()


class DaskFleet:
    """The workers of a scheduler, for one call of ``dumpty run``; the contract is ``dumpty.jobs.work.Fleet``."""

    def __init__(self, client: Client, address: str, documents: Mapping[str, Job], tell: Callable[[str], None]) -> None:
        self._client, self._address, self._documents, self._tell = client, address, documents, tell
        self.run = new_key()
        self._numbers = itertools.count(1)
        self._works: dict[str, DaskWork] = {}
        self._lock = threading.Lock()
        self._local_hosts: list[str] = []
        self._stopped: set[str] = set()
        self._refused: OptionError | None = None
        self._closed = threading.Event()

    @property
    def capacity(self) -> int:
        """How many backups are given out at once: one for each thread of the workers, and one for each worker ahead.

        What is ahead waits at a worker while another one's answer is on its way.

        Raises:
            WorkersLost, OptionError: the scheduler is gone; a worker is spoken with without TLS.
        """
        threads = self._threads()
        return sum(threads.values()) + len(threads)

    def follow(self, changed: Callable[[int], None]) -> None:
        """Tell, in a thread of its own, of each change of ``capacity``, until the block of ``open_fleet`` ends."""
        threading.Thread(target=self._look, args=(changed,), name="dumpty-fleet", daemon=True).start()

    def _look(self, changed: Callable[[int], None]) -> None:
        known, missing_since, told = 0, time.monotonic(), False
        while not self._closed.wait(_WORKERS_SECONDS):
            try:
                capacity = self.capacity
                missing = self._missing()
                if not missing:
                    missing_since, told = time.monotonic(), False
                elif not told and time.monotonic() - missing_since > _LONELY_SECONDS:
                    told = True
                    self._tell(f"{missing}; what is left waits until there is one, or its deadline has passed")
                if capacity not in {0, known}:
                    changed(capacity)
                    known = capacity
            except OptionError as error:  # a worker that came is spoken with without TLS: nothing more is given out
                self._refused = error
            except (DumptyError, RuntimeError):  # whoever waits for an answer finds out
                continue

    def _missing(self) -> str:
        """Return which workers there are none of, in a sentence; "" where there are some."""
        hosts = {urlsplit(address).hostname or "" for address in self._threads()}
        if not hosts:
            return f"the scheduler at {self._address} has no workers any more"
        if self._local_hosts and hosts.isdisjoint(self._local_hosts):
            return f"{self._address} has no workers on this machine any more"
        return ""

    def _threads(self) -> dict[str, int]:
        threads: dict[str, int] = self._ask(lambda: self._client.nthreads(callback_timeout=_ANSWER_SECONDS))
        require_private(threads)
        return threads

    def work(self, order: Order) -> DaskWork:
        """Return what has a run's work done by the workers.

        Raises:
            OptionError: a secret would be sent, or what is of this machine alone has no worker here.
            WorkersLost: the scheduler is gone.
        """
        require_by_reference(order.job)
        local = local_part(order.job, order.reporting.remember)
        if local and not self.local_hosts():
            raise OptionError(
                f"{local} of the job {order.job.name} is of {socket.gethostname()}, and no worker of {self._address} "
                "runs there: start one, or run the job without --workers"
            )
        # Who is told what is the client's to know: it tells, and a URL that tells has a secret in it.
        document = structs.replace(self._documents[order.job.name], notify=None, heartbeat=None)
        with self._lock:
            work = self._works[order.job.name] = DaskWork(
                self.run, order, document, self.submit, follow_up_locally=bool(local)
            )
        return work

    def close(self) -> None:
        """Hear of nothing any more."""
        self._closed.set()
        with contextlib.suppress(Exception):  # nobody may be there to be asked
            self._client.unsubscribe_topic(TOPIC)

    def heard(self, event: tuple[float, object]) -> None:
        """Take what a worker tells."""
        content = event[1]
        try:
            message = message_of(content) if isinstance(content, bytes) else None
        except msgspec.DecodeError:
            return  # another version's
        work = self._works.get(message.job) if message is not None and message.run == self.run else None
        if message is not None and work is not None:
            work.heard(message)

    def require_dumpty(self) -> None:
        """Check that each worker can be given work at all: one that cannot unpack it ends, and another one tries.

        Raises:
            DependencyError: one has no dumpty.
            WorkersLost: the scheduler is gone.
        """
        for address, machine in self._machines("return").items():
            if isinstance(machine, BaseException):
                raise DependencyError(f"the worker at {address} has no dumpty ({machine}): install the same there")

    def _machines(self, on_error: Literal["return", "ignore"]) -> dict[str, Any]:
        machines: dict[str, Any] = in_time(
            lambda: self._ask(lambda: self._client.run(worker.about, on_error=on_error)),
            _ANSWER_SECONDS,
            f"a worker of {self._address} does not say on which machine it is",
            "dumpty-fleet-about",
        )
        return machines

    def local_hosts(self) -> list[str]:
        """Return by which addresses the scheduler knows this machine; none where no worker runs here.

        Raises:
            WorkersLost: the scheduler is gone, or a worker does not answer.
        """
        if not self._local_hosts:
            this = worker.about()
            local = [address for address, machine in self._machines("ignore").items() if machine == this]
            self._local_hosts = sorted({urlsplit(address).hostname or "" for address in local})
        return self._local_hosts

    def submit(self, assignment: Assignment, order: Order) -> Answer:
        """Have an assignment done, and return what came of it; a worker that is killed has it done by another one.

        Raises:
            WorkersLost: the scheduler is gone.
            DumptyError: it cannot be done, or was told to end and nobody said that it had.
        """
        if self._refused is not None:
            raise self._refused
        # By the machine's address, not the workers' own: one that dies comes back under another one.
        workers = None if assignment.machine is None else self.local_hosts()
        done = threading.Event()
        future = self._ask(
            lambda: self._client.submit(
                worker.perform,
                as_values(assignment),
                key=f"dumpty-{self.run}-{next(self._numbers)}",
                pure=False,
                workers=workers,
                allow_other_workers=False,
            )
        )
        future.add_done_callback(lambda _: done.set())
        try:
            self._wait(done, order, future.key)
            return self._answer(future)
        finally:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                future.release()

    def _wait(self, done: threading.Event, order: Order, key: str) -> None:
        ends: float | None = None
        looks_at, over = time.monotonic() + _TASK_SECONDS, False
        while not done.wait(_LOOK_SECONDS):
            if time.monotonic() > looks_at:
                # An answer that Dask cannot unpack comes to nobody: whoever waits for it would wait for ever.
                if over:
                    raise DumptyError("what a worker answered could not be unpacked: see its log, and the scheduler's")
                looks_at, over = time.monotonic() + _TASK_SECONDS, self._is_over(key)
            if self._client.status != "running":  # what it had was given up with it, whoever is there next
                raise self._lost()
            if self._refused is not None:
                raise self._refused
            if order.stop.asked and ends is None:
                ends = time.monotonic() + _ENDING_SECONDS
                self._stop(order)
            if ends is not None and time.monotonic() > ends:
                raise DumptyError(f"{order.stop.reason}, and its worker has not said since that it ended")

    def _is_over(self, key: str) -> bool:
        """Return whether the scheduler has nothing to do for a task any more."""

        def look(dask_scheduler: Any) -> bool:  # sent as it stands here: a scheduler need not have dumpty
            task = dask_scheduler.tasks.get(key)
            return task is None or task.state in {"memory", "erred"}

        with contextlib.suppress(Exception):  # it is asked again
            return bool(self._client.run_on_scheduler(look))
        return False

    def _stop(self, order: Order) -> None:
        """Tell the workers to end what they do of a job; once, for all that wait."""
        job = "" if order.stop.interrupted else order.job.name
        with self._lock:
            if job in self._stopped or "" in self._stopped:
                return
            self._stopped.add(job)

        def tell() -> None:
            with contextlib.suppress(Exception):  # who cannot be told ends with its deadline
                self._client.run(worker.stop, self.run, job, order.stop.reason, on_error="ignore")

        # Beside those who wait: one that hangs answers nothing, and each of them is given up after a while.
        threading.Thread(target=tell, name="dumpty-fleet-stop", daemon=True).start()

    def _answer(self, future: Future[Any]) -> Answer:
        from distributed.scheduler import KilledWorker

        try:
            return msgspec.convert(future.result(timeout=_ENDING_SECONDS), Answer)
        except KilledWorker as error:
            raise DumptyError(
                f"each of the workers that were at it died, {error.allowed_failures + 1} in all, the last "
                f"{error.last_worker.address}: see its log, and how much memory it has"
            ) from None
        except ModuleNotFoundError as error:
            raise DumptyError(f"a worker cannot do it ({error}): install the same dumpty there") from None
        except (asyncio.CancelledError, concurrent.futures.CancelledError) as error:
            raise self._lost(error) from None
        except Exception as error:  # noqa: BLE001 - whatever was unpacked, or could not be, is of this one answer
            if isinstance(error, (OSError, TimeoutError)) or self._client.status != "running":
                raise self._lost(error) from None
            raise DumptyError(f"what a worker answered cannot be read: {type(error).__name__}: {error}") from None

    def _ask(self, question: Callable[[], Any]) -> Any:
        if self._client.status != "running":
            raise self._lost()
        try:
            return question()
        except (OSError, RuntimeError, TimeoutError, ValueError) as error:
            raise self._lost(error) from None

    def _lost(self, error: BaseException | None = None) -> WorkersLost:
        why = f" ({' '.join(str(error).split())})" if error is not None else ""
        return WorkersLost(f"the scheduler at {self._address} is gone{why}")
