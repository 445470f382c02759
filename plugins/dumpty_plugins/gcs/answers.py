"""What Google's answers say: of an object, of a failure; and whether it is what was asked for."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dumpty import Found
from dumpty_plugins.gcs.failures import CONDITION, NO_BUCKET, NO_OBJECT, RETAINED, RequestFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dumpty_plugins.gcs.address import Address

__all__ = [
    "FIELDS",
    "NONCE",
    "checksum",
    "document",
    "found",
    "kept_otherwise",
    "refusal",
    "require_as_sent",
    "told_checksum",
]

FIELDS = "name,size,generation,timeCreated,retentionExpirationTime,retention,metadata,crc32c,storageClass,kmsKeyName"
"""What is asked for of an object."""
NONCE = "dumptyupload"
_AGAIN = frozenset({408, 429})
_AGAIN_BY_REASON = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "backendError", "internalError"})
_SERVER_ERROR = 500
_NO_OBJECT, _NO_BUCKET = "No such object", "The specified bucket does not exist"
"""What the message begins with: "notFound" is the reason for whatever is not there, a method of the API, too."""
_FORBIDDEN, _NOT_FOUND, _CONDITION = 403, 404, 412


def document(content: bytes, server: str) -> dict[str, Any]:
    """Return the object that an answer holds.

    Raises:
        RequestFailed: it holds none.
    """
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise RequestFailed(f"the answer of {server} makes no sense")
    return read


def found(name: str, resource: Mapping[str, Any]) -> Found:
    """Return what a resource says of an object.

    Raises:
        RequestFailed: not what must be known.
    """
    try:
        modified = _time(resource["timeCreated"])
        until = [_time(text) for text in (_retention(resource)) if text]
        return Found(
            name=name,
            size=int(resource["size"]),
            tag=str(int(resource["generation"])),
            modified=modified,
            retained_until=max(until, default=None),
        )
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise RequestFailed("the server does not say how large the object is, and when it was written") from error


def checksum(crc: int) -> str:
    """Return a CRC-32C as Google writes it: its four bytes in network order, in base64."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def told_checksum(header: str | None) -> str:
    """Return the CRC-32C of a whole object that the header x-goog-hash tells, "" where it tells none."""
    pairs = (pair.strip().partition("=") for pair in (header or "").split(","))
    return next((value for key, _, value in pairs if key == "crc32c"), "")


def require_as_sent(resource: Mapping[str, Any], size: int, crc: str) -> None:
    """Compare what the server says it has with what it was sent; ``RequestFailed`` where they differ."""
    if str(resource.get("size")) != str(size) or resource.get("crc32c") != crc:
        raise RequestFailed("the server says that it got other bytes than were sent")


def kept_otherwise(address: Address, resource: Mapping[str, Any], *, classed: bool) -> str:
    """Return how the server says it keeps an object otherwise than it was asked to, "" where it does so."""
    key = str(resource.get("kmsKeyName", ""))
    if address.kms_key and not f"{key}/".startswith(f"{address.kms_key}/"):
        return f"{address.server} was asked to encrypt it with {address.kms_key}, and says {key or 'nothing'}"
    kept = resource.get("storageClass")
    if classed and address.storage_class and kept != address.storage_class:
        return (
            f"{address.server} was asked to keep it as {address.storage_class}, and says {kept or 'nothing'}; a bucket "
            "with Autoclass chooses by itself: leave storage_class out"
        )
    return ""


def refusal(status: int, content: bytes, *, about_object: bool) -> RequestFailed:
    """Return what a failed request becomes.

    Args:
        status: of HTTP.
        content: the answer's.
        about_object: whether what may be missing is an object, and not only the bucket.
    """
    reason, message = _said(content)
    again = status in _AGAIN or status >= _SERVER_ERROR or reason in _AGAIN_BY_REASON
    code = reason or str(status)
    if status == _NOT_FOUND and about_object and message.startswith(_NO_OBJECT):
        code = NO_OBJECT
    elif status == _NOT_FOUND and message.startswith(_NO_BUCKET):
        code = NO_BUCKET
    elif status == _CONDITION:
        code = CONDITION
    elif status == _FORBIDDEN and ("retention policy and cannot" in message or "retention config" in message):
        code = RETAINED  # which some answers call forbidden
    elif status == _FORBIDDEN and re.search(r"under active .*hold", message, re.IGNORECASE):
        code = "objectUnderActiveHold"
    known = reason or f"HTTP status {status}"
    return RequestFailed(
        f"{known}: {message}" if message and message != known else known, code=code, status=status, again=again
    )


def _said(content: bytes) -> tuple[str, str]:
    """Return the reason and the message of a failure: in JSON, or, of a download, the message alone."""
    text = content[: 64 << 10].decode("utf-8", "replace")
    try:
        error = json.loads(text)["error"]
        first = error["errors"][0] if error.get("errors") else {}
        reason, message = str(first.get("reason", "")), str(error.get("message", ""))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        refused = "does not have storage." in text
        reason, message = (
            "forbidden" if refused else "",
            text if refused or text.startswith((_NO_OBJECT, _NO_BUCKET)) else "",
        )
    return _printable(reason)[:80], _printable(message)[:300]


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in " ".join(text.split()))


def _retention(resource: Mapping[str, Any]) -> tuple[str, str]:
    retention = resource.get("retention") or {}
    return str(resource.get("retentionExpirationTime") or ""), str(retention.get("retainUntilTime") or "")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
