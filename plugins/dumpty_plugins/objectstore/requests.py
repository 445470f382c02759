"""Requests to one container's server, each of which ends within a bounded time, whatever the server does."""

from __future__ import annotations

import contextlib
import email.utils
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from dumpty import Peer, given_up, pause, run_abandonable
from dumpty_plugins.objectstore.failures import RequestFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty_plugins.objectstore.address import Address

__all__ = ["GIVEN_UP", "Requests"]

GIVEN_UP = "given-up"
"""The code of a request whose time was over: once more would take as long."""

_LAST_SECONDS = 2.0
_PAUSES = (1.0, 2.0, 4.0)
"""Seconds between two attempts, at most: by chance less, so that not all who were sent away come back at once."""
_ATTEMPTS = 1 + len(_PAUSES)
"""How often a request is sent, at most: again after 429, 5xx and lost connections, never after a refusal."""
_SLOWEST = 64 << 10
"""Bytes a second: what a transfer must reach at least, beside the time that an answer may take."""
_CLOCK_SECONDS = 30.0
"""How long what the server said of its time is carried on by this machine's own clock."""
_PROMPT_SECONDS = 5.0
"""Of an answer that took longer the time is not taken: it may be that of its beginning."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # it runs on while the machine sleeps

_T = TypeVar("_T")


class Requests:
    """Sends requests, again where it may help. May be used from several threads.

    Args:
        address: where to.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._begun = threading.local()
        self._server_time: tuple[datetime, float] | None = None
        self._slow_time: tuple[datetime, float] | None = None

    def send(self, request: Callable[[], _T], *, size: int = 0, over: Callable[[], bool] = lambda: False) -> _T:
        """Return what ``request`` returns, which asks the server once, or leave it behind when the time is over.

        Args:
            request: raises ``RequestFailed``; it is called again where that says so.
            size: how many bytes it moves.
            over: tells, asked again and again, whether nobody waits any more.

        Raises:
            RequestFailed: there was no answer, or it was no success.
        """
        server = self.address.server
        if given_up():
            raise RequestFailed(f"{server} is not asked any more: dumpty was asked to end, and had no answer")
        dropped: list[str] = []
        seconds = self.address.timeout * _ATTEMPTS + sum(_PAUSES) + size / _SLOWEST
        peer = Peer(server, lambda: dropped.append(""), seconds=seconds)
        is_over = lambda: bool(dropped) or over()  # noqa: E731 - two uses, one line
        try:
            with peer.waiting():
                return run_abandonable(
                    lambda: self._ask_again(request, is_over),
                    discard=lambda _: None,
                    over=is_over,
                    error=lambda: RequestFailed(peer.reason or "it was given up", code=GIVEN_UP),
                    name="dumpty-objectstore",
                )
        finally:
            peer.close()

    def send_at_last(self, request: Callable[[], object]) -> None:
        """Send a request that cleans up, although the server may have been given up, and wait for a moment only.

        Raises:
            RequestFailed: it is not known to have succeeded.
        """
        end = time.monotonic() + _LAST_SECONDS
        run_abandonable(
            lambda: self._ask(request),
            discard=lambda _: None,
            over=lambda: time.monotonic() > end,
            error=lambda: RequestFailed(f"{self.address.server} gave no answer"),
            name="dumpty-objectstore",
        )

    def now(self, ask: Callable[[], object]) -> datetime:
        """Return the server's time; ``ask`` sends it a request where it has said nothing of late.

        Raises:
            RequestFailed: that failed, or the server tells no time.
        """
        known = self._server_time
        if known is None or time.clock_gettime(_CLOCK) - known[1] > _CLOCK_SECONDS:
            self._server_time = None
            ask()
            known = self._server_time
            if known is None:  # it took long, perhaps for its attempts
                ask()
                known = self._server_time or self._slow_time
        if known is None:
            raise RequestFailed(f"{self.address.server} does not say what time it is (the header Date)")
        return known[0] + timedelta(seconds=time.clock_gettime(_CLOCK) - known[1])

    def note_time(self, date: str | None) -> None:
        """Note the time that an answer tells (its header Date), in the thread that asked."""
        now = time.clock_gettime(_CLOCK)
        with contextlib.suppress(TypeError, ValueError):
            moment = email.utils.parsedate_to_datetime(date or "")
            self._slow_time = (moment.astimezone(UTC), now)
            if now - getattr(self._begun, "at", now) < _PROMPT_SECONDS:
                self._server_time = self._slow_time

    def _ask(self, request: Callable[[], _T]) -> _T:
        self._begun.at = time.clock_gettime(_CLOCK)
        return request()

    def _ask_again(self, request: Callable[[], _T], over: Callable[[], bool]) -> _T:
        for longest in _PAUSES:
            try:
                return self._ask(request)
            except RequestFailed as failure:
                if not failure.again or over():
                    raise
            pause(random.uniform(0, longest))  # noqa: S311 - no secret
        return self._ask(request)
