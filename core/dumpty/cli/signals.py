"""Ending in good order when a signal asks for it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from dumpty.cli.status import Terminated

if TYPE_CHECKING:
    from types import FrameType

_TAKEN: tuple[int, ...] = (signal.SIGALRM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_SECONDS = 0.002
_FRAGILE = (
    "contextlib.py",
    "queue.py",
    "threading.py",
    f"futures{os.sep}_base.py",
    f"futures{os.sep}thread.py",
    __file__,
)
"""Modules of the standard library that take locks and open contexts in Python, and this one."""
_WAITING = {"wait", "join", "_wait_for_tstate_lock"}
"""Their functions that may wait for long."""


class Signals:
    """A context in which the first signal that asks to end raises ``KeyboardInterrupt``, or ``Terminated``.

    Children are then ended and partial files removed on the way out; a second signal would interrupt that, and changes
    nothing. What is ignored (``nohup``, a shell's background job) stays ignored. The context is a list of what was
    caught.

    An exception that comes up just after a lock was taken in Python code would leave it locked for ever, and in a
    finalizer it would be dropped. There the signal waits a moment.
    """

    def __init__(self) -> None:
        self._caught: list[KeyboardInterrupt] = []
        self._over = False
        self._first = 0
        self._own_alarm = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> list[KeyboardInterrupt]:
        if threading.current_thread() is threading.main_thread():
            for number in _TAKEN:
                before = signal.getsignal(number)
                if before in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = before
            self._own_alarm = signal.SIGALRM in self._before
            for number in self._before:
                signal.signal(number, self._end)
            if self._before:
                self._complaining, sys.unraisablehook = sys.unraisablehook, self._dropped
        return self._caught

    def __exit__(self, *_: object) -> None:
        self._over = True  # what there was to say is said: too late to interrupt anything
        if self._before:
            sys.unraisablehook = self._complaining
        if self._own_alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]  # as getsignal returned it

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self._caught or self._over:
            return
        self._first = self._first or number
        if self._own_alarm and _is_fragile(frame):
            self._again()
        else:
            self._caught.append(
                KeyboardInterrupt("SIGINT") if self._first == signal.SIGINT else Terminated(self._first)
            )
            raise self._caught[0]

    def _again(self) -> None:
        if self._own_alarm:
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        else:  # the alarm clock is our caller's
            threading.Timer(_AGAIN_SECONDS, self._send).start()

    def _send(self) -> None:
        if not self._over:
            os.kill(os.getpid(), self._first)

    def _dropped(self, unraisable: sys.UnraisableHookArgs) -> None:
        if any(unraisable.exc_value is one for one in self._caught):
            self._caught.clear()
            self._again()
        else:
            self._complaining(unraisable)


def _is_fragile(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code.co_filename.endswith(_FRAGILE) and frame.f_code.co_name not in _WAITING
