"""One object on its way into a container: one request if it is small, else blocks of it, several at once."""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import TYPE_CHECKING

from dumpty import Exists, StoreError, Worker, given_up, pause
from dumpty_plugins.objectstore.failures import RequestFailed, as_store_error
from dumpty_plugins.objectstore.parts import MAX_PARTS, Part, part_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty import Buffer
    from dumpty_plugins.objectstore.azure import Container

__all__ = ["ObjectUpload"]

_AT_ONCE = 3
"""Blocks under way, in memory; of those that wait in files, which are large, fewer are enough."""
_AT_ONCE_IN_FILES = 2
_LOOK_SECONDS = 0.5
_BYTES_OF_PATIENCE = 64 << 10
"""For how many bytes' time a server may take over each block when it joins them: a second."""


class ObjectUpload:
    """Blocks that ``commit`` joins, or, where it is small, an object that ``commit`` puts.

    Args:
        container: where to.
        name: the object's, checked.
        put_small: puts an object of that name in one request, if there is none.
        claims_new: tells whether it is the server that decides whose a name is.
    """

    def __init__(
        self, container: Container, name: str, put_small: Callable[[bytes], None], claims_new: Callable[[], bool]
    ) -> None:
        self._container = container
        self._address = container.address
        self._name = name
        self._put_small = put_small
        self._claims_new = claims_new
        self._nonce = uuid.uuid4().hex
        """Blocks wait under the object's name, where others' may wait, too: theirs have other names."""
        self._part = self._new_part(1)
        self._under_way: list[tuple[Part, Worker[str]]] = []
        self._blocks: list[str] = []
        self._size = 0
        self._error: StoreError | None = None
        self._given_up = False
        self._ended = False

    def write(self, data: Buffer) -> int:
        view = memoryview(data).cast("B")
        with self._errors():
            rest = view
            while rest:
                taken = min(len(rest), self._part.room)
                self._part.write(rest[:taken])
                rest = rest[taken:]
                if not self._part.room:
                    self._send()
        self._size += len(view)
        return len(view)

    def commit(self) -> None:
        with self._errors():
            content = None if self._blocks or self._under_way else self._part.content()
            if content is not None:
                self._put_small(content)
            else:
                if self._part.size:
                    self._send()
                while self._under_way:
                    self._wait_for_first()
                self._complete()
        self._end()

    def abort(self) -> None:
        """Drop it; the service removes blocks that nobody joins after a week."""
        if self._ended:
            return
        self._given_up = True
        for part, worker in self._under_way:
            worker.end()
            part.close()
        self._end()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise what fails as an error of the contract, and again whenever more is asked of the upload."""
        if self._error is not None:
            raise self._error
        if self._ended:
            raise ValueError(f"the upload of {self._address.location(self._name)} has ended")
        try:
            with as_store_error(f"cannot write {self._address.location(self._name)}", self._address):
                yield
        except StoreError as error:
            self._error = error
            raise

    def _new_part(self, number: int) -> Part:
        return Part(number, part_size(number, self._address.part_size))

    def _send(self) -> None:
        """Send the part that is full, when there is room for one more under way, and begin the next."""
        part = self._part
        if part.number > MAX_PARTS:
            raise StoreError(
                f"{self._address.location(self._name)} has more than {MAX_PARTS:,} blocks, all that Azure takes of one "
                "object; set a larger ?part_size=, or none"
            )
        while len(self._under_way) >= (_AT_ONCE_IN_FILES if part.is_large else _AT_ONCE):
            self._wait_for_first()
        worker = Worker(lambda: self._send_part(part), "dumpty-objectstore-part")
        self._under_way.append((part, worker))
        self._part = self._new_part(part.number + 1)
        worker.start()

    def _send_part(self, part: Part) -> str:
        block = f"{self._nonce}{part.number:05}"
        self._container.put_block(self._name, block, part.body, part.size, lambda: self._given_up)
        part.close()
        return block

    def _wait_for_first(self) -> None:
        _, worker = self._under_way[0]
        self._blocks.append(worker.result())
        del self._under_way[0]

    def _complete(self) -> None:
        conditional = self._claims_new()
        if not conditional and self._is_there():
            raise self._exists()
        patience = len(self._blocks) * _BYTES_OF_PATIENCE
        try:
            self._container.join(self._name, self._blocks, new=conditional, nonce=self._nonce, patience=patience)
        except RequestFailed as failure:
            # The answer to a first request may be lost, and what is told is that to a second one.
            if (failure.certain and failure.code != "InvalidBlockList") or not self._comes_to_be(failure):
                raise
        else:
            if not self._is_there():
                raise RequestFailed(f"{self._address.server} said that it joined the blocks, and has no such object")

    def _comes_to_be(self, failure: RequestFailed) -> bool:
        """Look for the object until it is there, or the time of one answer is over: a server may still join its blocks.

        Raises:
            Exists: the name is another's.
        """
        end = time.monotonic() + (0.0 if failure.status else self._address.timeout)
        while not self._is_there():
            if failure.taken:
                raise self._exists() from failure
            if time.monotonic() > end or given_up():
                return False
            pause(_LOOK_SECONDS)
        return True

    def _is_there(self) -> bool:
        """Return whether the object is there as it was sent.

        Raises:
            Exists: the name is another's.
            RequestFailed: it is this upload's, and not of the size that was sent; or it cannot be looked up.
        """
        try:
            found, nonce = self._container.head_with_nonce(self._name)
        except RequestFailed as failure:
            if failure.missing:
                return False
            raise
        if nonce != self._nonce:
            raise self._exists()
        if found.size != self._size:
            raise RequestFailed(f"of {self._size:,} bytes {found.size:,} arrived")
        return True

    def _exists(self) -> Exists:
        return Exists(f"{self._address.location(self._name)} exists already")

    def _end(self) -> None:
        self._ended = True
        self._under_way = []
        self._part.close()
