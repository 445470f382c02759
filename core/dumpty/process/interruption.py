"""Interrupts that a plugin swallowed, and what a run that was ended could not remove.

Ctrl-C, and a signal on the command line, come up as an exception wherever the main thread happens to be: in a plugin,
too, which may catch it and go on. What was asked to end is then never completed: whoever commits asks first.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

from dumpty.process.call import current_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = [
    "Interruption",
    "Unfinished",
    "current_interruption",
    "forget_unfinished",
    "see_through",
    "track_interruption",
    "unfinished",
]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


class Interruption:
    """Whether the handler of a signal raised an exception, or the call that this is made in was cancelled."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._call = current_call()

    def check_signal(self) -> None:
        """Raise what the handler of a signal raised, if one has: whoever got it may have swallowed it."""
        if self.error is not None:
            raise self.error

    def check(self) -> None:
        """Do that, or raise ``CancelRequested``."""
        self.check_signal()
        if self._call is not None:
            self._call.check()


_running: list[Interruption] = []


def current_interruption() -> Interruption:
    """Return the interruption of the main thread's work; in any other thread one that only hears of cancellations."""
    if _running and threading.current_thread() is threading.main_thread():
        return _running[-1]
    return Interruption()


@contextlib.contextmanager
def track_interruption() -> Iterator[Interruption]:
    """Within the block, record every exception that the handler of a signal raises, wherever it comes up."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    replaced: list[tuple[int, Callable[..., object], Callable[..., object]]] = []
    _running.append(interruption)
    try:
        for number in _SIGNALS:
            previous = signal.getsignal(number)
            if callable(previous):
                handler = _recording_handler(interruption, previous)
                replaced.append((number, previous, handler))
                signal.signal(number, handler)
        yield interruption
    finally:
        for number, previous, handler in reversed(replaced):
            if signal.getsignal(number) is handler:
                signal.signal(number, previous)
        _running.remove(interruption)
        # Its traceback leads to what was interrupted, locks it could not free included, and back here.
        interruption.error = None


def see_through(clear_up: Callable[[], None]) -> None:
    """Call ``clear_up``; where an interrupt comes up in it, do so once more from its beginning, and raise that then.

    Args:
        clear_up: harmless twice, and after a half.
    """
    try:
        clear_up()
    except BaseException as error:
        if not isinstance(error, Exception):
            with contextlib.suppress(Exception):  # the interrupt is what is to be reported
                clear_up()
        raise


def _recording_handler(
    interruption: Interruption, previous: Callable[..., object]
) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        try:
            previous(number, frame)
        except BaseException as error:
            interruption.error = interruption.error or error
            raise

    return handle


_unfinished: dict[int, str] = {}


class Unfinished:
    """Something outside of this process that it made and has yet to complete or to remove.

    Args:
        what: names it, and what to do about it if it stays: "the database t__new on db:5432 (DROP DATABASE t__new)".
    """

    def __init__(self, what: str) -> None:
        _unfinished[id(self)] = what

    def settle(self) -> None:
        """Note that it is complete, or gone. Harmless twice."""
        _unfinished.pop(id(self), None)


def unfinished() -> tuple[str, ...]:
    """Return what this process made and neither completed nor removed."""
    return tuple(_unfinished.values())


def forget_unfinished() -> None:
    """Begin anew."""
    _unfinished.clear()
