"""One object on its way into a bucket: one request if it is small, else a session of chunks, one after the other."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from dumpty_plugins.buckets.failures import RequestFailed as AnyFailure
from dumpty_plugins.buckets.named_upload import NamedUpload
from dumpty_plugins.buckets.parts import Part
from dumpty_plugins.gcs import answers
from dumpty_plugins.gcs.failures import SESSION_GONE, RequestFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty_plugins.gcs.bucket import GoogleBucket

__all__ = ["GoogleUpload"]

_BLOCK = 1 << 20
_MOST_PARTS = 1 << 40
"""A session has no limit but that of an object, 5 TiB."""


class GoogleUpload(NamedUpload[None]):
    """Chunks of an object in a bucket.

    Args:
        bucket: where to.
        name: the object's, checked.
        put_small: puts an object of that name in one request, if there is none.
        claims_new: tells whether it is the server that decides whose a name is.
    """

    at_once = 1  # a session takes its chunks in their order

    def __init__(
        self, bucket: GoogleBucket, name: str, put_small: Callable[[bytes], None], claims_new: Callable[[], bool]
    ) -> None:
        self._bucket = bucket
        self._session = ""
        self._sent = 0
        self._crc = 0
        self._last: Part | None = None
        super().__init__(bucket, name, put_small, claims_new, _MOST_PARTS)

    def new_part(self, number: int) -> Part:
        return Part(number, self._bucket.address.part_size)

    def begin(self) -> None:
        try:
            self._session = self._bucket.begin(self._name, self._nonce)
        except RequestFailed as failure:
            if failure.taken:
                raise self._exists() from failure
            raise

    def send_part(self, part: Part) -> None:
        if part.is_last:  # whose end makes the object: that is for make() to send
            self._last = part
            return
        self._send_chunk(part, last=False)

    def note_sent(self, part: Part, sent: None) -> None:
        """Do nothing: the session counts."""

    def drop(self) -> None:
        if self._last is not None:
            self._last.close()
        if self._session:
            with contextlib.suppress(AnyFailure):
                self._bucket.drop(self._session)

    def make(self) -> None:
        if self._last is None:
            raise RequestFailed("nothing of it is left to send")
        resource = self._send_chunk(self._last, last=True)
        answers.require_as_sent(resource, self._sent, self.checksum())

    def checksum(self) -> str:
        """Return the CRC-32C of all that was sent, as Google writes it."""
        return answers.checksum(self._crc)

    def may_be_joined(self, failure: AnyFailure) -> bool:
        """Return whether a session has ended because it has made the object."""
        return failure.code == SESSION_GONE

    def _send_chunk(self, part: Part, *, last: bool) -> dict[str, Any]:
        import google_crc32c

        content = part.body()
        while block := content.read(_BLOCK):
            self._crc = google_crc32c.extend(self._crc, block)
        try:
            return self._bucket.put_chunk(
                self._session, part.body, self._sent, part.size, over=lambda: self._given_up, last=last
            )
        finally:
            self._sent += part.size
            part.close()
