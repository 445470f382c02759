"""What a ``gs://`` URL says."""

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

_BUCKET = r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"
_SERVER = "https://storage.googleapis.com"
_GRAIN = 256 << 10
"""Every chunk but the last is a multiple of it: https://cloud.google.com/storage/docs/performing-resumable-uploads"""


class Address(Struct, frozen=True, kw_only=True):
    """A bucket, a prefix in it ("" or without slashes at its ends), and how to speak to its server.

    ``endpoint`` is the server's URL, "" for Google's own. ``project`` is the one that pays for the requests, "" for the
    bucket's. ``kms_key`` is the name of the key that the service encrypts with, "" for the bucket's default.
    ``part_size`` is that of the chunks, in bytes. ``timeout`` is how long the server may be silent, in seconds.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    project: str = ""
    storage_class: str = ""
    kms_key: str = ""
    part_size: int = 16 << 20
    timeout: float = 60.0

    def key(self, name: str) -> str:
        """Return the name that an object has in the bucket, or of what begins so."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def location(self, name: str = "") -> str:
        """Return where a person finds an object; nothing of it is a secret."""
        path = quote(self.key(name).rstrip("/"), safe="/~")
        query = f"?endpoint={quote(self.endpoint, safe=':/[]')}" if self.endpoint else ""
        return f"gs://{self.bucket}{'/' if path else ''}{path}{query}"

    @property
    def server(self) -> str:
        """What the server is called in messages."""
        return f"the server {self.endpoint}" if self.endpoint else "Google Cloud Storage"

    @property
    def url(self) -> str:
        """The server's URL, without a path."""
        return self.endpoint or _SERVER


def parse_address(url: str) -> Address:
    """Take a ``gs://`` URL apart.

    Raises:
        MalformedURL: it is none, it holds credentials, or a parameter is not known or makes no sense.
    """
    parts = parameters.split(
        url,
        "gs://BUCKET or gs://BUCKET/PREFIX",
        "name a file of credentials in GOOGLE_APPLICATION_CREDENTIALS, or sign in (gcloud auth application-default "
        "login)",
    )
    bucket = parts.netloc
    if not re.fullmatch(_BUCKET, bucket):
        raise MalformedURL(
            f"{bucket[:80]!r} is no name of a bucket: that has small letters, digits, '-', '_' and '.'; write "
            "gs://BUCKET or gs://BUCKET/PREFIX"
        )
    prefix = parameters.prefix_of(parts, "a bucket")
    return Address(bucket=bucket, prefix=prefix, **parameters.settings(parts, _PARAMETERS))


def _project(what: str, value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9:.-]{1,98}[a-z0-9]", value):
        raise MalformedURL(f"{what} is a project's name or number")
    return value


def _kms_key(what: str, value: str) -> str:
    if not re.fullmatch(r"projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+", value):
        raise MalformedURL(f"{what} is a key's name: projects/PROJECT/locations/PLACE/keyRings/RING/cryptoKeys/KEY")
    return value


_size = parameters.size("1M", "1G")


def _part_size(what: str, value: str) -> int:
    read = _size(what, value)
    if not isinstance(read, int) or read % _GRAIN:
        raise MalformedURL(f"{what} is a multiple of 256K")
    return read


_PARAMETERS: Mapping[str, Callable[[str, str], object]] = {
    "endpoint": parameters.server_address(),
    "project": _project,
    "storage_class": parameters.choice("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"),
    "kms_key": _kms_key,
    "part_size": _part_size,
    "timeout": parameters.seconds,
}
