"""What an ``az://`` URL says."""

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
_SMALLEST_PART, _LARGEST_PART = _MIB, 4000 * _MIB
"""What Azure allows: https://learn.microsoft.com/en-us/azure/storage/blobs/scalability-targets"""
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LONGEST_PREFIX = 600
"""Characters: a blob's name has at most 1,024, and a name up to 400 of them."""
_CONTAINER = r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]"
_ACCOUNT = r"[a-z0-9]{3,24}"


class Address(Struct, frozen=True, kw_only=True):
    """A container, a prefix in it ("" or without slashes at its ends), and how to speak to its server.

    ``account`` is "" where the environment says which it is. ``endpoint`` is the server's URL, the account's path
    included where it has one, "" for Azure's own. ``part_size`` (bytes) is that of all blocks, 0 for blocks that grow.
    ``timeout`` is how long the server may be silent, in seconds.
    """

    container: str
    prefix: str = ""
    account: str = ""
    endpoint: str = ""
    storage_class: str = ""
    part_size: int = 0
    timeout: float = 60.0

    def key(self, name: str) -> str:
        """Return the name of an object's blob, or of what begins so."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def location(self, name: str = "") -> str:
        """Return where a person finds an object; nothing of it is a secret."""
        path = quote(self.key(name).rstrip("/"), safe="/~")
        said = {"account": self.account, "endpoint": self.endpoint}
        query = "&".join(f"{key}={quote(value, safe=':/[]')}" for key, value in said.items() if value)
        return f"az://{self.container}{'/' if path else ''}{path}{'?' if query else ''}{query}"

    @property
    def server(self) -> str:
        """What the server is called in messages."""
        return f"the blob server {self.endpoint}" if self.endpoint else "Azure Blob Storage"


def parse_address(url: str) -> Address:
    """Take an ``az://`` URL apart.

    Raises:
        MalformedURL: it is none, it holds credentials, or a parameter is not known or makes no sense.
    """
    parts = _split(url)
    if "@" in parts.netloc:
        raise MalformedURL(
            "an az:// URL holds no credentials, for it is shown and kept: give the account in ?account=NAME, and "
            "its key in AZURE_STORAGE_KEY, or sign in (az login)"
        )
    container, prefix = parts.netloc, unquote(parts.path).strip("/")
    if not re.fullmatch(_CONTAINER, container):
        raise MalformedURL(
            f"{container[:80]!r} is no name of a container: that has small letters, digits and single hyphens; write "
            "az://CONTAINER or az://CONTAINER/PREFIX"
        )
    if parts.fragment or (prefix and not _is_prefix(prefix)):
        raise MalformedURL(
            f"{prefix[:80]!r} is no prefix in a container: that has parts between slashes, of letters, digits, '_', "
            f"'.' and '-', {_LONGEST_PREFIX} characters at most"
        )
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict")
    except ValueError:
        raise MalformedURL("the parameters of an az:// URL are of the form key=value&key=value") from None
    return Address(container=container, prefix=prefix, **_settings(pairs))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise MalformedURL("that is no az:// URL; write az://CONTAINER or az://CONTAINER/PREFIX") from None


def _is_prefix(prefix: str) -> bool:
    return len(prefix) <= _LONGEST_PREFIX and all(is_object_name(segment) for segment in prefix.split("/"))


def _settings(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in pairs:
        read = _PARAMETERS.get(key)
        if read is None:
            close = difflib.get_close_matches(key, _PARAMETERS, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise MalformedURL(f"an az:// URL has no parameter {key[:80]!r}; {hint}known are {', '.join(_PARAMETERS)}")
        if key in settings:
            raise MalformedURL(f"the az:// URL gives the parameter {key} twice")
        settings[key] = read(key, value)
    return settings


def _account(key: str, value: str) -> str:
    if not re.fullmatch(_ACCOUNT, value):
        raise MalformedURL(
            f"the parameter {key} of the az:// URL is a storage account's name: small letters and digits"
        )
    return value


def _endpoint(key: str, value: str) -> str:
    address = value if "://" in value else f"https://{value}"
    if not re.fullmatch(r"https?://[\x21-\x7e]{1,2000}", address):
        address = ""
    parts = urlsplit(address)
    path = parts.path.strip("/")
    if not parts.hostname or "@" in parts.netloc or parts.query or (path and not re.fullmatch(_ACCOUNT, path)):
        raise MalformedURL(
            f"the parameter {key} of the az:// URL is a server's address, https://HOST[:PORT][/ACCOUNT], or http:// "
            "where the network is trusted; no credentials"
        )
    return address.rstrip("/")


def _storage_class(key: str, value: str) -> str:
    if value not in _CLASSES:
        raise MalformedURL(f"the parameter {key} of the az:// URL is one of {', '.join(_CLASSES)}")
    return value


def _size(key: str, value: str) -> int:
    match = re.fullmatch(r"(\d{1,12})([KMG]?)", value)
    size = int(match[1]) * _UNITS[match[2]] if match else 0
    if not _SMALLEST_PART <= size <= _LARGEST_PART:
        raise MalformedURL(f"the parameter {key} of the az:// URL is a size from 1M to 4000M")
    return size


def _seconds(key: str, value: str) -> float:
    if not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", value) or not float(value):
        raise MalformedURL(f"the parameter {key} of the az:// URL is a number of seconds, up to 9999")
    return float(value)


_CLASSES = ("Hot", "Cool", "Cold")
_PARAMETERS: dict[str, Callable[[str, str], object]] = {
    "account": _account,
    "endpoint": _endpoint,
    "storage_class": _storage_class,
    "part_size": _size,
    "timeout": _seconds,
}
