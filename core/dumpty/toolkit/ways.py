"""What the URL of a transport says."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - a struct's own
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.url import MalformedURL, parse_url

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Hop", "parse_hop"]


class Hop(Struct, frozen=True, kw_only=True):
    """The URL of a transport, taken apart and percent-decoded; what it does not name is "" or 0.

    ``path`` is what follows the host, without its first slash. No part begins with a dash, or holds anything that
    cannot be printed: a program takes each as it is.
    """

    scheme: str
    user: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    settings: Mapping[str, str] = {}


def parse_hop(url: str, *, example: str, settings: Collection[str] = ()) -> Hop:
    """Take the URL of a transport apart: ``scheme://[user@]host[:port][/path][?setting=value&…]``.

    ::

        hop = parse_hop(url, example="ssh://user@host", settings={"identity"})

    Args:
        url: as the user wrote it.
        example: how it is to be written, for messages.
        settings: the parameters that there are.

    Raises:
        MalformedURL: it has no host, a password, another parameter, or a part that a program may take for an option.
    """
    source = parse_url(url)
    if source.password is not None or source.secrets:
        raise MalformedURL(
            "a password has no place in the URL of a transport: it would be seen in lists of processes. Write "
            f"{example}, and let its program log in by a key, an agent, or its own configuration"
        )
    shown = source.url.partition("?")[0]  # a value that nobody knows may be a secret
    unknown = sorted(set(source.query) - set(settings))
    if unknown:
        known = f"known are {', '.join(sorted(settings))}" if settings else "it takes none"
        raise MalformedURL(f"unknown parameter {', '.join(unknown)} in {shown}; {known}")
    hop = Hop(
        scheme=source.scheme,
        user=source.username or "",
        host=source.host or "",
        port=source.port or 0,
        path=source.database or "",
        settings=dict(source.query),
    )
    if not hop.host or "#" in url:
        raise MalformedURL(f"{shown} is not of the form {example}")
    for part in (hop.user, hop.host, *hop.path.split("/"), *hop.settings.values()):
        if part.startswith("-") or not part.isprintable():
            raise MalformedURL(f"{shown} has a part that begins with a dash, or cannot be printed: {example}")
    return hop
