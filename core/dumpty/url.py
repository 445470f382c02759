"""Database URLs and libpq connection strings -> ``Source``, with every secret known and masked."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from dumpty.errors import SourceError
from dumpty.redaction import MASK, names_secret

if TYPE_CHECKING:
    from dumpty.types import Source

__all__ = [
    "MalformedURL",
    "database_name",
    "identity_of",
    "is_of_server",
    "parse_connection",
    "parse_url",
    "raw_path",
    "secrets_in",
    "server_url",
    "shown_address",
    "with_database",
    "with_raw_path",
]

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9._-]*)(?:\+[A-Za-z0-9._-]+)?://")
_MAX_PORT = 65535


class MalformedURL(SourceError):
    """A database URL is none, or not one that its driver can make sense of: nothing was tried.

    Whoever catches or is told errors has it as a ``SourceError``; on the command line it is wrong usage.
    """


def parse_url(url: str) -> Source:
    """Take a database URL apart: ``scheme[+driver]://[user[:password]@][host[:port]]/database[?key=value&…]``.

    User, password, host, database and parameters are percent-decoded; ``+`` is a plus. The ``+driver`` suffix that
    SQLAlchemy's URLs carry is dropped. Several hosts, as libpq allows them, become the parameters ``host`` and
    ``port``.

    Raises:
        TypeError: ``url`` is not a str.
        MalformedURL: it is no URL. The text shows nothing of what may be a password.
    """
    from dumpty.types import Source

    if not isinstance(url, str):
        raise TypeError(f"a database URL is a str, not {type(url).__name__}")
    match = _SCHEME.match(url)
    if match is None:
        raise MalformedURL(_not_a_url(url))
    scheme = match["scheme"].lower()
    _require_text(url, f"the {scheme} URL", encoded=True)
    rest = url[match.end() :]
    rest, _, query_text = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if authority and "@" in path + query_text:
        # Elsewhere an '@' could stand as it is, but here it may as well end a password: nothing of it is shown.
        raise MalformedURL(
            f"the {scheme} URL has an '@' behind its first '/' or '?': write those characters of a user name, "
            "password, database or parameter percent-encoded ('/' is %2F, '?' is %3F, '@' is %40)"
        )
    userinfo, at, hosts = authority.rpartition("@")
    user, colon, password = userinfo.partition(":")
    host, port, host_lists = _parse_hosts(scheme, hosts)
    query = _parse_query(scheme, query_text) | host_lists
    _require_plain_name(f"the {scheme} URL", unquote(path), query.get("dbname"))
    masked_user = user + (f":{MASK}" if colon and password else colon)
    return Source(
        scheme=scheme,
        url=match[0] + masked_user + at + hosts + slash + path + _shown_query(query_text),
        host=host,
        port=port,
        username=unquote(user) if user else None,
        password=unquote(password) if colon else None,
        database=unquote(path) if path else None,
        query=MappingProxyType(query),
        secrets=(password,) if password else (),  # as it is spelled; the source adds what it means
    )


def _shown_query(text: str) -> str:
    """Return the parameters of a URL, if it has any, as they may be shown, with the question mark before them."""
    pairs = [
        f"{pair.partition('=')[0]}={MASK}" if names_secret(unquote(pair.partition("=")[0])) else pair
        for pair in text.split("&")
    ]
    return f"?{'&'.join(pairs)}" if text else ""


def secrets_in(url: str) -> tuple[str, ...]:
    """Return the secrets in a URL, if it is one: a store's, which need not be anything that a database has."""
    try:
        return parse_url(url).secrets
    except MalformedURL:
        # An access key with a '/' of its own, say: all that stands where a password does counts as one.
        password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
        return tuple(dict.fromkeys(filter(None, (password, unquote(password)))))


def shown_address(address: str) -> str:
    """Return a path as it is, and a store's URL without its secrets; of one that cannot be read only the scheme."""
    scheme, colon, _ = address.partition("://")
    if not colon:
        return address
    try:
        return parse_url(address).url
    except MalformedURL:
        return f"{scheme}://{MASK}"


def raw_path(url: str) -> str:
    """Return what stands behind the host of a database URL, before any ``?``, as it is spelled, without the slash."""
    return url.partition("://")[2].partition("?")[0].partition("/")[2]


def with_raw_path(url: str, path: str) -> str:
    """Return a database URL with another path, as ``raw_path`` returns it, and all else as it is spelled."""
    scheme, colon, rest = url.partition("://")
    rest, mark, query = rest.partition("?")
    return f"{scheme}{colon}{rest.partition('/')[0]}/{path}{mark}{query}"


def with_database(url: str, database: str, *, slashes: bool = False) -> str:
    """Return a database URL with another database's name, percent-encoded, and all else as it is spelled.

    With ``slashes`` the name is a path, and its slashes stay as they are.
    """
    scheme, colon, rest = url.partition("://")
    rest, mark, query = rest.partition("?")
    # A byte that is no text stays what Python has for it: percent-encoded, it would be taken for a mistake.
    pieces = re.split("([\ud800-\udfff]+)", database)
    safe = "/" if slashes else ""
    path = "".join(piece if index % 2 else quote(piece, safe=safe) for index, piece in enumerate(pieces))
    return f"{scheme}{colon}{rest.partition('/')[0]}/{path}{mark}{query}"


def server_url(url: str) -> str:
    """Return a database URL without its database, and all else as it is spelled: what reaches the server."""
    base, mark, query = with_database(url, "").partition("?")
    query = "&".join(pair for pair in query.split("&") if unquote(pair.partition("=")[0]) != "dbname")
    return f"{base}{mark if query else ''}{query}"


def parse_connection(text: str, *, scheme: str) -> Source:
    """Parse a libpq connection string, URI or ``keyword=value`` pairs (libpq manual, "Connection Strings").

    Raises:
        TypeError: ``text`` is not a str.
        MalformedURL: it is neither.
    """
    from dumpty.types import Source

    if not isinstance(text, str):
        raise TypeError(f"a connection string is a str, not {type(text).__name__}")
    if "://" in text.partition("=")[0]:
        return parse_url(text)
    _require_text(text, "the connection string", encoded=False)
    keywords = _parse_keywords(text)
    password = keywords.pop("password", None)
    database, username = keywords.pop("dbname", None), keywords.pop("user", None)
    _require_plain_name("the connection string", database)
    host, port_text = keywords.pop("host", None), keywords.pop("port", None)
    port = None
    if (host and "," in host) or (port_text and "," in port_text):
        keywords |= {k: v for k, v in (("host", host), ("port", port_text)) if v}
        host = None
    elif port_text:
        port = _parse_port(scheme, port_text)
    return Source(
        scheme=scheme,
        host=host,
        port=port,
        username=username,
        password=password,
        database=database,
        query=MappingProxyType(keywords),
    )


# libpq's programs take a whole connection string for a database's name, so people write one there, password and all.
_CONNECTION_STRING = re.compile(r"://|(?:pass|pwd)\w*\s*=", re.IGNORECASE)


def _require_plain_name(label: str, *names: str | None) -> None:
    if any(name and _CONNECTION_STRING.search(name) for name in names):
        raise MalformedURL(
            f"{label} has another connection string in the place of the database's name; give that alone"
        )


def _require_text(text: str, label: str, *, encoded: bool) -> None:
    try:
        plain = unquote(text, errors="strict") if encoded else text
        plain.encode("utf-8", "surrogateescape")
    except UnicodeError:
        # Without its cause, which holds the whole text.
        advice = ": a '%' of its own is written %25" if encoded else ""
        raise MalformedURL(f"{label} holds bytes that are no UTF-8 text{advice}") from None
    if "\0" in plain:
        raise MalformedURL(f"{label} holds a NUL character; no database has such a name")


def _not_a_url(text: str) -> str:
    shown = "" if set(text) & set("@=:") else f" {text[:200]!r}"
    return (
        f"the database URL{shown} has no scheme; write for example sqlite:///relative.db, sqlite:////absolute/path.db, "
        "postgresql://user@host/database or mysql://user@host/database"
    )


def _parse_hosts(scheme: str, text: str) -> tuple[str | None, int | None, dict[str, str]]:
    if "," in text:
        pairs = [_parse_host_port(scheme, host_port) for host_port in text.split(",")]
        ports = ",".join(str(p or "") for _, p in pairs)
        host_lists = {"host": ",".join(h or "" for h, _ in pairs)}
        return None, None, host_lists | ({"port": ports} if ports.strip(",") else {})
    host, port = _parse_host_port(scheme, text)
    return host, port, {}


def _parse_host_port(scheme: str, text: str) -> tuple[str | None, int | None]:
    if text.startswith("["):
        host, bracket, tail = text[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise MalformedURL(f"the {scheme} URL has an IPv6 address without its closing ']'")
        port_text = tail[1:]
    else:
        host, _, port_text = text.partition(":")
    return unquote(host) or None, _parse_port(scheme, port_text) if port_text else None


def _parse_port(scheme: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_PORT)) and 0 < int(text) <= _MAX_PORT):
        # The text may be a piece of a password with an unencoded '/': it is not shown.
        raise MalformedURL(
            f"the port in the {scheme} URL is not a number from 1 to {_MAX_PORT}; an IPv6 address needs brackets, "
            "and '/', '?', '#' and '@' in a password must be percent-encoded"
        )
    return int(text)


def _parse_query(scheme: str, text: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for pair in filter(None, text.split("&")):
        key, equals, value = pair.partition("=")
        key = unquote(key)
        if not equals or not key:
            raise MalformedURL(f"the parameters of the {scheme} URL are not of the form key=value&key=value")
        if key in query:
            raise MalformedURL(f"the {scheme} URL gives the parameter {key} twice")
        query[key] = unquote(value)
    return query


_KEYWORD = re.compile(
    r"\s*(?P<key>\w+)\s*=\s*(?:'(?P<quoted>(?:[^'\\]|\\.)*)'|(?P<plain>(?:[^\s'\\]|\\.)*))(?=\s|$)", re.DOTALL
)


def _parse_keywords(text: str) -> dict[str, str]:
    keywords: dict[str, str] = {}
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _KEYWORD.match(text, position, end)
        if match is None:
            raise MalformedURL(
                "the connection string is neither a postgresql:// URI nor keyword=value pairs "
                'such as "host=db.example.org dbname=shop user=backup"'
            )
        value = match["quoted"] if match["quoted"] is not None else match["plain"]
        keywords[match["key"]] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        position = match.end()
    if not keywords:
        raise MalformedURL("the connection string is empty; write for example postgresql://user@host/database")
    return keywords


def identity_of(source: Source, scheme: str = "") -> str:
    """Return a canonical name for a database whose driver does not give one: server and database alone.

    ``scheme`` stands for all that the driver answers to.
    """
    query = source.query
    host = (source.host or query.get("host") or query.get("unix_socket") or "").lower()
    port = source.port or query.get("port")
    return f"{scheme or source.scheme}://{host}{f':{port}' if port else ''}/{source.database or ''}"


def is_of_server(identity: str, format_name: str) -> bool:
    """Return whether a backup is of a whole server, by its identity (see ``operations.subjects``) and its format."""
    return identity.startswith(f"{format_name}@")


def database_name(source: Source, inspected: str = "") -> str:
    """Return the database's short name, for people and file names."""
    return inspected or (source.database or "").rstrip("/").rpartition("/")[2] or source.scheme
