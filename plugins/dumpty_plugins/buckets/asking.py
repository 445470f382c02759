"""Requests to one server, sent again where it may help, each of which ends within a bounded time."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, TypeVar

from dumpty_plugins.buckets.failures import RequestFailed
from dumpty_plugins.buckets.waiting import Waiting, clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = ["Requests"]

_PAUSES = (1.0, 2.0, 4.0)
"""Seconds between two attempts, at most: by chance less, so that not all who were sent away come back at once; at least
half of that, for a server may take one change of a name a second (Google does)."""
_ATTEMPTS = 1 + len(_PAUSES)
"""How often a request is sent, at most: again after 429, 5xx and lost connections, never after a refusal."""

_T = TypeVar("_T")


class Requests:
    """Sends requests. May be used from several threads.

    Args:
        server: what it is called in messages.
        timeout: how long it may be silent, in seconds.
        name: of the threads that ask.
    """

    def __init__(self, server: str, timeout: float, name: str) -> None:
        self._begun = threading.local()
        self._waiting = Waiting(server, timeout * _ATTEMPTS + sum(_PAUSES), RequestFailed, name)

    def send(self, request: Callable[[], _T], *, size: int = 0, over: Callable[[], bool] = lambda: False) -> _T:
        """Return what ``request`` returns, which asks the server once, or leave it behind when the time is over.

        Args:
            request: raises ``RequestFailed``; it is called again where that says so.
            size: how many bytes it moves.
            over: tells, asked again and again, whether nobody waits any more.

        Raises:
            RequestFailed: there was no answer, or it was no success.
        """
        ended = threading.Event()  # a thread that was left behind asks no more
        try:
            return self._waiting.wait(lambda: self._ask_again(request, ended), size=size, over=over)
        finally:
            ended.set()

    def send_at_last(self, request: Callable[[], object]) -> None:
        """Send a request that cleans up, although the server may have been given up, and wait for a moment only.

        Raises:
            RequestFailed: it is not known to have succeeded.
        """
        self._waiting.wait_at_last(request)

    def now(self, ask: Callable[[], object]) -> datetime:
        """Return the server's time; ``ask`` sends it a request where it has said nothing of late.

        Raises:
            RequestFailed: that failed, or the server tells no time.
        """
        return self._waiting.now(ask)

    def note_time(self, date: str | None) -> None:
        """Note the time that an answer tells (its header Date), in the thread that asked."""
        self._waiting.note_time(date, getattr(self._begun, "at", clock()))

    def _ask(self, request: Callable[[], _T]) -> _T:
        self._begun.at = clock()
        return request()

    def _ask_again(self, request: Callable[[], _T], ended: threading.Event) -> _T:
        lost = False  # whether what was sent before may have succeeded
        for longest in _PAUSES:
            try:
                return self._ask(request)
            except RequestFailed as failure:
                failure.uncertain = lost
                lost = lost or not failure.certain
                if not failure.again or ended.wait(random.uniform(longest / 2, longest)):  # noqa: S311 - no secret
                    raise
        try:
            return self._ask(request)
        except RequestFailed as failure:
            failure.uncertain = lost
            raise
