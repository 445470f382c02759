"""JSON that carries its version and its own digest: manifests, proofs and pins."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dumpty.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VERSION", "is_sealed", "seal", "unseal", "utc"]

_END = b',\n "digest": "%s"\n}\n'
_END_BYTES = len(_END % bytes(64))

VERSION = 1
"""Of what is written here. Newer ones are refused, never overwritten."""


def seal(content: Mapping[str, Any]) -> bytes:
    """Return ``content`` as JSON, ``dumpty_manifest`` (the version) before it, ``digest`` (of all that) behind it.

    Raises:
        ValueError: a number in it is none that JSON has.
    """
    values = {"dumpty_manifest": VERSION, **content}
    try:
        text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:  # a file name that is no UTF-8: JSON can say it in ASCII
        text = json.dumps(values, indent=1, allow_nan=False).encode()
    text = text.removesuffix(b"\n}")
    return text + _END % hashlib.sha256(text).hexdigest().encode()


def unseal(data: bytes, label: object) -> dict[str, Any]:
    """Return the content of sealed JSON; ``label`` names it in messages, and is made a text for them alone.

    Raises:
        ManifestError: it is damaged, or written by a newer dumpty.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{label} is damaged: it is not JSON ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise ManifestError(f"{label} is damaged: it is not a JSON object")
    version = content.get("dumpty_manifest")
    if isinstance(version, int) and version > VERSION:
        raise ManifestError(
            f"{label} was written by a newer dumpty (manifest version {version}, this one reads up to {VERSION}): "
            "pip install --upgrade dumpty"
        )
    content.pop("digest", None)
    if version != VERSION or not is_sealed(data):
        raise ManifestError(f"{label} is damaged: its digest does not match its content")
    return content


def is_sealed(data: bytes) -> bool:
    """Return whether data ends with its own digest."""
    text = memoryview(data)[:-_END_BYTES]
    return data.endswith(_END % hashlib.sha256(text).hexdigest().encode())


def utc(text: str) -> datetime:
    """Return an ISO 8601 time as an aware datetime in UTC.

    Raises:
        ValueError: it is none, or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"the time {text} has no offset")
    return moment.astimezone(UTC)
