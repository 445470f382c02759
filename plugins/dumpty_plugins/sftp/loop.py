"""The thread that all conversations with servers run in: one event loop for the process."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")
_log = logging.getLogger("dumpty")


def event_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop of this process. A forked child has its own: threads are not inherited."""
    runner = _runners.get(os.getpid())
    if runner is None:
        made = _Runner()
        runner = _runners.setdefault(os.getpid(), made)
        if runner is not made:  # another thread was quicker
            made.loop.close()
    runner.start()
    return runner.loop


class _Runner:
    """An event loop, and its thread. No lock, which an interrupt might leave locked: of all started one runs it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(_DaemonThreads())
        self.loop.set_exception_handler(_note)
        self._claim = [None]

    def start(self) -> None:
        """Start the thread, unless the loop runs; what is asked of it meanwhile it does then."""
        if self._claim:
            threading.Thread(target=self._run, name="dumpty-sftp", daemon=True).start()

    def _run(self) -> None:
        try:
            self._claim.pop()
        except IndexError:
            return
        self.loop.run_forever()


class _DaemonThreads(ThreadPoolExecutor):
    """Runs what blocks (a name server is asked, a key decrypted) in threads that no end of the program waits for."""

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:
        future: Future[_Result] = Future()
        work = functools.partial(fn, *args, **kwargs)
        threading.Thread(target=_run, args=(work, future), name="dumpty-sftp-blocking", daemon=True).start()
        return future


def _run(work: Callable[[], _Result], future: Future[_Result]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
        future.set_exception(error)
    else:
        future.set_result(result)


def _note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what came up in the loop and concerns nobody who waits: the end of a connection that was dropped, say."""
    error = context.get("exception")
    _log.debug("in the thread of sftp: %s (%s)", context.get("message"), type(error).__name__, extra={"event": "sftp"})


_runners: dict[int, _Runner] = {}
