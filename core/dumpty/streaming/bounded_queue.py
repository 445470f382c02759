"""A queue between two threads that an interrupt leaves in order."""

from __future__ import annotations

import contextlib
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """Hands up to ``capacity`` items from one thread to another.

    Ctrl-C at any moment leaves it in order, where ``queue.Queue`` may stay locked for ever.
    """

    def __init__(self, capacity: int) -> None:
        self._items: SimpleQueue[T] = SimpleQueue()
        self._free_slots: SimpleQueue[None] = SimpleQueue()
        for _ in range(capacity):
            self._free_slots.put(None)

    def put(self, item: T) -> None:
        """Hand ``item`` over once there is room for it."""
        self._free_slots.get()
        self._items.put(item)

    def put_last(self, item: T) -> None:
        """Hand ``item`` over whether there is room or not."""
        self._items.put(item)

    def get(self) -> T:
        """Take the next item, waiting for it."""
        item = self._items.get()
        self._free_slots.put(None)
        return item

    def clear(self) -> None:
        """Drop what is waiting to be taken, and make room for whoever waits to hand over."""
        with contextlib.suppress(Empty):
            while True:
                self._items.get_nowait()
        self._free_slots.put(None)

    def make_room(self) -> None:
        """Make room for one more item than there may be: whoever waits to hand one over does so, and goes on."""
        self._free_slots.put(None)
