"""One object on its way into a container: one request if it is small, else blocks of it, several at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.buckets.named_upload import NamedUpload
from dumpty_plugins.buckets.parted import BYTES_OF_PATIENCE
from dumpty_plugins.buckets.parts import Part
from dumpty_plugins.objectstore.parts import MAX_PARTS, part_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty_plugins.buckets.failures import RequestFailed
    from dumpty_plugins.objectstore.azure import Container

__all__ = ["ObjectUpload"]


class ObjectUpload(NamedUpload[str]):
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
        self._blocks: list[str] = []
        super().__init__(container, name, put_small, claims_new, MAX_PARTS)

    def new_part(self, number: int) -> Part:
        return Part(number, part_size(number, self._container.address.part_size))

    def begin(self) -> None:
        """Do nothing: blocks come unannounced."""

    def send_part(self, part: Part) -> str:
        block = f"{self._nonce}{part.number:05}"  # blocks wait under the object's name, where others' may wait, too
        self._container.put_block(self._name, block, part.body, part.size, lambda: self._given_up)
        part.close()
        return block

    def note_sent(self, part: Part, sent: str) -> None:  # noqa: ARG002 - its name says all
        self._blocks.append(sent)

    def drop(self) -> None:
        """Do nothing: the service removes blocks that nobody joins, after a week."""

    def make(self) -> None:
        patience = len(self._blocks) * BYTES_OF_PATIENCE
        self._container.join(self._name, self._blocks, nonce=self._nonce, patience=patience)

    def may_be_joined(self, failure: RequestFailed) -> bool:
        """Return whether blocks are gone because they were joined."""
        return failure.code == "InvalidBlockList"
