"""What is asked of a server to find out what it guarantees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.s3 import objects

if TYPE_CHECKING:
    from dumpty_plugins.s3.requests import Requests

__all__ = ["ProbedBucket"]


class ProbedBucket:
    """A bucket: the contract is ``dumpty_plugins.buckets.probing.Probed``.

    Args:
        requests: to the bucket.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def head(self, name: str) -> None:
        """Look an object up."""
        objects.head(self._requests, name)

    def put_new(self, name: str, data: bytes) -> None:
        """Put an object where the server knows none."""
        objects.put(self._requests, name, data, new=True, extra={})

    def is_listed(self, name: str) -> bool:
        """Return whether a listing has the object."""
        answer = self._requests.send("list_objects_v2", {"Prefix": self._requests.address.key(name)})
        return bool(answer.get("Contents"))

    def delete(self, name: str) -> None:
        """Delete an object."""
        self._requests.send("delete_object", {"Key": self._requests.address.key(name)})
