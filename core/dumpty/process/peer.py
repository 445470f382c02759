"""Connections that may go silent, and how waiting for them ends.

A server that hangs, or that the network no longer reaches, ends no connection: whoever waits for it waits for ever, and
a library that waits in C hears no signal. So a driver says of each connection when it waits and when something came,
and how to drop it; one thread looks. It drops what was silent for longer than its limit, unless the server says that it
is at work; and, once the program or the call that waits was asked to end, what keeps that from happening.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from dumpty.process.call import DROPPED, Ending, current_call, wait_point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty.process.call import Call

__all__ = ["Peer", "asked_to_end", "drop_all", "given_up", "interrupted", "settle"]

_log = logging.getLogger("dumpty")
_END_SECONDS = 3.0
"""How long after a signal, or after the last answer that came since, work on servers may go on without an answer."""
_MIN_WAIT_SECONDS = 1.5
"""What a statement gets in any case, however late it comes."""
_TICK_SECONDS = 0.1
_CHECKS_PER_LIMIT = 4
_LONGEST_TICK = 5.0


class Peer:
    """One connection, or a child process that has one.

    Args:
        what: names it in messages: "the server db:5432".
        sever: drops it at once, from any thread, so that whoever waits for it gets an error; it must not wait. What it
            raises, an OSError apart, is logged.
        seconds: how long it may be silent while somebody waits; 0 for as long as it likes.
        working: asks the server, over another connection, whether it is at work on what is awaited. Its errors count
            as no.
        pulse: a value that changes while there is life, although nothing comes. Its errors are no sign of that.
    """

    def __init__(
        self,
        what: str,
        sever: Callable[[], object],
        *,
        seconds: float = 0.0,
        working: Callable[[], bool] | None = None,
        pulse: Callable[[], object] | None = None,
    ) -> None:
        self._what = what
        self._sever = sever
        self._working = working
        self._pulse = pulse
        self._last_pulse: object = None
        self._probing = False
        self._waiting_since: float | None = None
        self.seconds = seconds
        self.reason = ""
        self.call = current_call()
        _watch.add(self)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Within the block, somebody waits for this peer."""
        self.call = call = current_call() or self.call  # the last that has used it
        if call is not None:
            call.listen(_watch.wake_up)
            if call.ending.asked_at is not None:
                _watch.wake_up()
        with wait_point(self.cancel):
            before, self._waiting_since = self._waiting_since, time.monotonic()
            try:
                yield
            finally:
                self._waiting_since = None if before is None else time.monotonic()
        _watch.answered(call)

    def cancel(self) -> None:
        """Drop it, for the call that waits for it was cancelled."""
        self.drop(DROPPED)

    def moved(self) -> None:
        """Note that something came, or was taken."""
        if self._waiting_since is not None:
            self._waiting_since = time.monotonic()

    def close(self) -> None:
        """Watch it no more. Harmless twice."""
        _watch.remove(self)

    def drop(self, reason: str) -> None:
        """Drop it now; ``reason`` says why, in the attribute of that name. Only the first call has an effect."""
        if not self.reason:
            self.reason = reason
            try:
                with contextlib.suppress(OSError):  # it is gone already
                    self._sever()
            except Exception as error:  # noqa: BLE001 - a driver's: others wait for this thread to drop theirs
                event = {"event": "left-behind"}
                _log.warning("%s could not be dropped (%s)", self._what, type(error).__name__, extra=event)

    def silent(self, now: float) -> float:
        """Return for how many seconds somebody has waited in vain; 0 where nobody does."""
        waiting_since = self._waiting_since
        if waiting_since is None or self.reason:
            return 0.0
        if self._is_alive():
            self.moved()
            return 0.0
        return now - waiting_since

    def _is_alive(self) -> bool:
        if self._pulse is None:
            return False
        pulse_before = self._last_pulse
        try:
            self._last_pulse = self._pulse()
        except Exception:  # noqa: BLE001 - a driver's: nothing was seen of life
            return False
        return bool(self._last_pulse != pulse_before)

    def look(self, now: float) -> None:
        """Drop it where it was silent for too long."""
        if not self.seconds or self._probing or self.silent(now) < self.seconds:
            return
        if self._working is None:
            self.drop(self._silence(""))
            return
        self._probing = True
        threading.Thread(target=self._probe, args=(self._waiting_since,), name="dumpty-probe", daemon=True).start()

    def _probe(self, waiting_since: float | None) -> None:
        explanation = ", and a new connection finds that it does not work on what was asked"
        try:
            at_work = self._working is not None and self._working()
        except Exception as error:  # noqa: BLE001 - a thread of our own: whatever it is, there was no answer
            at_work, explanation = False, f", and asking it anew failed ({' '.join(str(error).split())})"
        if self._waiting_since == waiting_since:
            if at_work:
                self.moved()
            else:
                self.drop(self._silence(explanation))
        self._probing = False

    def _silence(self, explanation: str) -> str:
        return f"{self._what} has stalled: not a byte came for {self.seconds:g} s{explanation}"


class _Watch:
    """The one thread that looks, while there are peers."""

    def __init__(self) -> None:
        # No lock: an interrupt may come at any moment, and each of these steps is a single one.
        self._peers: dict[int, weakref.ref[Peer]] = {}
        self._wake_calls: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.program = Ending()

    def add(self, peer: Peer) -> None:
        self._peers[id(peer)] = weakref.ref(peer)
        self.wake_up()

    def remove(self, peer: Peer) -> None:
        self._peers.pop(id(peer), None)

    def wake_up(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="dumpty-watch", daemon=True)
            self._thread.start()
        self._wake_calls.put(None)

    def interrupted(self) -> None:
        if self.program.asked_at is None:
            self.program.ask()
            self.wake_up()

    def answered(self, call: Call | None) -> None:
        self.program.answered()
        if call is not None:
            call.ending.answered()

    def settle(self) -> None:
        self.program = Ending()

    def live_peers(self) -> list[Peer]:
        live = []
        for key, reference in list(self._peers.items()):
            peer = reference()
            if peer is None:
                self._peers.pop(key, None)
            else:
                live.append(peer)
        return live

    def _run(self) -> None:
        while True:
            peers = self.live_peers()
            limits = [p.seconds for p in peers if p.seconds]
            tick = None if not limits else min(_LONGEST_TICK, max(_TICK_SECONDS, min(limits) / _CHECKS_PER_LIMIT))
            if any(e.asked_at is not None for p in peers for e in self._endings(p)):
                tick = _TICK_SECONDS
            del peers
            with contextlib.suppress(Empty):
                self._wake_calls.get(timeout=tick)
            now = time.monotonic()
            for peer in self.live_peers():
                peer.look(now)
            self._end(now)

    def _endings(self, peer: Peer) -> tuple[Ending, ...]:
        return (self.program,) if peer.call is None else (self.program, peer.call.ending)

    def _end(self, now: float) -> None:
        peers = self.live_peers()
        _drop_silent(peers, self.program, now, "dumpty was asked to end")
        calls = {id(peer.call): peer.call for peer in peers}
        for call in calls.values():
            if call is not None:
                own = [peer for peer in peers if peer.call is call]
                _drop_silent(own, call.ending, now, "the call was cancelled")
                awaited = [peer for peer in own if peer.silent(now)]
                if awaited and call.is_deaf(now):  # its thread waits for another one, say, which waits for one of these
                    call.note_told()
                    for peer in awaited:
                        peer.cancel()


def _drop_silent(peers: list[Peer], ending: Ending, now: float, event: str) -> None:
    """Drop what gives no answer any more to those who were asked to end, if that was a while ago."""
    asked_at = ending.asked_at
    if asked_at is None:
        return
    if not ending.abandoned:
        if now - asked_at < _END_SECONDS or not any(p.silent(now) >= _MIN_WAIT_SECONDS for p in peers):
            return
        ending.abandoned = True
    for peer in peers:
        if peer.silent(now):
            peer.drop(f"it gave no answer any more, after {event}")


_watch = _Watch()


def interrupted() -> None:
    """Note that the program was asked to end: from now on nobody waits long for a server that does not answer."""
    _watch.interrupted()


def asked_to_end() -> bool:
    """Return whether the program was asked to end."""
    return _watch.program.asked_at is not None


def given_up() -> bool:
    """Return whether, after the program or this call was asked to end, a server kept silent: ask none any more."""
    call = current_call()
    return _watch.program.abandoned or (call is not None and call.ending.abandoned)


def drop_all() -> None:
    """Drop every connection at once: the program ends."""
    for peer in _watch.live_peers():
        peer.drop("dumpty was ended at once")


def settle() -> None:
    """Forget that the program was asked to end: it goes on."""
    _watch.settle()
