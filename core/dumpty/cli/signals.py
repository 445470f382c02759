"""Ending in good order when a signal asks for it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

from dumpty.cli.second_signal import ECHO_SECONDS
from dumpty.cli.status import Terminated
from dumpty.process import peer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from dumpty.cli.second_signal import Listener

_HANDLED: tuple[int, ...] = (signal.SIGALRM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_RETRY_SECONDS = 0.002
_AGAIN_SECONDS = 0.05
"""How often a signal that waits comes again: one that comes just before the main thread begins to wait in the system is
heard when that waiting ends."""
_REPORTING_SECONDS = 0.2
"""What is being reported takes less, unless nobody reads it."""
_LIBRARY = os.path.dirname(os.__file__)
_FRAGILE = {
    *(os.path.join(_LIBRARY, name) for name in ("contextlib.py", "queue.py", "threading.py")),
    *(os.path.join(_LIBRARY, "concurrent", "futures", name) for name in ("_base.py", "thread.py")),
    "<frozen importlib._bootstrap>",
    __file__,
}
"""Modules of the standard library that take locks and open contexts in Python, and this one."""
_WAITING = {"wait", "join", "_wait_for_tstate_lock"}
"""Their functions that may wait for long."""
_THREADING = os.path.join(_LIBRARY, "threading.py")
_SUBPROCESS = os.path.join(_LIBRARY, "subprocess.py")
_NEAR = 4


class Signals:
    """A context in which the first signal that asks to end raises ``KeyboardInterrupt``, or ``Terminated``.

    Children are then ended and partial files removed on the way out, and nobody waits long any more for a server that
    does not answer (``process.peer``). A second signal ends the program at once, through its ``listener``; where there
    is none, it interrupts the cleaning up. What is ignored (``nohup``, a shell's background job) stays ignored.
    ``process_ends`` says that the program ends with it. Where ``on_hangup`` is given SIGHUP calls it, and ends nothing.

    An exception that comes up just after a lock was taken in Python code would leave it locked for ever, and in a
    finalizer it would be dropped. There the signal waits a moment; and while the outcome is being reported, or a
    success would be reported as an interrupt.
    """

    def __init__(
        self,
        *,
        process_ends: bool = False,
        listener: Listener | None = None,
        on_hangup: Callable[[int, FrameType | None], None] | None = None,
    ) -> None:
        self._process_ends = process_ends
        self._listener = listener
        self._on_hangup = on_hangup
        self._first_at = 0.0
        self._caught: list[KeyboardInterrupt] = []
        self._reported = False
        self._reporting = False
        self._first_signal = 0
        self._own_alarm = False
        self._sending = False
        self._handlers_before: dict[int, object] = {}

    @property
    def caught(self) -> Sequence[KeyboardInterrupt]:
        """What was raised, at most one."""
        return self._caught

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _HANDLED:
                handler = signal.getsignal(number)
                if handler in (signal.SIG_DFL, signal.default_int_handler):
                    self._handlers_before[number] = handler
            self._own_alarm = signal.SIGALRM in self._handlers_before
            for number in self._handlers_before:
                signal.signal(number, self._on_hangup if number == signal.SIGHUP and self._on_hangup else self._end)
            if self._handlers_before:
                self._unraisable_hook_before, sys.unraisablehook = sys.unraisablehook, self._dropped
            if self._handlers_before and self._listener is not None:
                self._listener.start(self._is_noticed if self._own_alarm else None)
        return self

    def __exit__(self, *_: object) -> None:
        self._reported = True  # what there was to report is reported: too late to interrupt anything
        peer.settle()
        if self._handlers_before and self._listener is not None:
            self._listener.stop()
        if self._handlers_before:
            sys.unraisablehook = self._unraisable_hook_before
        if self._own_alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._handlers_before.items():
            # All is reported, and Python only has to end: neither a traceback from where it does, nor another status.
            signal.signal(number, signal.SIG_IGN if self._process_ends else handler)  # type: ignore[arg-type]  # as it was got

    def begin_reporting(self) -> None:
        """Note that the outcome is about to be reported: a signal only interrupts it where nobody takes it."""
        self._reporting = True

    def end_reporting(self) -> None:
        """Note that the outcome is reported: nothing can change it any more."""
        self._reported = True

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self._reported or (self._caught and not self._is_second(number)):
            return
        if not self._first_signal:
            if number == signal.SIGALRM:  # it only woke us: the handler of what it is about comes next
                return
            self._first_signal, self._first_at = number, time.monotonic()
            peer.interrupted()
        being_reported = self._reporting and time.monotonic() - self._first_at < _REPORTING_SECONDS
        if being_reported or (self._own_alarm and _is_fragile(frame)):
            self._retry()
        else:
            if not self._caught:
                self._caught.append(
                    KeyboardInterrupt("SIGINT")
                    if self._first_signal == signal.SIGINT
                    else Terminated(self._first_signal)
                )
            if self._own_alarm:
                signal.setitimer(signal.ITIMER_REAL, 0)
            raise self._caught[0]

    def _is_noticed(self) -> bool:
        return bool(self._caught) or self._reported

    def _is_second(self, number: int) -> bool:
        """Tell whether a signal is to interrupt what the first one began, and is not that one's echo."""
        later = time.monotonic() - self._first_at > ECHO_SECONDS
        return self._listener is None and number != signal.SIGALRM and later

    def _retry(self) -> None:
        if self._own_alarm:
            signal.setitimer(signal.ITIMER_REAL, _RETRY_SECONDS, _AGAIN_SECONDS)
        elif not self._sending:  # the alarm clock is our caller's
            self._sending = True
            threading.Timer(_RETRY_SECONDS, self._send).start()

    def _send(self) -> None:
        while not self._is_noticed():
            os.kill(os.getpid(), self._first_signal)
            time.sleep(_AGAIN_SECONDS)
        self._sending = False
        if not self._is_noticed():  # what it raised was dropped just now
            self._retry()

    def _dropped(self, unraisable: sys.UnraisableHookArgs) -> None:
        if any(unraisable.exc_value is caught for caught in self._caught):
            self._caught.clear()
            self._retry()
        else:
            self._unraisable_hook_before(unraisable)


def _is_fragile(frame: FrameType | None) -> bool:
    if frame is None:
        return False
    code = frame.f_code
    if code.co_filename in _FRAGILE and code.co_name not in _WAITING:
        return True
    if code.co_filename == _SUBPROCESS and code.co_name in {"_wait", "_internal_poll"}:
        # It takes this lock in one line and gives it back from the next on; in between it may also sleep, without it.
        return bool(frame.f_locals["self"]._waitpid_lock.locked())  # noqa: SLF001 - there is no other way to know
    return _starts_thread(frame)


def _starts_thread(frame: FrameType) -> bool:
    """Tell whether a thread is being started, which takes a moment: after an exception nobody would know of it."""
    near: FrameType | None = frame
    for _ in range(_NEAR):
        if near is not None and near.f_code.co_filename == _THREADING:
            if near.f_code.co_name == "start":
                return True
            near = near.f_back
    return False
