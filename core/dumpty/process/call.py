"""Calls that may be cancelled, and how the thread of a call hears of it.

Ctrl-C comes up as an exception in the main thread. A cancellation does the same to a call, in whatever thread.
Where it waits it is woken, and there ``CancelRequested`` comes up, a ``KeyboardInterrupt`` to all code on its way. It
does so once, so that what cleans up is left alone; but whoever reads or writes a dump, or is about to commit, hears of
it every time.

A call is decided once: by the cancellation, or by its commit point. Whichever comes first forbids the other.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from dumpty.errors import Cancelled
from dumpty.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "Call",
    "CancelRequested",
    "Ending",
    "commit_point",
    "current_call",
    "hear_cancellation",
    "pause",
    "raise_if_cancelled",
    "stop_working",
    "wait_point",
    "work_for",
    "working_for",
]

DROPPED = "the call that waits for it was cancelled"
"""Why a connection was dropped, in the errors that come of it."""
_log = logging.getLogger("dumpty")
_UNHEARD_SECONDS = 0.5
"""After this time a cancelled call that has not heard of it waits where nobody can wake it but its connections."""


class CancelRequested(KeyboardInterrupt):
    """Comes up within a call that was cancelled; whoever made the call gets ``Cancelled``."""


class Ending:
    """How long those who were asked to end may still wait for servers (``dumpty.process.peer``)."""

    def __init__(self) -> None:
        self.asked_at: float | None = None
        self.abandoned = False

    def ask(self) -> None:
        """Note that they are asked to end."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()

    def answered(self) -> None:
        """Note that a server answered."""
        if self.asked_at is not None:
            self.asked_at = time.monotonic()


class Call:
    """One call of a facade, in the thread that makes this object. See ``cancellable``.

    ``refused``: whoever asked to pass the commit point was told not to, and must not complete anything.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.ending = Ending()
        self.cancelled = False
        self.cause: Exception | None = None
        self.on_commit: Callable[[], object] = bool
        self.reason = ""
        self.refused = False
        self._final = False
        self._provisional = False
        self._heard = False
        self._cancelled_at = 0.0
        self._thread = threading.get_ident()
        self._claim = [None]  # whoever takes it, the cancellation or the commit, decides
        self._waits: list[Callable[[], object]] = []
        self._listeners: dict[Callable[[], object], None] = {}

    @property
    def in_own_thread(self) -> bool:
        """Whether this is asked in the thread of the call."""
        return threading.get_ident() == self._thread

    def listen(self, listener: Callable[[], object]) -> None:
        """Call ``listener`` when the call is asked to end; it may be called from any thread, and must not wait."""
        self._listeners[listener] = None

    def unlisten(self, listener: Callable[[], object]) -> None:
        """Call it no more."""
        self._listeners.pop(listener, None)

    def receive(self, reason: str) -> None:
        """Be cancelled, unless the commit point has passed. From any thread."""
        if _take(self._claim):
            self._cancel(reason)
        if self.cancelled:  # past the commit point a server that is silent may be at work on a COMMIT: it is waited for
            self.ending.ask()
        for listener in list(self._listeners):
            listener()

    def fail(self, error: Exception, reason: str) -> None:
        """Be cancelled because of ``error``; where the commit point has passed it is logged.

        Raises:
            CancelRequested: it is.
        """
        if _take(self._claim):
            self.cause = error
            self._cancel(reason)
        self.check()
        _log.warning("%s goes on, though %s", self.what, reason, extra={"event": "progress"})

    def _cancel(self, reason: str) -> None:
        self.reason, self._cancelled_at = reason, time.monotonic()
        self.cancelled = True
        # Of nested waits the innermost is what the thread waits in; whoever begins to wait from now on looks first.
        for wake in self._waits[-1:]:
            wake()

    def check(self) -> None:
        """Raise ``CancelRequested`` where the call is cancelled; every time, in any thread."""
        if self.cancelled:
            self.note_heard()
            raise CancelRequested(self.reason)

    def note_heard(self) -> None:
        """Note that ``CancelRequested`` comes up in this thread."""
        if self.in_own_thread:
            self._heard = True

    def note_told(self) -> None:
        """Note that its thread gets an error instead: what that leads to is cleaning up already."""
        self._heard = True

    def is_deaf(self, now: float) -> bool:
        """Return whether it was cancelled a while ago, and its thread has not heard of it."""
        return self.cancelled and not self._heard and now - self._cancelled_at > _UNHEARD_SECONDS

    @contextlib.contextmanager
    def waiting(self, wake: Callable[[], object]) -> Iterator[None]:
        """Within the block its thread waits for what ``wake`` ends (``wait_point``)."""
        if not self.in_own_thread:
            yield
            return
        self._waits.append(wake)
        try:
            self.hear()
            yield
        except Exception:  # what waking it made of what it waited for
            self._waits.remove(wake)
            self.hear()
            raise
        except BaseException:
            self._waits.remove(wake)
            raise
        self._waits.remove(wake)  # and what it waited for is its own now: the next one hears

    def hear(self) -> None:
        """Raise ``CancelRequested`` in the thread of the call where it has not heard of it yet."""
        if self.cancelled and not self._heard and self.in_own_thread:
            self.check()

    def commit(self) -> None:
        """Pass the commit point, and be final, or raise ``CancelRequested`` (``commit_point``)."""
        if self._provisional or self._final:
            self.check()
            return
        self.refused = True
        self.on_commit()
        if not _take(self._claim):  # if the other thread has not yet said so, it is about to
            self.cancelled = True
        self.check()
        self.refused, self._final = False, True

    def settle(self) -> None:
        """Note that what was asked for is done, unless it was refused: what comes now changes nothing."""
        if not self.refused:
            self._decide()

    def close(self) -> None:
        """Be over: threads and connections that still know of it are not concerned any more."""
        self._decide()
        self.ending = Ending()

    def _decide(self) -> None:
        """Let nobody cancel it any more, and forget what came too late to be heard."""
        _take(self._claim)
        self._final, self.cancelled = True, False

    @contextlib.contextmanager
    def provisional(self) -> Iterator[None]:
        """Within the block a commit point is only that of a part, which is thrown away again: a drill's restore."""
        before, self._provisional = self._provisional, True
        try:
            yield
        finally:
            self._provisional = before

    def error(self, cause: Exception | None = None) -> Cancelled:
        """Return what its caller gets; ``cause`` is what came up instead of ``CancelRequested``."""
        reason = f" ({self.reason})" if self.reason else ""
        text = f"{self.what} was cancelled{reason} before it was complete"
        # What tells of the drop and then goes on tells what became of it: something may be left.
        if cause is not None and not isinstance(cause, Cancelled) and not one_line(cause).endswith(DROPPED):
            text += f"; it ended with: {one_line(cause)}"
        return Cancelled(text)


_current: contextvars.ContextVar[Call | None] = contextvars.ContextVar("the call of a facade", default=None)


def current_call() -> Call | None:
    """Return the call that this thread works for, if any."""
    return _current.get()


def work_for(call: Call | None) -> contextvars.Token[Call | None]:
    """Let this thread work for ``call``, until the token that is returned is given to ``stop_working``."""
    return _current.set(call)


def stop_working(token: contextvars.Token[Call | None]) -> None:
    """Let this thread work for what it did before."""
    _current.reset(token)


@contextlib.contextmanager
def working_for(call: Call | None) -> Iterator[None]:
    """Within the block let this thread work for ``call``, whoever's thread it is."""
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)


@contextlib.contextmanager
def wait_point(wake: Callable[[], object]) -> Iterator[None]:
    """Within the block this thread waits for something that ``wake`` ends, with an error if it can.

    Where it ends without one, ask ``hear_cancellation`` afterwards, unless what was waited for has come.

    Args:
        wake: called from any thread when the call is cancelled; perhaps before the waiting begins, or after it ended.

    Raises:
        CancelRequested: the call was cancelled, and this is its thread; once, so that cleaning up may wait.
    """
    call = _current.get()
    if call is None:
        yield
        return
    with call.waiting(wake):
        yield


def hear_cancellation() -> None:
    """Raise ``CancelRequested`` where this is the thread of a call that was cancelled, and has not heard of it."""
    call = _current.get()
    if call is not None:
        call.hear()


def raise_if_cancelled() -> None:
    """Raise, where the call that this thread works for was cancelled: for long work that neither reads nor writes.

    A driver lets it pass, as Ctrl-C, and asks nothing of the kind while it cleans up. Costs next to nothing.

    Raises:
        KeyboardInterrupt: it was cancelled.
    """
    call = _current.get()
    if call is not None:
        call.check()


def commit_point() -> None:
    """Tell that what follows completes the call: from here on it is not cancelled any more, only done, or failed.

    A driver calls it in ``restore`` once, right before it puts what it has loaded in the target's place. One that
    never does may be cancelled after that, as by Ctrl-C: its target then holds what was restored.

    Raises:
        KeyboardInterrupt: the call was cancelled before; nothing is to be completed.
    """
    call = _current.get()
    if call is not None:
        call.commit()


def pause(seconds: float) -> None:
    """Sleep for so many seconds, unless the call is cancelled meanwhile.

    Raises:
        KeyboardInterrupt: it was cancelled.
    """
    call = _current.get()
    if call is not None and not call.in_own_thread:
        _pause_in_worker(call, seconds)
        return
    woken: SimpleQueue[None] = SimpleQueue()
    with wait_point(lambda: woken.put(None)), contextlib.suppress(Empty):
        woken.get(timeout=max(0.0, seconds))
    hear_cancellation()


def _pause_in_worker(call: Call, seconds: float) -> None:
    """Pause in a thread that a call waits for; what was cancelled before is being cleaned up, and may pause."""
    woken: SimpleQueue[None] = SimpleQueue()

    def listener() -> None:
        if call.cancelled:
            woken.put(None)

    before = call.cancelled
    call.listen(listener)
    try:
        with contextlib.suppress(Empty):
            woken.get(timeout=0.0 if call.cancelled and not before else max(0.0, seconds))
    finally:
        call.unlisten(listener)
    if not before:
        call.check()


def _take(claim: list[None]) -> bool:
    try:
        claim.pop()
    except IndexError:
        return False
    return True
