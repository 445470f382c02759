"""One object on its way into a bucket: one request if it is small, else parts of it, several at once."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from typing import TYPE_CHECKING

from dumpty import Exists
from dumpty_plugins.buckets.parted import BYTES_OF_PATIENCE, PartedUpload, look_until
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
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from dumpty_plugins.s3.requests import Requests

__all__ = ["S3Upload"]

_MD5_DIGITS = 32


class S3Upload(PartedUpload[Part, dict[str, object]]):
    """Parts of an object in a bucket.

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
        self._claims_new = claims_new
        self._upload_id = ""
        self._sent: list[dict[str, object]] = []
        self._checksums: list[str] = []
        super().__init__(self._address.location(name), MAX_PARTS, put_small, "dumpty-s3-part")

    def new_part(self, number: int) -> Part:
        return Part(number, part_size(number, self._address.part_size))

    def begin(self) -> None:
        parameters = {"Key": self._key, "ChecksumAlgorithm": "CRC32"}
        answer = self._requests.send(
            "create_multipart_upload", {**parameters, **encryption(self._address), **storage_class(self._address)}
        )
        self._upload_id = answer["UploadId"]
        require_encrypted(self._address, answer)

    def send_part(self, part: Part) -> dict[str, object]:
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

    def note_sent(self, part: Part, sent: dict[str, object]) -> None:
        self._sent.append(sent)
        self._checksums.append(part.checksum)

    def drop(self) -> None:
        if self._upload_id:
            with contextlib.suppress(RequestFailed):  # then sweep() finds it
                parameters = {"UploadId": self._upload_id, "Key": self._key}
                self._requests.send_at_last("abort_multipart_upload", parameters)

    def as_store_error(self) -> AbstractContextManager[None]:
        return as_store_error(f"cannot write {self._address.location(self._name)}", self._address)

    @property
    def _key(self) -> str:
        return self._address.key(self._name)

    def join(self) -> None:
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
        """Look for the object, as long as the server may still join its parts.

        Raises:
            Exists: the name is another's.
        """
        return look_until(lambda: self._is_there(failure), 0.0 if failure.taken else self._address.timeout)

    def _join(self, *, conditional: bool) -> None:
        condition: dict[str, object] = {"IfNoneMatch": "*"} if conditional else {}
        parameters = {"Key": self._key, "UploadId": self._upload_id, "MultipartUpload": {"Parts": self._sent}}
        patience = len(self._sent) * BYTES_OF_PATIENCE
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
