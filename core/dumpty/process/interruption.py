"""Interrupts that a plugin swallowed, and what a run that was ended could not remove.

Ctrl-C, and a signal on the command line, come up as an exception wherever the main thread happens to be: in a plugin,
too, which may catch it and go on. What was asked to end is then never completed: whoever commits asks first.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["Interruption", "Unfinished", "current", "forget_unfinished", "noticed", "unfinished"]

_TAKEN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


class Interruption:
    """Whether the handler of a signal raised an exception."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def check(self) -> None:
        """Raise what the handler of a signal raised, if one has: whoever got it may have swallowed it."""
        if self.error is not None:
            raise self.error


_running: list[Interruption] = []


def current() -> Interruption:
    """Return what is noticed for the main thread's work, in any other thread one that nothing comes to."""
    if _running and threading.current_thread() is threading.main_thread():
        return _running[-1]
    return Interruption()


@contextlib.contextmanager
def noticed() -> Iterator[Interruption]:
    """Within the block, notice every exception that the handler of a signal raises, wherever it comes up."""
    here = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield here
        return
    replaced: list[tuple[int, Callable[..., object], Callable[..., object]]] = []
    _running.append(here)
    try:
        for number in _TAKEN:
            before = signal.getsignal(number)
            if callable(before):
                handler = _noticing(here, before)
                replaced.append((number, before, handler))
                signal.signal(number, handler)
        yield here
    finally:
        for number, before, handler in reversed(replaced):
            if signal.getsignal(number) is handler:
                signal.signal(number, before)
        _running.remove(here)
        here.error = (
            None  # its traceback leads to what was interrupted, locks it could not free included, and back here
        )


def _noticing(here: Interruption, before: Callable[..., object]) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        try:
            before(number, frame)
        except BaseException as error:
            here.error = here.error or error
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
