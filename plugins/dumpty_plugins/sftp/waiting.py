"""How a thread waits for what the event loop does: Ctrl-C, a cancellation and a silent server end it."""

from __future__ import annotations

import asyncio
import functools
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from dumpty import Peer
from dumpty_plugins.sftp.loop import event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_Result = TypeVar("_Result")


class SeveredError(Exception):
    """The wait was ended: the server was silent, or whoever waits is to end. The text says which."""


def wait_for(
    work: Callable[[], Coroutine[Any, Any, _Result]],
    *,
    server: str,
    seconds: float,
    pulse: Callable[[], object],
    discard: Callable[[_Result], object] = bool,
) -> _Result:
    """Let the event loop do ``work``, and return what it returns, or raise what it raises.

    Args:
        work: makes the coroutine. It is cancelled where this ends without its result.
        server: names it in messages.
        seconds: how long it may be silent.
        pulse: a value that changes with each answer of the server.
        discard: gets, in the loop, what the work returns too late.

    Raises:
        SeveredError: the server was silent for too long, or was so after somebody asked for an end.
    """
    job = _Job(work, discard)
    peer = Peer(server, job.sever, seconds=seconds, pulse=pulse)
    try:
        with peer.waiting():
            job.begin()
            outcome = job.ended.get()
            if outcome is None:
                raise SeveredError(peer.reason)
    except BaseException:
        job.abandon()
        raise
    finally:
        peer.close()
    return outcome()


class _Job(Generic[_Result]):
    """Work of the event loop that another thread waits for.

    The two tell each other by a SimpleQueue and calls into the loop: neither takes a lock that an interrupt in the
    waiting thread could leave locked.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, _Result]], discard: Callable[[_Result], object]) -> None:
        self.ended: SimpleQueue[Callable[[], _Result] | None] = SimpleQueue()
        self._work = work
        self._discard = discard
        self._loop = event_loop()
        self._task: asyncio.Task[None] | None = None
        self._results: list[_Result] = []
        self._abandoned = False

    def begin(self) -> None:
        self._loop.call_soon_threadsafe(self._start)

    def sever(self) -> None:
        self.ended.put(None)

    def abandon(self) -> None:
        """Cancel the work, or discard its result; from the waiting thread."""
        self._loop.call_soon_threadsafe(self._abandon)

    def _start(self) -> None:
        if not self._abandoned:
            self._task = self._loop.create_task(self._run())

    def _abandon(self) -> None:
        self._abandoned = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
        while self._results:
            self._discard(self._results.pop())

    async def _run(self) -> None:
        try:
            result = await self._work()
        except asyncio.CancelledError:
            self.ended.put(functools.partial(_raise, SeveredError("it was left off")))  # nobody waits, as a rule
            return
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self.ended.put(functools.partial(_raise, error))
            return
        if self._abandoned:
            self._discard(result)
        else:
            self._results.append(result)
            self.ended.put(lambda: result)


def _raise(error: BaseException) -> NoReturn:
    try:
        raise error
    finally:
        del error  # its traceback leads here
