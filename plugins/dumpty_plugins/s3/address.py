"""What an ``s3://`` URL says."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from msgspec import Struct

from dumpty import MalformedURL, is_object_name

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Address", "parse_address"]

_MIB = 1 << 20
_SMALLEST_PART, _LARGEST_PART = 5 * _MIB, 5 << 30
"""What S3 allows: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LONGEST_PREFIX = 600
"""Bytes: a key has at most 1,024, and a name up to 400 of them."""


class Address(Struct, frozen=True, kw_only=True):
    """A bucket, a prefix in it ("" or without slashes at its ends), and how to speak to its server.

    ``endpoint`` is the server's URL, "" for Amazon's own. ``part_size`` (bytes) is that of all parts, 0 for parts that
    grow. ``listing`` is "late" where listings may lag. ``timeout`` is how long the server may be silent, in seconds.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    profile: str = ""
    addressing: str = ""
    storage_class: str = ""
    sse: str = ""
    kms_key: str = ""
    listing: str = ""
    part_size: int = 0
    timeout: float = 60.0

    def key(self, name: str) -> str:
        """Return the key of an object, or of what begins so."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def location(self, name: str = "") -> str:
        """Return where a person finds an object; nothing of it is a secret."""
        path = quote(self.key(name).rstrip("/"), safe="/~")
        endpoint = f"?endpoint={quote(self.endpoint, safe=':/[]')}" if self.endpoint else ""
        return f"s3://{self.bucket}{'/' if path else ''}{path}{endpoint}"

    @property
    def server(self) -> str:
        """What the server is called in messages."""
        return f"the S3 server {self.endpoint}" if self.endpoint else "Amazon S3"


def parse_address(url: str) -> Address:
    """Take an ``s3://`` URL apart.

    Raises:
        MalformedURL: it is none, it holds credentials, or a parameter is not known or makes no sense.
    """
    parts = _split(url)
    if "@" in parts.netloc:
        raise MalformedURL(
            "an s3:// URL holds no credentials, for it is shown and kept: give the access key in AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or in a profile (?profile=NAME)"
        )
    bucket, prefix = parts.netloc, unquote(parts.path).strip("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket):
        raise MalformedURL(f"{bucket[:80]!r} is no name of a bucket; write s3://BUCKET or s3://BUCKET/PREFIX")
    if parts.fragment or (prefix and not _is_prefix(prefix)):
        raise MalformedURL(
            f"{prefix[:80]!r} is no prefix in a bucket: that has parts between slashes, of letters, digits, '_', '.' "
            f"and '-', {_LONGEST_PREFIX} characters at most"
        )
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict")
    except ValueError:
        raise MalformedURL("the parameters of an s3:// URL are of the form key=value&key=value") from None
    return Address(bucket=bucket, prefix=prefix, **_settings(pairs))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise MalformedURL("that is no s3:// URL; write s3://BUCKET or s3://BUCKET/PREFIX") from None


def _is_prefix(prefix: str) -> bool:
    return len(prefix) <= _LONGEST_PREFIX and all(is_object_name(segment) for segment in prefix.split("/"))


def _settings(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in pairs:
        read = _PARAMETERS.get(key)
        if read is None:
            close = difflib.get_close_matches(key, _PARAMETERS, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise MalformedURL(f"an s3:// URL has no parameter {key[:80]!r}; {hint}known are {', '.join(_PARAMETERS)}")
        if key in settings:
            raise MalformedURL(f"the s3:// URL gives the parameter {key} twice")
        settings[key] = read(key, value)
    if settings.get("kms_key") and settings.setdefault("sse", "aws:kms") == "AES256":
        raise MalformedURL("kms_key goes with sse=aws:kms, and the s3:// URL says sse=AES256; drop one of them")
    return settings


def _text(key: str, value: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,2048}", value):
        raise MalformedURL(f"the parameter {key} of the s3:// URL has no value, or one with spaces or other signs")
    return value


def _endpoint(key: str, value: str) -> str:
    address = value if "://" in value else f"https://{value}"
    parts = urlsplit(address)
    scheme, host = parts.scheme, parts.hostname
    if scheme not in {"http", "https"} or not host or "@" in parts.netloc or parts.query or parts.path.strip("/"):
        raise MalformedURL(
            f"the parameter {key} of the s3:// URL is a server's address, https://HOST[:PORT], or http:// where the "
            "network is trusted; no credentials, no path"
        )
    return _text(key, address.rstrip("/"))


def _choice(*choices: str) -> Callable[[str, str], str]:
    def read(key: str, value: str) -> str:
        if value not in choices:
            raise MalformedURL(f"the parameter {key} of the s3:// URL is one of {', '.join(choices)}")
        return value

    return read


def _size(key: str, value: str) -> int:
    match = re.fullmatch(r"(\d{1,12})([KMG]?)", value)
    size = int(match[1]) * _UNITS[match[2]] if match else 0
    if not _SMALLEST_PART <= size <= _LARGEST_PART:
        raise MalformedURL(f"the parameter {key} of the s3:// URL is a size from 5M to 5G")
    return size


def _seconds(key: str, value: str) -> float:
    if not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", value) or not float(value):
        raise MalformedURL(f"the parameter {key} of the s3:// URL is a number of seconds, up to 9999")
    return float(value)


_PARAMETERS: dict[str, Callable[[str, str], object]] = {
    "endpoint": _endpoint,
    "region": _text,
    "profile": _text,
    "addressing": _choice("path", "virtual"),
    "storage_class": _text,
    "sse": _choice("AES256", "aws:kms", "aws:kms:dsse"),
    "kms_key": _text,
    "listing": _choice("late"),
    "part_size": _size,
    "timeout": _seconds,
}
