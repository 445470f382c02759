"""What an ``az://`` URL says."""

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
    parts = parameters.split(
        url,
        "az://CONTAINER or az://CONTAINER/PREFIX",
        "give the account in ?account=NAME, and its key in AZURE_STORAGE_KEY, or sign in (az login)",
    )
    container = parts.netloc
    if not re.fullmatch(_CONTAINER, container):
        raise MalformedURL(
            f"{container[:80]!r} is no name of a container: that has small letters, digits and single hyphens; write "
            "az://CONTAINER or az://CONTAINER/PREFIX"
        )
    prefix = parameters.prefix_of(parts, "a container")
    return Address(container=container, prefix=prefix, **parameters.settings(parts, _PARAMETERS))


def _account(what: str, value: str) -> str:
    if not re.fullmatch(_ACCOUNT, value):
        raise MalformedURL(f"{what} is a storage account's name: small letters and digits")
    return value


_PARAMETERS: Mapping[str, Callable[[str, str], object]] = {
    "account": _account,
    "endpoint": parameters.server_address(path=_ACCOUNT),
    "storage_class": parameters.choice("Hot", "Cool", "Cold"),
    "part_size": parameters.size("1M", "4000M"),
    "timeout": parameters.seconds,
}
"""Blocks have up to 4,000 MiB: https://learn.microsoft.com/en-us/azure/storage/blobs/scalability-targets"""
