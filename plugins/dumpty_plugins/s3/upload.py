"""One object on its way into a bucket: one request if it is small, else parts of it, several at once."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from typing import TYPE_CHECKING

from dumpty import Exists, StoreError, Worker, given_up, pause
from dumpty_plugins.s3.failures import RequestFailed, as_store_error
from dumpty_plugins.s3.objects import (
    crc32,
    encryption,
    head,
    require_encrypted,
    require_same_checksum,
    storage_class,
    tag,
)
from dumpty_plugins.s3.parts import MAX_PARTS, Part, part_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty import Buffer
    from dumpty_plugins.s3.requests import Requests

__all__ = ["S3Upload"]

_AT_ONCE = 3
"""Parts under way, in memory; of those that wait in files, which are large, fewer are enough."""
_AT_ONCE_IN_FILES = 2
_MD5_DIGITS = 32
_LOOK_SECONDS = 0.5
_BYTES_OF_PATIENCE = 64 << 10
"""For how many bytes' time a server may take over each part when it joins them: a second."""


class S3Upload:
    """Parts that ``commit`` joins, or, where it is small, an object that ``commit`` puts.

    Args:
        requests: to the bucket.
        name: the object's, checked.
        put_small: puts an object of that name in one request, if there is none.
        claims_new: tells whether it is the server that decides whose a name is.
    """

    def __init__(
        self, requests: Requests, name: str, put_small: Callable[[bytes], None], claims_new: Callable[[], bool]
    ) -> None:
        self._requests = requests
        self._address = requests.address
        self._name = name
        self._put_small = put_small
        self._claims_new = claims_new
        self._upload_id = ""
        self._part = self._new_part(1)
        self._under_way: list[tuple[Part, Worker[dict[str, object]]]] = []
        self._sent: list[dict[str, object]] = []
        self._checksums: list[str] = []
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
            content = self._part.content()
            if not self._upload_id and content is not None:
                self._put_small(content)
            else:
                if self._part.size:
                    self._send()
                while self._under_way:
                    self._wait_for_first()
                self._complete()
        self._upload_id = ""
        self._end()

    def abort(self) -> None:
        if self._ended:
            return
        self._given_up = True
        for part, worker in self._under_way:
            worker.end()
            part.close()
        upload_id, self._upload_id = self._upload_id, ""
        self._end()
        if upload_id:
            with contextlib.suppress(RequestFailed):  # then sweep() finds it
                self._requests.send_at_last("abort_multipart_upload", {"UploadId": upload_id, "Key": self._key})

    @property
    def _key(self) -> str:
        return self._address.key(self._name)

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
                f"{self._address.location(self._name)} has more than {MAX_PARTS:,} parts, all that S3 takes of one "
                "object; set a larger ?part_size=, or none"
            )
        if not self._upload_id:
            self._begin()
        while len(self._under_way) >= (_AT_ONCE_IN_FILES if part.is_large else _AT_ONCE):
            self._wait_for_first()
        worker = Worker(lambda: self._send_part(part), "dumpty-s3-part")
        self._under_way.append((part, worker))
        self._part = self._new_part(part.number + 1)
        worker.start()

    def _begin(self) -> None:
        parameters = {"Key": self._key, "ChecksumAlgorithm": "CRC32"}
        answer = self._requests.send(
            "create_multipart_upload", {**parameters, **encryption(self._address), **storage_class(self._address)}
        )
        self._upload_id = answer["UploadId"]
        require_encrypted(self._address, answer)

    def _send_part(self, part: Part) -> dict[str, object]:
        parameters = {
            "Key": self._key,
            "UploadId": self._upload_id,
            "PartNumber": part.number,
            "Body": part.body(),
            "ChecksumAlgorithm": "CRC32",
            "ChecksumCRC32": part.checksum,
        }
        answer = self._requests.send("upload_part", parameters, size=part.size, over=lambda: self._given_up)
        require_same_checksum(answer, part.checksum, part.md5)
        part.close()
        sent: dict[str, object] = {"PartNumber": part.number, "ETag": answer["ETag"]}
        return sent | ({"ChecksumCRC32": part.checksum} if "ChecksumCRC32" in answer else {})

    def _wait_for_first(self) -> None:
        part, worker = self._under_way[0]
        self._sent.append(worker.result())
        self._checksums.append(part.checksum)
        del self._under_way[0]

    def _complete(self) -> None:
        conditional = self._claims_new()
        if not conditional:
            self._refuse_taken()
        try:
            try:
                self._join(conditional=conditional)
            except RequestFailed as failure:
                if not conditional or not failure.unsupported:
                    raise
                # It decides whose a name is when an object is put, and not when parts are joined.
                self._refuse_taken()
                self._join(conditional=False)
        except RequestFailed as failure:
            # The answer to a first request may be lost, and what is told is that to a second one.
            if (failure.certain and failure.code != "NoSuchUpload") or not self._comes_to_be(failure):
                raise

    def _comes_to_be(self, failure: RequestFailed) -> bool:
        """Look for the object until it is there, or the time of one answer is over: a server may still join its parts.

        Raises:
            Exists: the name is another's.
        """
        end = time.monotonic() + (0.0 if failure.taken else self._address.timeout)
        while not self._is_there(failure):
            if time.monotonic() > end or given_up():
                return False
            pause(_LOOK_SECONDS)
        return True

    def _join(self, *, conditional: bool) -> None:
        condition: dict[str, object] = {"IfNoneMatch": "*"} if conditional else {}
        parameters = {"Key": self._key, "UploadId": self._upload_id, "MultipartUpload": {"Parts": self._sent}}
        patience = len(self._sent) * _BYTES_OF_PATIENCE
        self._requests.send("complete_multipart_upload", {**parameters, **condition}, size=patience)

    def _is_there(self, failure: RequestFailed) -> bool:
        """Return whether the object is there as it was sent, after what may have been a success.

        Raises:
            Exists: the name is another's.
        """
        try:
            found = self._requests.send("head_object", {"Key": self._key, "ChecksumMode": "ENABLED"})
        except RequestFailed as error:
            if error.missing and not failure.taken:
                return False
            raise failure from error
        checksum = found.get("ChecksumCRC32")
        same = checksum == self._joint_checksum() if checksum else tag(found) == self._joint_tag()
        if found["ContentLength"] == self._size and same:
            return True
        raise Exists(f"{self._address.location(self._name)} exists already")

    def _joint_checksum(self) -> str:
        """Return the checksum of an object of such parts: the CRC-32 of their CRC-32s, and their number."""
        digests = b"".join(base64.b64decode(checksum) for checksum in self._checksums)
        return f"{crc32(digests)}-{len(self._checksums)}"

    def _joint_tag(self) -> str:
        """Return the ETag of an object of such parts: the MD5 of their MD5s, and their number; "" where it is none."""
        digests = [str(part["ETag"]).strip('"') for part in self._sent]
        if any(len(digest) != _MD5_DIGITS for digest in digests):
            return ""
        joint = hashlib.md5(bytes.fromhex("".join(digests)), usedforsecurity=False).hexdigest()
        return f"{joint}-{len(digests)}"

    def _refuse_taken(self) -> None:
        try:
            head(self._requests, self._name)
        except RequestFailed as failure:
            if failure.missing:
                return
            raise
        raise Exists(f"{self._address.location(self._name)} exists already")

    def _end(self) -> None:
        self._ended = True
        self._under_way = []
        self._part.close()
