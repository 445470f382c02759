"""Threads that do tasks side by side: so many at once, and so many of them of one server."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["TaskPool"]

_LOOK_SECONDS = 0.2
"""How often the waiting thread can be reached by a signal."""


class _Task(NamedTuple):
    work: Callable[[], None]
    server: str


class TaskPool:
    """Tasks, done in the order in which they were added; a task may add others.

    A task that raises ends the pool: what waits is dropped, and ``wait`` or ``check`` raises it. Whoever keeps adding
    tasks calls ``start``, and ``check`` now and then; whoever has added them all calls ``wait``.

    Args:
        parallel: how many at once.
        per_server: how many of those that name the same server.
    """

    def __init__(self, parallel: int, per_server: int) -> None:
        self._parallel, self._per_server = parallel, per_server
        self._waiting: deque[_Task] = deque()
        self._busy: Counter[str] = Counter()
        self._running = 0
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._idle: Callable[[], None] = lambda: None

    def start(self, idle: Callable[[], None] | None = None) -> None:
        """Begin to do tasks, those that wait and those that are added later.

        ``idle`` is called in a thread that has nothing to do: then there is room, or a task has failed (``check``).
        """
        self._idle = idle or self._idle
        self._grow(self._parallel)

    def resize(self, parallel: int, per_server: int) -> None:
        """Let from now on so many tasks begin at once, and so many of a server; what has begun is left to end.

        Raises:
            RuntimeError: there is no room for so many threads; it stays as it was.
        """
        self._grow(parallel)
        with self._changed:
            self._parallel, self._per_server = parallel, per_server
            self._changed.notify_all()

    def _grow(self, parallel: int) -> None:
        while len(self._threads) < parallel:
            name = f"dumpty-task-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def has_room(self) -> bool:
        """Whether another task of no server would begin at once."""
        with self._changed:
            waiting = sum(not task.server or self._busy[task.server] < self._per_server for task in self._waiting)
            return self._running + waiting < self._parallel

    def check(self) -> None:
        """Raise what a task raised, if one did; then call ``close``."""
        if self._failure is not None:
            raise self._failure

    def add(self, work: Callable[[], None], server: str = "") -> None:
        """Add a task; "" is of no server."""
        with self._changed:
            self._waiting.append(_Task(work, server))
            self._changed.notify_all()

    def add_first(self, tasks: Sequence[tuple[Callable[[], None], str]]) -> None:
        """Add tasks, each with its server, before all that wait."""
        with self._changed:
            self._waiting.extendleft(_Task(*task) for task in reversed(tasks))
            self._changed.notify_all()

    def wait(self) -> None:
        """Do all tasks, and return when none is left.

        Raises:
            BaseException: what a task raised, or a signal's handler in this thread; then call ``close``.
        """
        self.start()
        with self._changed:
            while (self._waiting or self._running) and self._failure is None:
                self._changed.wait(_LOOK_SECONDS)
        self.close()
        self.check()

    def close(self, seconds: float | None = None) -> None:
        """Drop what waits, and return when nothing runs any more, or after so many seconds.

        What runs then still is in the midst of something that nobody can end, a file system that hangs, say; its thread
        ends with the process.
        """
        end = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            while thread.is_alive() and (end is None or time.monotonic() < end):
                thread.join(_LOOK_SECONDS)

    def _serve(self) -> None:
        while (task := self._take()) is not None:
            failure: BaseException | None = None
            try:
                task.work()
            except BaseException as error:  # noqa: BLE001 - it is raised where the pool is waited for
                failure = error
            with self._changed:
                self._running -= 1
                self._busy[task.server] -= bool(task.server)
                self._failure = self._failure or failure
                self._changed.notify_all()

    def _take(self) -> _Task | None:
        """Return the next task that may begin; None at the end."""
        with self._changed:
            while not self._closed:
                room = self._running < self._parallel
                for position, task in enumerate(self._waiting if room else ()):
                    if not task.server or self._busy[task.server] < self._per_server:
                        del self._waiting[position]
                        self._running += 1
                        self._busy[task.server] += bool(task.server)
                        return task
                self._idle()
                self._changed.wait()
            return None
