"""The text of a database's URL, made of its parts: every secret is ``***`` in it, unless it is asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from dumpty.redaction import MASK, names_secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

__all__ = ["has_several_hosts", "masked_url", "respell"]

_URL = re.compile(
    r"(?P<scheme>[^:/?]+)://(?P<userinfo>(?:[^/?]*@)?)(?P<hosts>[^/?]*)(?P<path>(?:/[^?]*)?)(?P<query>(?:\?.*)?)",
    re.DOTALL,
)
_FIELDS = {
    "scheme": {"scheme"},
    "userinfo": {"username", "password"},
    "hosts": {"host", "port"},
    "path": {"database"},
    "query": {"query"},
}
"""The pieces of a URL, in their order, and the fields of a source that each of them shows."""


def has_several_hosts(url: str) -> bool:
    """Return whether a URL names hosts by a list, which a source has among its parameters."""
    match = _URL.fullmatch(url)
    return match is not None and "," in match["hosts"]


def respell(url: str, made: str, renewed: AbstractSet[str]) -> str:
    """Return ``made``, a URL made of fields, spelled as ``url`` is wherever it shows no field of ``renewed``."""
    old, new = _URL.fullmatch(url), _URL.fullmatch(made)
    if old is None or new is None:
        return made
    scheme, *texts = ((new if fields & renewed else old)[piece] for piece, fields in _FIELDS.items())
    return f"{scheme}://{''.join(texts)}"


def masked_url(
    *,
    scheme: str,
    host: str | None,
    port: int | None,
    username: str | None,
    password: str | None,
    database: str | None,
    query: Mapping[str, str],
    masked: bool = True,
) -> str:
    """Return the URL of a database, percent-encoded where needed; a path that is no server's keeps its slashes.

    Not ``masked`` it has its secrets, and is for whoever connects.
    """

    def secret(text: str) -> str:
        return MASK if masked else _percent_encode(text)

    userinfo = _percent_encode(username or "") + (f":{secret(password)}" if password else "")
    shown_host = f"[{host}]" if host and ":" in host else _percent_encode(host or "")
    pairs = (
        f"{_percent_encode(k)}={secret(v) if names_secret(k) else _percent_encode(v, '/,')}" for k, v in query.items()
    )
    slash = "" if userinfo or shown_host or port else "/"
    return (
        f"{scheme}://{userinfo + '@' if userinfo else ''}{shown_host}{f':{port}' if port else ''}"
        f"/{_percent_encode(database or '', slash)}{'?' + '&'.join(pairs) if query else ''}"
    )


def _percent_encode(text: str, safe: str = "") -> str:
    return quote(text, safe=safe, errors="surrogateescape")
