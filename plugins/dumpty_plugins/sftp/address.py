"""What an ``sftp://`` URL says."""

from __future__ import annotations

import difflib
import math
import os
import re
from typing import NoReturn
from urllib.parse import quote, unquote

from msgspec import Struct

from dumpty import MalformedURL

DEFAULT_TIMEOUT = 60.0
"""For how many seconds a server may be silent."""

_SCHEME = re.compile(r"sftp://", re.IGNORECASE)
_OPTIONS = ("config", "identity", "known_hosts", "timeout")
_EXAMPLE = (
    "write for example sftp://backup@host.example.org/srv/backups, or sftp://host/~/backups for one below the home"
)
_MAX_PORT = 65535
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Address(Struct, frozen=True, kw_only=True):
    """Where a store is, and how it is reached.

    ``host`` may be an alias of the ssh configuration, which fills in the user and the port where they are None.
    ``path`` is absolute, or begins with ``~``, the directory that the server logs its user in to. ``identity`` and
    ``known_hosts`` are files of this machine; ``config`` is one, or "none"; each is "" where the URL has none.
    ``timeout``: for how many seconds the server may be silent.
    """

    host: str
    port: int | None
    user: str | None
    path: str
    identity: str = ""
    known_hosts: str = ""
    config: str = ""
    timeout: float = DEFAULT_TIMEOUT

    @property
    def server(self) -> str:
        """The URL without its path, for messages."""
        user = f"{quote(self.user)}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else quote(self.host)
        return f"sftp://{user}{host}{f':{self.port}' if self.port else ''}"

    def locate(self, name: str = "") -> str:
        """Return the URL of an object, or of the directory itself, with nothing in it that is only for this machine."""
        path = self.path if self.path.startswith("/") else f"/{self.path}"
        return self.server + quote(f"{path.rstrip('/')}/{name}".rstrip("/") or "/", safe="/~")


def parse_address(url: str) -> Address:
    """Take a URL apart.

    Raises:
        MalformedURL: it is none of this store's. The text shows nothing of what may be a password.
    """
    match = _SCHEME.match(url)
    if match is None:
        raise MalformedURL(f"this is no sftp URL; {_EXAMPLE}")
    rest, _, query = url[match.end() :].partition("?")
    authority, slash, path = rest.partition("/")
    if "@" in path:
        raise MalformedURL(
            "the sftp URL has an '@' behind its first '/': write it %40 in a path; a password has no place in the URL"
        )
    user, host, port = _parse_authority(authority)
    options = _parse_options(query)
    return Address(
        host=host,
        port=port,
        user=user,
        path=_parse_path(slash + path),
        identity=_local_path(options, "identity"),
        known_hosts=_local_path(options, "known_hosts"),
        config="none" if options.get("config", "").lower() == "none" else _local_path(options, "config"),
        timeout=_parse_timeout(options.get("timeout")),
    )


def _parse_authority(authority: str) -> tuple[str | None, str, int | None]:
    userinfo, _, location = authority.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    if colon:
        raise MalformedURL(
            "a password has no place in an sftp URL: it would be seen in lists of processes and in files; dumpty logs "
            "in with a key (?identity=PATH, or those of ssh itself) or an agent: ssh-keygen makes one, ssh-copy-id "
            "installs it"
        )
    if location.startswith("["):
        host, bracket, tail = location[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise MalformedURL("the sftp URL has an IPv6 address without its closing ']'")
        port = tail[1:]
    else:
        host, _, port = location.partition(":")
    host, user = _text(host), _text(user)
    if not host or host.startswith("-"):
        raise MalformedURL(f"the sftp URL names no host; {_EXAMPLE}")
    return user or None, host, _parse_port(port) if port else None


def _parse_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_PORT)) and 0 < int(text) <= _MAX_PORT):
        raise MalformedURL(  # without the text, which may be a piece of a password
            f"the port in the sftp URL is no number from 1 to {_MAX_PORT}; an IPv6 address needs brackets"
        )
    return int(text)


def _parse_path(text: str) -> str:
    segments = [segment for segment in _text(text).split("/") if segment not in {"", "."}]
    if not text:
        raise MalformedURL(f"the sftp URL names no directory of the server; {_EXAMPLE}")
    if ".." in segments:
        raise MalformedURL("the path of an sftp URL has no '..': name the directory itself")
    if segments and segments[0].startswith("~"):
        if segments[0] != "~":
            raise MalformedURL("SFTP knows no other user's home; write the directory's own path, or /~/ for one's own")
        return "/".join(segments)
    return "/" + "/".join(segments)


def _parse_options(text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in filter(None, text.split("&")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise MalformedURL("the options of the sftp URL are not of the form key=value&key=value")
        name = _text(key)
        if name not in _OPTIONS:
            _refuse_option(name)
        if name in options:
            raise MalformedURL(f"the sftp URL gives the option {name} twice")
        options[name] = _text(value)
        if not options[name]:
            raise MalformedURL(f"the option {name} of the sftp URL is empty")
    return options


def _refuse_option(name: str) -> NoReturn:
    if "pass" in name.lower():
        raise MalformedURL(
            f"an sftp URL takes no {name}: the passphrase of a key file is taken from $DUMPTY_SFTP_PASSPHRASE"
        )
    similar = difflib.get_close_matches(name.lower(), _OPTIONS, n=1)
    advice = f". Did you mean {similar[0]!r}?" if similar else ""
    raise MalformedURL(f"unknown option {name!r} in the sftp URL; known are {', '.join(_OPTIONS)}{advice}")


def _parse_timeout(text: str | None) -> float:
    if text is None:
        return DEFAULT_TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds < math.inf:
        raise MalformedURL(f"the timeout in the sftp URL is {text!r}, and no number of seconds from 1 up")
    return seconds


def _local_path(options: dict[str, str], name: str) -> str:
    """Return a path of this machine, absolute, so that a later change of directory changes nothing; "" for none."""
    return os.path.abspath(os.path.expanduser(options[name])) if name in options else ""


def _text(encoded: str) -> str:
    try:
        text = unquote(encoded, errors="strict")
    except UnicodeError:
        raise MalformedURL("the sftp URL holds bytes that are no UTF-8 text: a '%' of its own is written %25") from None
    if _CONTROL.search(text):
        raise MalformedURL("the sftp URL holds a control character")
    return text
