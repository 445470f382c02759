"""What an ``s3://`` URL says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from msgspec import Struct

from dumpty import MalformedURL
from dumpty_plugins.buckets import parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Address", "parse_address"]


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
    parts = parameters.split(
        url,
        "s3://BUCKET or s3://BUCKET/PREFIX",
        "give the access key in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in a profile (?profile=NAME)",
    )
    bucket = parts.netloc
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket):
        raise MalformedURL(f"{bucket[:80]!r} is no name of a bucket; write s3://BUCKET or s3://BUCKET/PREFIX")
    prefix = parameters.prefix_of(parts, "a bucket")
    settings = parameters.settings(parts, _PARAMETERS)
    if settings.get("kms_key") and settings.setdefault("sse", "aws:kms") == "AES256":
        raise MalformedURL("kms_key goes with sse=aws:kms, and the s3:// URL says sse=AES256; drop one of them")
    return Address(bucket=bucket, prefix=prefix, **settings)


_PARAMETERS: Mapping[str, Callable[[str, str], object]] = {
    "endpoint": parameters.server_address(),
    "region": parameters.text,
    "profile": parameters.text,
    "addressing": parameters.choice("path", "virtual"),
    "storage_class": parameters.text,
    "sse": parameters.choice("AES256", "aws:kms", "aws:kms:dsse"),
    "kms_key": parameters.text,
    "listing": parameters.choice("late"),
    "part_size": parameters.size("5M", "5G"),
    "timeout": parameters.seconds,
}
"""Parts have from 5 MiB to 5 GiB: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""
