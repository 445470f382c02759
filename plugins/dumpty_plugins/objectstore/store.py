"""A container, or what lies below a prefix in it, as a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.buckets.store import BucketStore
from dumpty_plugins.objectstore.azure import Container
from dumpty_plugins.objectstore.upload import ObjectUpload

if TYPE_CHECKING:
    from dumpty_plugins.objectstore.address import Address


class ObjectStore(BucketStore):
    """Objects in a container.

    Args:
        address: of the container, and the prefix of its blobs' names.
    """

    def __init__(self, address: Address) -> None:
        self._container = Container(address)
        super().__init__(self._container)

    def _new_upload(self, name: str) -> ObjectUpload:
        return ObjectUpload(
            self._container, name, lambda data: self._put(name, data, new=True, classed=True), self._claims_new
        )
