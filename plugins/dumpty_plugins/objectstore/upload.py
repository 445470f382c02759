"""One object on its way into a container: one request if it is small, else blocks of it, several at once."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from dumpty import Exists
from dumpty_plugins.buckets.parted import BYTES_OF_PATIENCE, PartedUpload, look_until
from dumpty_plugins.objectstore.failures import RequestFailed, as_store_error
from dumpty_plugins.objectstore.parts import MAX_PARTS, Part, part_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from dumpty_plugins.objectstore.azure import Container

__all__ = ["ObjectUpload"]


class ObjectUpload(PartedUpload[Part, str]):
    """Blocks of an object in a container.

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
        self._claims_new = claims_new
        self._nonce = uuid.uuid4().hex
        """Blocks wait under the object's name, where others' may wait, too: theirs have other names."""
        self._blocks: list[str] = []
        super().__init__(self._address.location(name), MAX_PARTS, put_small, "dumpty-objectstore-part")

    def new_part(self, number: int) -> Part:
        return Part(number, part_size(number, self._address.part_size))

    def begin(self) -> None:
        """Do nothing: blocks come unannounced."""

    def send_part(self, part: Part) -> str:
        block = f"{self._nonce}{part.number:05}"
        self._container.put_block(self._name, block, part.body, part.size, lambda: self._given_up)
        part.close()
        return block

    def note_sent(self, part: Part, sent: str) -> None:  # noqa: ARG002 - its name says all
        self._blocks.append(sent)

    def drop(self) -> None:
        """Do nothing: the service removes blocks that nobody joins, after a week."""

    def as_store_error(self) -> AbstractContextManager[None]:
        return as_store_error(f"cannot write {self._address.location(self._name)}", self._address)

    def join(self) -> None:
        conditional = self._claims_new()
        if not conditional and self._is_there():
            raise self._exists()
        patience = len(self._blocks) * BYTES_OF_PATIENCE
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
        """Look for the object, as long as the server may still join its blocks.

        Raises:
            Exists: the name is another's.
        """
        if look_until(self._is_there, 0.0 if failure.status else self._address.timeout):
            return True
        if failure.taken:
            raise self._exists() from failure
        return False

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
