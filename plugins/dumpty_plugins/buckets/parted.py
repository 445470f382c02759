"""One object on its way: one request if it is small, else parts of it, several at once, joined by a last request."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from dumpty import StoreError, Worker, given_up, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from dumpty import Buffer

__all__ = ["BYTES_OF_PATIENCE", "AnyPart", "PartedUpload", "look_until"]

BYTES_OF_PATIENCE = 64 << 10
"""For how many bytes' time a server may take over each part when it joins them: a second."""
_AT_ONCE_IN_FILES = 2
"""Parts under way that wait in files, which are large: so fewer are enough."""
_LOOK_SECONDS = 0.5


class AnyPart(Protocol):
    """Bytes that wait to be sent."""

    number: int
    size: int
    is_large: bool
    is_last: bool

    @property
    def room(self) -> int:
        """How many bytes it still takes."""
        ...

    def write(self, data: memoryview) -> None:
        """Take ``data``, for which there is room."""
        ...

    def content(self) -> bytes | None:
        """Return what it holds, for a request of its own; None where that is too much to be in memory."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


_Part = TypeVar("_Part", bound=AnyPart)
_Sent = TypeVar("_Sent")


class PartedUpload(ABC, Generic[_Part, _Sent]):
    """Parts that ``commit`` joins, or, where it is small, an object that ``commit`` puts.

    Args:
        location: of the object, for messages.
        most_parts: how many the place takes of one object.
        put_small: puts an object of that name in one request, if there is none.
        name: of the threads that send.
    """

    at_once: ClassVar[int] = 3
    """How many parts are under way, at most."""

    def __init__(self, location: str, most_parts: int, put_small: Callable[[bytes], None], name: str) -> None:
        self._location = location
        self._most_parts = most_parts
        self._put_small = put_small
        self._thread_name = name
        self._part = self.new_part(1)
        self._under_way: list[tuple[_Part, Worker[_Sent]]] = []
        self._begun = False
        self._size = 0
        self._error: StoreError | None = None
        self._given_up = False
        self._ended = False

    @abstractmethod
    def new_part(self, number: int) -> _Part:
        """Return an empty part."""

    @abstractmethod
    def begin(self) -> None:
        """Tell the server that parts will come, where it wants to know."""

    @abstractmethod
    def send_part(self, part: _Part) -> _Sent:
        """Send a part, and close it; called in a thread of its own."""

    @abstractmethod
    def note_sent(self, part: _Part, sent: _Sent) -> None:
        """Note a part that has arrived; they come in their order."""

    @abstractmethod
    def join(self) -> None:
        """Make the object of its parts, and see that it is there."""

    @abstractmethod
    def drop(self) -> None:
        """Tell the server to drop the parts, where it can be told."""

    @abstractmethod
    def as_store_error(self) -> AbstractContextManager[None]:
        """Raise what fails in the block as an error of the contract."""

    def write(self, data: Buffer) -> int:
        view = memoryview(data).cast("B")
        with self._errors():
            rest = view
            while rest:
                if not self._part.room:  # and not before more comes: so the last part is never empty
                    self._send()
                taken = min(len(rest), self._part.room)
                self._part.write(rest[:taken])
                rest = rest[taken:]
        self._size += len(view)
        return len(view)

    def commit(self) -> None:
        with self._errors():
            content = self._part.content()
            if not self._begun and content is not None:
                self._put_small(content)
            else:
                self._part.is_last = True
                self._send()
                while self._under_way:
                    self._wait_for_first()
                self.join()
        self._begun = False
        self._end()

    def abort(self) -> None:
        if self._ended:
            return
        self._given_up = True
        for part, worker in self._under_way:
            worker.end()
            part.close()
        begun, self._begun = self._begun, False
        self._end()
        if begun:
            self.drop()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise what fails as an error of the contract, and again whenever more is asked of the upload."""
        if self._error is not None:
            raise self._error
        if self._ended:
            raise ValueError(f"the upload of {self._location} has ended")
        try:
            with self.as_store_error():
                yield
        except StoreError as error:
            self._error = error
            raise

    def _send(self) -> None:
        """Send the part that is full, when there is room for one more under way, and begin the next."""
        part = self._part
        if part.number > self._most_parts:
            raise StoreError(
                f"{self._location} has more than {self._most_parts:,} parts, all that one object may have there; set a "
                "larger ?part_size=, or none"
            )
        if not self._begun:
            self._begun = True
            self.begin()
        while len(self._under_way) >= min(self.at_once, _AT_ONCE_IN_FILES if part.is_large else self.at_once):
            self._wait_for_first()
        worker = Worker(lambda: self.send_part(part), self._thread_name)
        self._under_way.append((part, worker))
        self._part = self.new_part(part.number + 1)
        worker.start()

    def _wait_for_first(self) -> None:
        part, worker = self._under_way[0]
        self.note_sent(part, worker.result())
        del self._under_way[0]

    def _end(self) -> None:
        self._ended = True
        self._under_way = []
        self._part.close()


def look_until(is_there: Callable[[], bool], seconds: float) -> bool:
    """Look for an object until it is there, or the time of one answer is over: a server may still join its parts."""
    end = time.monotonic() + seconds
    while not is_there():
        if time.monotonic() > end or given_up():
            return False
        pause(_LOOK_SECONDS)
    return True
