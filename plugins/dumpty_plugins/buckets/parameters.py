"""What a URL of a store of objects says, taken apart alike for every scheme."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from dumpty import MalformedURL, is_object_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Reads = Callable[[str, str], object]
    """Reads a parameter's value; given what the parameter is called in messages, too."""

__all__ = ["choice", "prefix_of", "seconds", "server_address", "settings", "size", "split", "text"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LONGEST_PREFIX = 600
"""Characters: a key has at most 1,024, and a name up to 400 of them."""


def split(url: str, how: str, credentials: str) -> SplitResult:
    """Split a URL.

    Args:
        url: the URL.
        how: such a URL is written, for messages.
        credentials: what to do with some instead of writing them here.

    Raises:
        MalformedURL: it is none, or holds credentials.
    """
    scheme = url.partition("://")[0]
    try:
        parts = urlsplit(url)
    except ValueError:
        raise MalformedURL(f"that is no {scheme}:// URL; write {how}") from None
    if "@" in parts.netloc:
        raise MalformedURL(f"{_an(scheme)} URL holds no credentials, for it is shown and kept: {credentials}")
    return parts


def prefix_of(parts: SplitResult, place: str) -> str:
    """Return the prefix that a URL names, "" where it names none; ``place`` is what it is a prefix in.

    Raises:
        MalformedURL: it is none.
    """
    prefix = unquote(parts.path).strip("/")
    is_prefix = len(prefix) <= _LONGEST_PREFIX and all(is_object_name(segment) for segment in prefix.split("/"))
    if parts.fragment or (prefix and not is_prefix):
        raise MalformedURL(
            f"{prefix[:80]!r} is no prefix in {place}: that has parts between slashes, of letters, digits, '_', '.' "
            f"and '-', {_LONGEST_PREFIX} characters at most"
        )
    return prefix


def settings(parts: SplitResult, parameters: Mapping[str, Reads]) -> dict[str, Any]:
    """Return what stands behind the question mark, each read by ``parameters``.

    Raises:
        MalformedURL: a parameter is not known, is given twice, or makes no sense.
    """
    url = f"{parts.scheme}:// URL"
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict")
    except ValueError:
        raise MalformedURL(f"the parameters of {_an(parts.scheme)} URL are of the form key=value&key=value") from None
    read: dict[str, Any] = {}
    for key, value in pairs:
        reads = parameters.get(key)
        if reads is None:
            close = difflib.get_close_matches(key, parameters, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            known = ", ".join(parameters)
            raise MalformedURL(f"{_an(parts.scheme)} URL has no parameter {key[:80]!r}; {hint}known are {known}")
        if key in read:
            raise MalformedURL(f"the {url} gives the parameter {key} twice")
        read[key] = reads(f"the parameter {key} of the {url}", value)
    return read


def text(what: str, value: str) -> str:
    """Read one word."""
    if not re.fullmatch(r"[\x21-\x7e]{1,2048}", value):
        raise MalformedURL(f"{what} has no value, or one with spaces or other signs")
    return value


def choice(*choices: str) -> Reads:
    """Return what reads one of these words."""

    def read(what: str, value: str) -> str:
        if value not in choices:
            raise MalformedURL(f"{what} is one of {', '.join(choices)}")
        return value

    return read


def size(smallest: str, largest: str) -> Reads:
    """Return what reads a size from ``smallest`` to ``largest``."""

    def read(what: str, value: str) -> int:
        number = _bytes(value)
        if not _bytes(smallest) <= number <= _bytes(largest):
            raise MalformedURL(f"{what} is a size from {smallest} to {largest}")
        return number

    return read


def seconds(what: str, value: str) -> float:
    """Read a number of seconds."""
    if not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", value) or not float(value):
        raise MalformedURL(f"{what} is a number of seconds, up to 9999")
    return float(value)


def server_address(path: str = "") -> Reads:
    """Return what reads a server's address; ``path`` is a pattern of what may stand behind its port."""

    def read(what: str, value: str) -> str:
        address = value if "://" in value else f"https://{value}"
        found = urlsplit(address if re.fullmatch(r"[\x21-\x7e]{1,2048}", value) else "")
        behind = found.path.strip("/")
        right = found.scheme in {"http", "https"} and found.hostname and "@" not in found.netloc and not found.query
        if not right or (behind and not re.fullmatch(path, behind)):
            allowed = "no credentials" if path else "no credentials, no path"
            form = "https://HOST[:PORT][/ACCOUNT]" if path else "https://HOST[:PORT]"
            raise MalformedURL(
                f"{what} is a server's address, {form}, or http:// where the network is trusted; {allowed}"
            )
        return address.rstrip("/")

    return read


def _an(scheme: str) -> str:
    return f"{'an' if scheme[:1] in 'aefilmnorsx' else 'a'} {scheme}://"


def _bytes(value: str) -> int:
    match = re.fullmatch(r"(\d{1,12})([KMG]?)", value)
    return int(match[1]) * _UNITS[match[2]] if match else 0
