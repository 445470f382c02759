"""What was asked for on the page: commands of dumpty, each in a process of its own, what it says, how it ended."""

from __future__ import annotations

import contextlib
import os
import secrets as random_names
import signal
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from dumpty.errors import CommandError, Locked
from dumpty.redaction import one_line, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from dumpty.process.child import Child

__all__ = ["Order", "Task", "Tasks"]

_MOST_AT_ONCE = 4
_MOST_KEPT = 50
_MOST_LINES = 300
_MOST_OUTPUT = 1 << 16
_LONGEST_LINE = 2000
_ENDING_SECONDS = 30.0
"""A command that is asked to end does so within five, but for what it must not leave undone."""
_ATTENTION = 12
"""The exit status of what is done, where somebody should look."""


class Order(NamedTuple):
    """What is to be done: in words, and as a command line of dumpty without the program.

    ``environment`` holds what no command line may, ``secrets`` what no message may.
    """

    what: str
    words: Sequence[str]
    environment: Mapping[str, str]
    secrets: Sequence[str]


class Task:
    """A command on its way, or ended: ``outcome`` is "running", "ok", "attention", or "failed"."""

    def __init__(self, order: Order) -> None:
        self.id, self.what, self.began = random_names.token_hex(8), order.what, datetime.now(UTC)
        self.order = order
        self.ended: datetime | None = None
        self.outcome = "running"
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._lock = threading.Lock()

    @property
    def lines(self) -> list[str]:
        """What it said, oldest first."""
        with self._lock:
            return list(self._lines)

    def add(self, line: str) -> None:
        """Keep a line that it said, or as much of it as somebody reads."""
        with self._lock:
            self._lines.append(line[:_LONGEST_LINE])

    def end(self, outcome: str) -> None:
        """Keep how it ended."""
        self.ended, self.outcome = datetime.now(UTC), outcome


class Tasks:
    """Runs commands of dumpty; as a context, it ends those that are left with the block.

    Args:
        tell: is told, in a line, what is asked for, and how it ended.
        ended: is called when one has ended: what was known before may be old.
        redacted: returns a line without the secrets that are known.
        hidden: names of variables that no command is given: the token above all.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        ended: Callable[[], object],
        redacted: Callable[[str], str] = str,
        hidden: Sequence[str] = (),
    ) -> None:
        self._say, self._ended, self._redacted, self._hidden = tell, ended, redacted, tuple(hidden)
        self._lock = threading.Lock()
        self._tasks: list[Task] = []
        self._children: dict[str, Child] = {}
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed, children = True, list(self._children.values())
        for child in children:  # each ends in good order, as it does at a terminal
            _ask_to_end(child)
        ends = time.monotonic() + _ENDING_SECONDS
        while any(child.returncode is None for child in children) and time.monotonic() < ends:
            time.sleep(0.02)
        for child in children:  # not by a second signal, at which it would leave what it does undone
            child.kill_now()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(1.0)

    def latest(self) -> list[Task]:
        """Return the last ones, newest first."""
        with self._lock:
            return self._tasks[::-1]

    def end(self, task_id: str) -> None:
        """Ask a command to end; one that has ended stays as it is."""
        with self._lock:
            child = self._children.get(task_id)
        if child is not None:
            _ask_to_end(child)

    def begin(self, order: Order) -> Task:
        """Begin what is asked for, and return it; what is at the same already is that.

        Raises:
            Locked: too much is at work, or the service ends.
        """
        with self._lock:
            running = [task for task in self._tasks if task.outcome == "running"]
            for task in running:
                if (task.order.words, task.order.environment) == (order.words, order.environment):
                    return task
            if self._closed:
                raise Locked("the service ends: ask again when it is there again")
            if len(running) >= _MOST_AT_ONCE:
                raise Locked(f"{_MOST_AT_ONCE} things that were asked for are at work: wait until one has ended")
            task = Task(order)
            over = [task for task in self._tasks if task.outcome != "running"][-_MOST_KEPT:]
            self._tasks = [other for other in self._tasks if other in over or other in running]
            self._tasks.append(task)
            thread = threading.Thread(target=self._run, args=(task,), name="dumpty-task", daemon=True)
            self._threads.add(thread)
            thread.start()
        self._tell(f"asked for on the page: {task.what}")
        return task

    def _tell(self, text: str) -> None:
        with contextlib.suppress(Exception):  # whoever hears of it may be gone
            self._say(text)

    def _run(self, task: Task) -> None:
        from dumpty.process.child import Child

        # -P: whatever lies in the working directory is none of Python's modules.
        argv = [sys.executable, "-P", "-m", "dumpty", *task.order.words]
        environment = {**dict.fromkeys(self._hidden), **task.order.environment}

        def add(line: str) -> None:
            task.add(self._redacted(redact(line, task.order.secrets)))

        outcome = "failed"
        try:
            with Child(argv, env=environment, secrets=task.order.secrets, on_line=add) as child:
                self._watch(child, task, add)
            outcome = "ok"
        except CommandError as error:
            outcome = "attention" if error.returncode == _ATTENTION else "failed"
            if not task.lines:
                add(one_line(error))
        except Exception as error:  # noqa: BLE001 - it is told where somebody looks
            add(f"unexpected {type(error).__name__}: {one_line(error)}")
        finally:
            task.end(outcome)
            self._tell(f"{task.what}: {outcome}")
            with self._lock:
                self._threads.discard(threading.current_thread())
                closed = self._closed
            if not closed:
                with contextlib.suppress(Exception):
                    self._ended()

    def _watch(self, child: Child, task: Task, add: Callable[[str], None]) -> None:
        """Take what a child says until it has ended.

        Raises:
            CommandError: it did not end with 0.
        """
        with self._lock:
            self._children[task.id] = child
            closed = self._closed
        try:
            if closed:
                _ask_to_end(child)
            said = b""
            while piece := child.read():
                said = (said + piece)[-_MOST_OUTPUT:]
            child.last_words()
            for line in said.decode("utf-8", "replace").splitlines():
                add(line)
            child.wait()
        finally:
            with self._lock:
                self._children.pop(task.id, None)


def _ask_to_end(child: Child) -> None:
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)
