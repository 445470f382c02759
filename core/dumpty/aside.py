"""Work in another thread, which is over whatever happens when its caller goes on."""

from __future__ import annotations

import functools
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_AGAIN_SECONDS = 0.05


def run_aside(
    work: Callable[[], T],
    *,
    stop: Callable[[], object],
    meanwhile: Callable[[], object] = lambda: None,
    name: str = "dumpty-aside",
) -> T:
    """Run ``work`` in another thread and ``meanwhile`` in this one, and return what ``work`` returns.

    So Ctrl-C ends at once what a library does that gives signals no turn, while this thread waits for it. An exception
    in this thread, Ctrl-C included, calls ``stop`` again and again until ``work`` is over: whenever it comes, what
    ``work`` uses is free to be closed afterwards.

    Args:
        work: what may take long. Its errors are raised here.
        stop: interrupts ``work``. It must not raise, and is called from this thread, perhaps before or after what it
            is meant to interrupt.
        meanwhile: what to do in this thread before it waits.
        name: the thread's.
    """
    # An interrupt may come while the thread is being started, when nobody knows of it: so the thread has to ask.
    # No Future and no Event here: they take their locks in Python, where an interrupt may leave them locked.
    gate = threading.Lock()
    over = False
    ended: SimpleQueue[Callable[[], T]] = SimpleQueue()

    def guarded() -> None:
        with gate:
            if not over:
                ended.put(_outcome(work))

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    try:
        thread.start()
        meanwhile()
        result = ended.get()
    except BaseException:
        over = True
        _end(gate, stop)
        raise
    thread.join()
    return result()


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


def _end(gate: threading.Lock, stop: Callable[[], object]) -> None:
    seconds = 0.0
    while True:
        try:
            if gate.acquire(timeout=seconds):
                gate.release()
                return
            stop()
        except KeyboardInterrupt:  # the first is on its way
            continue
        finally:
            seconds = _AGAIN_SECONDS
