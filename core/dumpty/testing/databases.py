"""URLs that the rules need beside the author's: missing databases, one with a password, folders in a store."""

from __future__ import annotations

import functools
import re
import socket
from urllib.parse import quote

__all__ = ["SECRET", "missing", "refusing_port", "sibling_url", "unreachable_url", "url_below", "with_secret"]

SECRET = "s3cr3t-ma/rk@er:0f%the kit"  # noqa: S105 - a password that opens nothing
"""Every character that a URL must encode, and a text that nothing else holds."""

_URL = re.compile(r"(?P<scheme>[^:]+://)(?P<authority>[^/?]*)(?P<path>[^?]*)(?P<query>.*)", re.DOTALL)


def missing(url: str) -> str:
    """Return the URL of a database beside that of ``url``, which does not exist."""
    return sibling_url(url, "-no-such-database")


def sibling_url(url: str, suffix: str) -> str:
    """Return ``url`` with ``suffix`` behind the database's name, before its extension."""
    match = _match_url(url)
    stem, dot, extension = match["path"].rpartition(".")
    if not dot or "/" in extension:
        stem, dot, extension = match["path"], "", ""
    return match["scheme"] + match["authority"] + stem + suffix + dot + extension + match["query"]


def with_secret(url: str) -> str:
    """Return ``url`` with ``SECRET`` as its password."""
    match = _match_url(url)
    user, _, host = match["authority"].rpartition("@")
    user = user.partition(":")[0] or "tester"
    return f"{match['scheme']}{user}:{quote(SECRET, safe='')}@{host}{match['path']}{match['query']}"


def unreachable_url(url: str) -> str:
    """Return the URL, with ``SECRET`` in it, of a server that is not there.

    A database without a host in its URL is one that does not exist.
    """
    match = _match_url(url)
    user, at, host = match["authority"].rpartition("@")
    if not host:
        return with_secret(missing(url))
    return with_secret(f"{match['scheme']}{user}{at}127.0.0.1:{refusing_port()}{match['path']}{match['query']}")


@functools.cache
def _refusing_socket() -> socket.socket:
    refusing = socket.socket()
    refusing.bind(("127.0.0.1", 0))  # and never listens, so that nobody else does, either
    return refusing


def refusing_port() -> int:
    """Return a port of this machine (127.0.0.1) that refuses connections."""
    port: int = _refusing_socket().getsockname()[1]
    return port


def url_below(url: str, folder: str) -> str:
    """Return the URL of a folder in the place behind ``url``, which may be a path, too."""
    address, mark, query = url.partition("?") if "://" in url else (url, "", "")
    return f"{address.rstrip('/')}/{folder}{mark}{query}"


def _match_url(url: str) -> re.Match[str]:
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("a fixture of the suite gave no database URL (scheme://…)")
    return match
