"""A bucket, or what lies below a prefix in it, as a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.buckets.store import BucketStore
from dumpty_plugins.gcs.bucket import GoogleBucket
from dumpty_plugins.gcs.upload import GoogleUpload

if TYPE_CHECKING:
    from dumpty_plugins.gcs.address import Address

__all__ = ["GoogleStore"]


class GoogleStore(BucketStore):
    """Objects in a bucket.

    Args:
        address: of the bucket, and the prefix of its objects' names.
    """

    def __init__(self, address: Address) -> None:
        self._google = GoogleBucket(address)
        super().__init__(self._google)

    def _new_upload(self, name: str) -> GoogleUpload:
        return GoogleUpload(
            self._google, name, lambda data: self._put(name, data, new=True, classed=True), self._claims_new
        )
