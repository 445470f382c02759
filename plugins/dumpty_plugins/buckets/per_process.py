"""What a process makes once and shares among its threads, and a process that is forked from it makes for itself."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PerProcess"]

_T = TypeVar("_T")


class PerProcess(Generic[_T]):
    """Makes something when it is first asked for, as connections are, over which two processes would hear each other.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._forget()

    def get(self) -> _T:
        """Return what was made in this process; whatever making it raises, is raised, and it is made the next time."""
        if self._process != os.getpid():
            self._forget()  # the lock, too: a thread may have held it that there is none of here
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._made: list[_T] = []
        self._process = os.getpid()
