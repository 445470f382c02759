"""One object's requests: put, looked up, and read, each answer compared with what was sent."""

from __future__ import annotations

import base64
import hashlib
import zlib
from datetime import UTC
from typing import TYPE_CHECKING, Any

from dumpty import Found
from dumpty_plugins.s3.failures import RequestFailed

if TYPE_CHECKING:
    from datetime import datetime

    from dumpty_plugins.s3.address import Address
    from dumpty_plugins.s3.requests import Requests

__all__ = [
    "crc32",
    "encode_crc",
    "encryption",
    "found",
    "head",
    "put",
    "require_encrypted",
    "require_same_checksum",
    "storage_class",
    "tag",
]

_MD5_DIGITS = 32


def put(requests: Requests, name: str, data: bytes | bytearray, *, new: bool, extra: dict[str, object]) -> None:
    """Put an object in one request; ``new`` only where the server knows none of that name.

    Raises:
        RequestFailed: it is not known to be there as it was sent.
    """
    condition: dict[str, object] = {"IfNoneMatch": "*"} if new else {}
    checksum = crc32(data)
    parameters = {
        "Key": requests.address.key(name),
        "Body": data,
        "ChecksumAlgorithm": "CRC32",  # said beside the checksum, or buckets under object lock refuse it
        "ChecksumCRC32": checksum,
    }
    answer = requests.send(
        "put_object", {**parameters, **condition, **encryption(requests.address), **extra}, size=len(data)
    )
    require_encrypted(requests.address, answer)
    require_same_checksum(answer, checksum, lambda: hashlib.md5(data, usedforsecurity=False).hexdigest())


def head(requests: Requests, name: str) -> Found:
    """Return what the server knows of an object; ``RequestFailed`` where it is not there."""
    return found(name, requests.send("head_object", {"Key": requests.address.key(name)}), "ContentLength")


def found(name: str, answer: dict[str, Any], size: str = "Size") -> Found:
    """Return what an answer, or an entry of a listing, says of an object."""
    until: datetime | None = answer.get("ObjectLockRetainUntilDate")
    return Found(
        name=name,
        size=int(answer[size]),
        tag=tag(answer),
        modified=answer["LastModified"].astimezone(UTC),
        retained_until=until.astimezone(UTC) if until is not None else None,
    )


def tag(answer: dict[str, Any]) -> str:
    """Return an ETag without its quotes."""
    return str(answer.get("ETag", "")).strip('"')


def crc32(data: bytes | bytearray | memoryview) -> str:
    """Return a checksum as S3 writes it."""
    return encode_crc(zlib.crc32(data))


def encode_crc(value: int) -> str:
    """Return a CRC-32 in base64, its four bytes in network order."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def encryption(address: Address) -> dict[str, object]:
    """Return what asks the server to encrypt what it stores."""
    asked: dict[str, object] = {"ServerSideEncryption": address.sse} if address.sse else {}
    return asked | ({"SSEKMSKeyId": address.kms_key} if address.kms_key else {})


def require_encrypted(address: Address, answer: dict[str, Any]) -> None:
    """Raise ``RequestFailed`` where the server was asked to encrypt, and does not say that it did."""
    applied = answer.get("ServerSideEncryption", "")
    if address.sse and applied != address.sse:
        raise RequestFailed(
            f"{address.server} was asked to encrypt it (sse={address.sse}) and says {applied or 'nothing'}", status=400
        )


def require_same_checksum(answer: dict[str, Any], checksum: str, md5: Any) -> None:
    """Compare what the server says it got with what was sent: by its checksum, else by its ETag, where that is an MD5.

    Args:
        answer: the server's.
        checksum: of what was sent.
        md5: called for the MD5 of what was sent, in hexadecimal.

    Raises:
        RequestFailed: they differ.
    """
    returned = answer.get("ChecksumCRC32")
    if returned is not None:
        same = returned == checksum
    else:
        etag = tag(answer)
        is_md5 = (
            len(etag) == _MD5_DIGITS
            and not answer.get("ServerSideEncryption")
            and not answer.get("SSECustomerAlgorithm")
        )
        same = not is_md5 or etag.lower() == md5()
    if not same:
        raise RequestFailed("the server says that it got other bytes than were sent")


def storage_class(address: Address) -> dict[str, object]:
    """Return what asks the server to keep a backup's data in another class than its standard one.

    Only data: manifests, pins and proofs are read at every listing, and an archive does not give them at once.
    """
    return {"StorageClass": address.storage_class} if address.storage_class else {}
