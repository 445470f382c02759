"""An object as a stream, taken up again where a connection broke off."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dumpty import StoreError
from dumpty_plugins.buckets.failures import GIVEN_UP
from dumpty_plugins.s3.failures import RequestFailed, as_store_error
from dumpty_plugins.s3.objects import head, tag
from dumpty_plugins.s3.requests import close_body

if TYPE_CHECKING:
    from dumpty_plugins.s3.requests import Requests

__all__ = ["S3Reader"]

_FIRST_BLOCK, _BLOCK = 1 << 16, 1 << 20
"""What is read at once: little of what may be little, and more, the longer it goes on."""
_ATTEMPTS = 4
"""How often the stream may break off without a byte having come, before that is an error."""


class S3Reader:
    """Reads an object from ``offset`` on: the contract is ``dumpty.Reader``.

    Only the end of the object, by the size that the server told at first, is the end of the stream. What is read after
    a connection has broken off is of the same object, by its ETag.

    Args:
        requests: to the bucket.
        name: the object's, checked.
        offset: in bytes.

    Raises:
        MissingFile: there is no such object.
        StoreError: it cannot be had.
    """

    def __init__(self, requests: Requests, name: str, offset: int = 0) -> None:
        self._requests = requests
        self._address = requests.address
        self._name = name
        self._position = offset
        self._size = -1
        self._tag = ""
        self._body: Any = None
        self._rest = memoryview(b"")
        self._block = _FIRST_BLOCK
        self._is_whole = False
        """Whether the connection gives the object from its beginning."""
        self._left_behind = False
        """Whether a thread may still read from the body."""
        self._closed = False
        with self._errors():
            self._open()

    def read(self, size: int = -1) -> bytes:
        if self._closed:
            raise ValueError(f"read from {self._address.location(self._name)}, which was closed")
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK), b""))
        with self._errors():
            if size and not self._rest and self._position < self._size:
                self._rest = memoryview(self._next_block(max(size, self._block)))
                self._position += len(self._rest)
                self._block = min(_BLOCK, 2 * self._block)
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)

    @property
    def size(self) -> int:
        """How many bytes the object has."""
        return self._size

    def close(self) -> None:
        self._closed = True
        self._drop()

    def _errors(self) -> Any:
        return as_store_error(f"cannot read {self._address.location(self._name)}", self._address)

    def _open(self) -> None:
        key = self._address.key(self._name)
        wanted: dict[str, object] = {"IfMatch": f'"{self._tag}"'} if self._tag else {}
        if self._position:
            wanted["Range"] = f"bytes={self._position}-"
        try:
            answer = self._requests.send("get_object", {"Key": key, **wanted})
        except RequestFailed as failure:
            if failure.code not in {"InvalidRange", "416"} or self._size >= 0:
                raise
            size = head(self._requests, self._name).size
            if self._position > size:
                raise RequestFailed(f"it has {size:,} bytes, not {self._position:,} or more", status=400) from failure
            self._size = size
            return
        try:
            self._require_asked(answer)
        except RequestFailed:
            close_body(answer)
            raise
        self._is_whole = not self._position
        self._body = answer["Body"]

    def _require_asked(self, answer: dict[str, Any]) -> None:
        """Check that what comes is what was asked for, from there on and to the end, and note how much it is."""
        size = self._position + int(answer["ContentLength"])
        begins = str(answer.get("ContentRange", "")).startswith(f"bytes {self._position}-")
        if (self._position and not begins) or (self._size >= 0 and size != self._size):
            raise RequestFailed(f"{self._address.server} answers with other bytes than it was asked for", status=400)
        if self._tag and tag(answer) != self._tag:
            raise RequestFailed("the object was replaced while it was read", status=400)
        self._size, self._tag = size, tag(answer)

    def _next_block(self, size: int) -> bytes:
        attempts = 0
        while True:
            try:
                if self._body is None:
                    self._open()
                block = self._read(size)
            except RequestFailed as failure:
                self._drop()
                attempts += 1
                if failure.certain or failure.code == GIVEN_UP or attempts == _ATTEMPTS:
                    raise
                continue
            if not block:
                self._drop()
                raise StoreError(
                    f"{self._address.location(self._name)} breaks off after {self._position:,} of {self._size:,} bytes"
                )
            return bytes(block)

    def _read(self, size: int) -> Any:
        """Read from the connection; behind its end botocore compares the checksum, where the server told one.

        Of a part of an object some servers tell that of the whole: so this is asked for only where the whole is read.
        """
        body, last = self._body, self._size - self._position if self._is_whole else -1
        self._left_behind = True
        block = self._requests.wait(lambda: _read(body, size, last), size=size)
        self._left_behind = False
        return block

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is None:
            return
        if self._left_behind:  # its thread holds the lock that closing takes, for as long as the server likes
            threading.Thread(target=body.close, name="dumpty-s3-close", daemon=True).start()
        else:
            body.close()
        self._left_behind = False


def _read(body: Any, size: int, last: int) -> Any:
    from botocore.exceptions import BotoCoreError

    try:
        block = body.read(size)
        return block + body.read(1) if len(block) == last else block
    except (BotoCoreError, OSError) as error:
        raise RequestFailed(f"the connection broke off: {' '.join(str(error).split())[:300]}") from error
    except Exception as error:  # urllib3's own, which botocore lets pass: IncompleteRead, ProtocolError
        raise RequestFailed(f"the connection broke off: {type(error).__name__}") from error
