"""Waiting for a server, each time for a bounded time, whatever it does; and what it said of the time."""

from __future__ import annotations

import contextlib
import email.utils
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from dumpty import Peer, given_up, run_abandonable
from dumpty_plugins.buckets.failures import GIVEN_UP, RequestFailed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Waiting", "clock"]

_LAST_SECONDS = 2.0
_SLOWEST = 64 << 10
"""Bytes a second: what a transfer must reach at least, beside the time that an answer may take."""
_CLOCK_SECONDS = 30.0
"""How long what the server said of its time is carried on by this machine's own clock."""
_PROMPT_SECONDS = 5.0
"""Of an answer that took longer the time is not taken: it may be that of its beginning."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # it runs on while the machine sleeps

_T = TypeVar("_T")


def clock() -> float:
    """Return the seconds of a clock that never stands or jumps."""
    return time.clock_gettime(_CLOCK)


class Waiting:
    """Waits for a server's answers. May be used from several threads.

    Args:
        server: what it is called in messages.
        seconds: how long an answer may take, all attempts and the pauses between them included.
        failed: what is raised: a store's own kind of ``RequestFailed``.
        name: of the threads that ask.
    """

    def __init__(self, server: str, seconds: float, failed: type[RequestFailed], name: str) -> None:
        self._server = server
        self._seconds = seconds
        self._failed = failed
        self._name = name
        self._server_time: tuple[datetime, float] | None = None
        self._slow_time: tuple[datetime, float] | None = None

    def wait(
        self,
        work: Callable[[], _T],
        *,
        size: int = 0,
        over: Callable[[], bool] = lambda: False,
        discard: Callable[[_T], object] = lambda _: None,
    ) -> _T:
        """Return what ``work`` returns, which waits for the server, or leave it behind when the time is over.

        Args:
            work: what to do, in a thread of its own.
            size: how many bytes it moves.
            over: tells, asked again and again, whether nobody waits any more.
            discard: gets what ``work`` returns after it was left behind.

        Raises:
            RequestFailed: ``work`` has raised it, or the time is over.
        """
        if given_up():
            raise self._failed(f"{self._server} is not asked any more: dumpty was asked to end, and had no answer")
        dropped: list[str] = []
        peer = Peer(self._server, lambda: dropped.append(""), seconds=self._seconds + size / _SLOWEST)
        try:
            with peer.waiting():
                return run_abandonable(
                    work,
                    discard=discard,
                    over=lambda: bool(dropped) or over(),
                    error=lambda: self._failed(peer.reason or "it was given up", code=GIVEN_UP),
                    name=self._name,
                )
        finally:
            peer.close()

    def wait_at_last(self, work: Callable[[], object]) -> None:
        """Do what cleans up, although the server may have been given up, and wait for a moment only.

        Raises:
            RequestFailed: it is not known to have succeeded.
        """
        end = time.monotonic() + _LAST_SECONDS
        run_abandonable(
            work,
            discard=lambda _: None,
            over=lambda: time.monotonic() > end,
            error=lambda: self._failed(f"{self._server} gave no answer"),
            name=self._name,
        )

    def now(self, ask: Callable[[], object]) -> datetime:
        """Return the server's time; ``ask`` sends it a request where it has said nothing of late.

        Raises:
            RequestFailed: that failed, or the server tells no time.
        """
        known = self._server_time
        if known is None or clock() - known[1] > _CLOCK_SECONDS:
            self._server_time = None
            ask()
            known = self._server_time
            if known is None:  # it took long, perhaps for its attempts
                ask()
                known = self._server_time or self._slow_time
        if known is None:
            raise self._failed(f"{self._server} does not say what time it is (the header Date)")
        return known[0] + timedelta(seconds=clock() - known[1])

    def note_time(self, date: str | None, begun: float) -> None:
        """Note the time that an answer tells (its header Date) to what was asked at ``begun``, by ``clock()``."""
        now = clock()
        with contextlib.suppress(TypeError, ValueError):
            moment = email.utils.parsedate_to_datetime(date or "")
            self._slow_time = (moment.astimezone(UTC), now)
            if now - begun < _PROMPT_SECONDS:
                self._server_time = self._slow_time
