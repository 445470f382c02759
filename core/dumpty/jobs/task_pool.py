"""Threads that do tasks side by side: so many at once, and so many of them of one server."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["TaskPool"]

_LOOK_SECONDS = 0.2
"""How often the waiting thread can be reached by a signal."""


class _Task(NamedTuple):
    number: int
    work: Callable[[], None]
    server: str


class _Queue:
    """Tasks in their order, of which the first is found whose server has room, however many wait. Not thread-safe."""

    def __init__(self, per_server: int) -> None:
        self.per_server = per_server
        self.waiting = 0
        self._tasks: defaultdict[str, deque[_Task]] = defaultdict(deque)
        self._busy: Counter[str] = Counter()
        self._ready: list[tuple[int, str]] = []
        """The number of the first task of each server that has room, and older ones that stand for nothing."""
        self._after, self._before = itertools.count(1), itertools.count(0, -1)

    def append(self, work: Callable[[], None], server: str) -> None:
        self._tasks[server].append(_Task(next(self._after), work, server))
        self._added(server)

    def prepend(self, work: Callable[[], None], server: str) -> None:
        self._tasks[server].appendleft(_Task(next(self._before), work, server))
        self._added(server)

    def take(self) -> _Task | None:
        """Return the first task whose server has room, which then is at it; None where there is none."""
        while self._ready:
            number, server = heapq.heappop(self._ready)
            tasks = self._tasks.get(server)
            if not tasks or tasks[0].number != number or not self._has_room(server):
                continue
            task = tasks.popleft()
            self.waiting -= 1
            if not tasks:
                del self._tasks[server]
            self._busy[server] += bool(server)
            self._offer(server)
            return task
        return None

    def done(self, task: _Task) -> None:
        self._busy[task.server] -= bool(task.server)
        self._offer(task.server)

    def resize(self, per_server: int) -> None:
        self.per_server = per_server
        for server in self._tasks:
            self._offer(server)

    def ready(self) -> int:
        """Return how many tasks wait of servers that have room."""
        return sum(len(tasks) for server, tasks in self._tasks.items() if self._has_room(server))

    def clear(self) -> None:
        self._tasks.clear()
        self._ready.clear()
        self.waiting = 0

    def _added(self, server: str) -> None:
        self.waiting += 1
        self._offer(server)

    def _offer(self, server: str) -> None:
        tasks = self._tasks.get(server)
        if tasks and self._has_room(server):
            heapq.heappush(self._ready, (tasks[0].number, server))

    def _has_room(self, server: str) -> bool:
        return not server or self._busy[server] < self.per_server


class TaskPool:
    """Tasks, done in the order in which they were added; a task may add others.

    A task that raises ends the pool: what waits is dropped, and ``wait`` or ``check`` raises it. Whoever keeps adding
    tasks calls ``start``, and ``check`` now and then; whoever has added them all calls ``wait``.

    Args:
        parallel: how many at once.
        per_server: how many of those that name the same server.
    """

    def __init__(self, parallel: int, per_server: int) -> None:
        self._parallel = parallel
        self._queue = _Queue(per_server)
        self._running = 0
        self._failure: BaseException | None = None
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._added = threading.Condition(lock)
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
            self._parallel = parallel
            self._queue.resize(per_server)
            self._added.notify_all()

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
            return self._running + self._queue.ready() < self._parallel

    def check(self) -> None:
        """Raise what a task raised, if one did; then call ``close``."""
        if self._failure is not None:
            raise self._failure

    def add(self, work: Callable[[], None], server: str = "") -> None:
        """Add a task; "" is of no server."""
        with self._changed:
            self._queue.append(work, server)
            self._added.notify()

    def add_first(self, tasks: Sequence[tuple[Callable[[], None], str]]) -> None:
        """Add tasks, each with its server, before all that wait."""
        with self._changed:
            for work, server in reversed(tasks):
                self._queue.prepend(work, server)
            self._added.notify(len(tasks))

    def wait(self) -> None:
        """Do all tasks, and return when none is left.

        Raises:
            BaseException: what a task raised, or a signal's handler in this thread; then call ``close``.
        """
        self.start()
        with self._changed:
            while (self._queue.waiting or self._running) and self._failure is None:
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
            self._queue.clear()
            self._added.notify_all()
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
                self._queue.done(task)
                self._failure = self._failure or failure
                self._added.notify()
                if failure is not None or not (self._queue.waiting or self._running):
                    self._changed.notify_all()

    def _take(self) -> _Task | None:
        """Return the next task that may begin; None at the end."""
        with self._changed:
            while not self._closed:
                task = self._queue.take() if self._running < self._parallel else None
                if task is not None:
                    self._running += 1
                    return task
                self._idle()
                self._added.wait()
            return None
