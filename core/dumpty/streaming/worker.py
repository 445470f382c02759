"""Work in another thread, which is over whatever happens when its caller goes on.

An interrupt may come at any moment: while the thread is being started, when nobody knows of it yet; while somebody
waits for it, after which ``Thread.join`` does not wait again (https://github.com/python/cpython/issues/90882); and
where ``Event``, ``Future`` and ``queue.Queue``, which take their locks in Python, would stay locked. So the thread
tells by plain attributes and a ``SimpleQueue`` how far it is.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

from dumpty.process.call import CancelRequested, current_call, hear_cancellation, wait_point, work_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
_POLL_SECONDS = 0.05


class Worker(Generic[T]):
    """``work``, to be done in a thread of the given name once ``start`` is called.

    The thread works for the call that this is made in (``dumpty.Cancellation``).
    """

    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._work: Callable[[], T] | None = work
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._outcome: Callable[[], T] | None = None
        self._beginning: SimpleQueue[None] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._started = False
        self._begun = False
        self._done = False
        self._cancelled = False
        self._call = current_call()

    def start(self) -> None:
        """Begin, and return once the work has begun. After an exception, ``end`` is still to be called.

        Raises:
            RuntimeError: there is no room for another thread, or it ended before the work began: then whoever waited
                for the work, or handed it data, would do so for ever.
        """
        try:
            self._thread.start()
        except RuntimeError as error:
            # Where an interrupt comes while it waits, ``threading`` frees a lock that it does not hold.
            if error.__context__ is not None and not isinstance(error.__context__, Exception):
                raise error.__context__ from None
            raise
        while not self._begun:
            with contextlib.suppress(Empty):
                self._beginning.get(timeout=_POLL_SECONDS)
            if not self._thread.is_alive() and not self._begun:  # a debugger's doing, or memory's
                raise RuntimeError(f"the thread {self._thread.name} ended before its work began; try again")
        self._started = True

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the work is done, if it was started, or until the time is over; return whether it is done."""
        if self._started and not self._done:
            with wait_point(lambda: self._ended.put(None)), contextlib.suppress(Empty):
                self._ended.get(timeout=seconds)
            if not self._done:
                hear_cancellation()
        return self._done or not self._started

    @property
    def begun(self) -> bool:
        """Whether the work has begun."""
        return self._begun

    def forget(self) -> None:
        """Let the work begin no more, and leave it alone where it has begun."""
        self._cancelled = True

    def result(self) -> T:
        """Wait for the work, and return what it returned, or raise what it raised: once.

        Raises:
            RuntimeError: there is no result, or it was taken.
        """
        while not self.wait():
            pass
        outcome, self._outcome = self._outcome, None
        if outcome is None:
            raise RuntimeError("there is no result, or it was taken")
        try:
            return outcome()
        except CancelRequested:
            if self._call is not None:
                self._call.note_heard()
            raise
        finally:
            del outcome  # an error's traceback leads here

    def end(self, stop: Callable[[], object] = lambda: None) -> None:
        """Return when the work is over, or will never begin.

        Args:
            stop: interrupts the work; called again and again until it is over, and never once it is done.

        Raises:
            KeyboardInterrupt: it came meanwhile.
        """
        self._cancelled = True
        try:
            self._stop_until_done(stop)
        except KeyboardInterrupt:
            self.end(stop)
            raise

    def _stop_until_done(self, stop: Callable[[], object]) -> None:
        while self._begun and not self._done:
            stop()
            with contextlib.suppress(Empty):
                self._ended.get(timeout=_POLL_SECONDS)

    def _run(self) -> None:
        work_for(self._call)
        self._begun = True
        self._beginning.put(None)
        work, self._work = self._work, None  # it may refer to whoever holds this
        if work is not None and not self._cancelled:
            self._outcome = _outcome(work)
        del work
        self._done = True
        self._ended.put(None)


def run_in_worker(
    work: Callable[[], T],
    *,
    stop: Callable[[], object],
    meanwhile: Callable[[], object] = lambda: None,
    name: str = "dumpty-worker",
) -> T:
    """Run ``work`` in another thread and ``meanwhile`` in this one, and return what ``work`` returns.

    So Ctrl-C, and a cancellation, end at once what a library does that gives signals no turn, while this thread waits
    for it. An exception in this thread, those two included, calls ``stop`` again and again until ``work`` is over:
    whenever it comes, what ``work`` uses is free to be closed afterwards.

    Args:
        work: what may take long. Its errors are raised here.
        stop: interrupts ``work``. It must not raise, and is called from this thread while ``work`` runs, perhaps before
            or after what it is meant to interrupt.
        meanwhile: what to do in this thread before it waits.
        name: the thread's.
    """
    worker = Worker(work, name)
    try:
        worker.start()
        meanwhile()
        return worker.result()
    finally:
        worker.end(stop)


def run_together(
    pieces: Sequence[Callable[[], T]],
    *,
    jobs: int,
    stop: Callable[[], object],
    name: str = "dumpty-together",
) -> list[T]:
    """Run all ``pieces``, several at once in other threads, and return what they return, in their order.

    They begin in that order. What fails first is raised, once nothing of them runs any more: then, and at an exception
    in this thread, Ctrl-C and a cancellation included, no further piece begins, and ``stop`` is called again and again
    until those that have begun are over.

    Args:
        pieces: what to do.
        jobs: how many at once, at most.
        stop: interrupts those that run; as for ``run_in_worker``.
        name: the threads', a number behind it.
    """
    shared = _Pieces(pieces)
    workers = [Worker(shared.run, f"{name}-{number}") for number in range(min(jobs, len(pieces)))]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            while not worker.wait(_POLL_SECONDS):
                shared.check()
        shared.check()
    finally:
        shared.stopped = True
        for worker in workers:
            worker.end(stop)
    return [shared.results[number] for number in range(len(pieces))]


class _Pieces(Generic[T]):
    """Pieces of work, of which each thread takes the next one as soon as it is free."""

    def __init__(self, pieces: Sequence[Callable[[], T]]) -> None:
        self._remaining = list(enumerate(pieces))[::-1]
        self.results: dict[int, T] = {}
        self.errors: list[BaseException] = []
        self.stopped = False

    def run(self) -> None:
        while not self.stopped and not self.errors:
            try:
                number, piece = self._remaining.pop()
            except IndexError:
                return
            try:
                self.results[number] = piece()
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                self.errors.append(error)

    def check(self) -> None:
        """Raise what failed first, if something has."""
        if self.errors:
            call = current_call()
            if call is not None and isinstance(self.errors[0], CancelRequested):
                call.note_heard()
            raise self.errors[0]


def run_abandonable(
    work: Callable[[], T],
    *,
    discard: Callable[[T], object],
    over: Callable[[], bool],
    error: Callable[[], BaseException],
    name: str = "dumpty-abandonable",
) -> T:
    """Run ``work``, which nothing can interrupt, in another thread, and return what it returns, or leave it behind.

    So Ctrl-C, and a cancellation, end at once what a library does to reach a server that does not answer. Whatever the
    work uses must be its own.

    Args:
        work: what may take long. Its errors are raised here, unless it was left behind.
        discard: gets what the work returns after it was left behind.
        over: tells, asked again and again, whether to wait no longer.
        error: makes the exception to raise then.
        name: the thread's.
    """
    claim = [None]  # whoever takes it, the thread that ends or the one that leaves, decides

    def run() -> Callable[[], T]:
        outcome = _outcome(work)
        if not _take_claim(claim):
            _discard(outcome, discard)
        return outcome

    worker = Worker(run, name)
    try:
        worker.start()
        while not worker.wait(_POLL_SECONDS):
            if over():
                raise error()
    except BaseException:
        worker.forget()
        if worker.begun and not _take_claim(claim):  # it ended in this very moment
            _discard(worker.result(), discard)
        raise
    return worker.result()()


def _take_claim(claim: list[None]) -> bool:
    try:
        claim.pop()
    except IndexError:
        return False
    return True


def _discard(outcome: Callable[[], T], discard: Callable[[T], object]) -> None:
    with contextlib.suppress(Exception):  # nobody is there any more whom an error would help
        discard(outcome())


def _outcome(work: Callable[[], T]) -> Callable[[], T]:
    try:
        value = work()
    except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
        return functools.partial(_raise, error)
    return lambda: value


def _raise(error: BaseException) -> NoReturn:
    try:
        raise error
    finally:
        del error  # its traceback leads here
