"""Telling somebody something by HTTP: one request, whose answer says whether it was taken."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from dumpty.errors import NotificationError
from dumpty.redaction import redact
from dumpty.url import MalformedURL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import urllib3

__all__ = ["post_http", "require_http_url"]

_SHOWN = 300
"""How many characters of an answer, or of a reason, are shown."""
_READ = 4 * _SHOWN
"""How many bytes of an answer are read: a character has up to four."""
_REDIRECTED, _REFUSED = 300, 400
_END_SECONDS = 1.0
"""How long the thread that asks may take to end once its connection is gone."""


def post_http(url: str, body: bytes = b"", headers: Mapping[str, str] | None = None, *, seconds: float = 20.0) -> None:
    """Send ``body`` to an ``http`` or ``https`` URL by POST; returning means that the answer was 2xx.

    Certificates are checked against those that the system trusts; redirections are not followed, for what is sent may
    be for this host alone. The proxies that the environment names (``https_proxy``, ``no_proxy``) are used. Of an
    answer that is no success, its beginning is shown.

    Args:
        url: where to; nothing of it but scheme, host and port is shown in errors. ``user:password@`` in it is sent as
            HTTP's basic authentication.
        body: what to send.
        headers: further ones; their values are not shown in errors.
        seconds: after how many seconds to give up, whatever the host does or fails to do meanwhile.

    Raises:
        NotificationError: it was not taken, or that cannot be told.
        MalformedURL: it is no such URL.
    """
    place = require_http_url(url)
    request = _Request(url, body, headers or {}, seconds)
    # In a thread of its own: finding a host's address takes as long as it likes, and an answer may come by drops.
    answers: SimpleQueue[str | Exception] = SimpleQueue()
    thread = threading.Thread(target=request.run, args=(answers,), name="dumpty-http", daemon=True)
    try:
        thread.start()
        answer = answers.get(timeout=seconds)
    except Empty:
        raise NotificationError(f"{place} gave no answer within {seconds:g} s") from None
    finally:
        request.drop()
        if thread.ident is not None:
            thread.join(_END_SECONDS)
    if isinstance(answer, Exception):
        raise NotificationError(f"{place} cannot be told: {_shown(_reason(answer), request.secrets)}") from None
    if answer:
        raise NotificationError(f"{place} answered {_shown(answer, request.secrets)}")


def require_http_url(url: str) -> str:
    """Return scheme, host and port of an ``http`` or ``https`` URL: what may be shown of it.

    Raises:
        MalformedURL: it is none.
    """
    scheme = url.partition("://")[0].lower()
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    plain = url.isascii() and url.isprintable() and " " not in url
    if scheme not in {"http", "https"} or not host or port == 0 or not plain:
        raise MalformedURL(
            f"a URL with the scheme {scheme[:20]!r} is none of HTTP: write https://HOST/PATH, percent-encoded"
        )
    if "@" in parts.path + parts.query:
        # What stands before its first '/' may be the beginning of a password, and no host that may be shown.
        raise MalformedURL(
            f"the {scheme} URL has an '@' behind its first '/' or '?': write %40 there, and %2F for a '/'"
        )
    return f"{scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"


class _Request:
    """One request, which another thread may end."""

    def __init__(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> None:
        self._url, self._body, self._seconds = url, body, seconds
        self._headers = {"User-Agent": "dumpty", **_authorization(url, "Authorization"), **headers}
        self._proxy = _proxy_of(url)
        self._connections: list[urllib3.connection.HTTPConnection] = []
        values = [value for name, value in self._headers.items() if name != "User-Agent"]
        self.secrets = [*_parts(url), *values, *(value.removeprefix("Basic ") for value in values)]
        self.secrets += [*_userinfo(self._proxy), *_authorization(self._proxy, "").values()]

    def run(self, answers: SimpleQueue[str | Exception]) -> None:
        """Put into ``answers`` what was said against it, "" where it was taken, or why it cannot be told."""
        try:
            answers.put(self._ask())
        except Exception as error:  # noqa: BLE001 - whatever it is, the message did not arrive
            answers.put(error)

    def drop(self) -> None:
        """Drop the connection, so that whoever waits for it gets an error; from any thread."""
        for connection in list(self._connections):
            with contextlib.suppress(Exception):  # it is gone already, or was never made
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _ask(self) -> str:
        target = _without_userinfo(self._url)
        with self._pool() as pool:
            self._watch(pool.connection_from_url(target))
            answer = pool.request(
                "POST",
                target,
                body=self._body,
                headers=self._headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                return "" if 200 <= answer.status < _REDIRECTED else f"{answer.status}{_said(answer)}"  # noqa: PLR2004
            finally:
                answer.close()

    def _pool(self) -> urllib3.PoolManager:
        import urllib3

        # Longer than anybody waits: it is for a thread that was left behind while it connects.
        limits = urllib3.Timeout(connect=self._seconds + _END_SECONDS, read=self._seconds + _END_SECONDS)
        if self._proxy:
            headers = _authorization(self._proxy, "Proxy-Authorization")
            return urllib3.ProxyManager(_without_userinfo(self._proxy), proxy_headers=headers, timeout=limits)
        return urllib3.PoolManager(timeout=limits)

    def _watch(self, pool: urllib3.HTTPConnectionPool) -> None:
        """Note the connections that a pool makes: nothing else tells them while they are waited for."""
        kind: Any = pool.ConnectionCls

        def connect(*arguments: Any, **options: Any) -> Any:
            self._connections.append(kind(*arguments, **options))
            return self._connections[-1]

        pool.ConnectionCls = connect  # type: ignore[assignment]


def _proxy_of(url: str) -> str:
    """Return the URL of the proxy that the environment names for a URL; "" where there is none."""
    from urllib.request import getproxies, proxy_bypass

    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme.lower()) or proxies.get("all") or ""
    port = parts.port or {"http": 80, "https": 443}[parts.scheme.lower()]
    if not proxy or proxy_bypass(f"{parts.hostname}:{port}"):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _userinfo(url: str) -> list[str]:
    """Return user and password of a URL, decoded, each where it has one."""
    user, _, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
    return [unquote(text) for text in (user, password) if text]


def _authorization(url: str, header: str) -> dict[str, str]:
    """Return the header that has a URL's user and password, if it has any."""
    userinfo, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return {}
    user, _, password = userinfo.partition(":")
    # In UTF-8, as browsers and curl send it; urllib3's own knows Latin-1 alone.
    encoded = base64.b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password))
    return {header: f"Basic {encoded.decode()}"}


def _without_userinfo(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def _parts(url: str) -> list[str]:
    """Return whatever stands in a URL beside its scheme, host and port, as it is spelled and decoded."""
    parts = urlsplit(url)
    values = [pair.partition("=")[2] for pair in parts.query.split("&")]
    found = [parts.path, parts.query, parts.fragment, *parts.path.split("/"), *values]
    return [*_userinfo(url), *(text for part in found if part.strip("/") for text in (part, unquote(part)))]


def _said(answer: urllib3.BaseHTTPResponse) -> str:
    """Return how an answer begins, as a part of a sentence: it says what was wrong."""
    if answer.status < _REFUSED and "location" in answer.headers:
        return ": it is somewhere else; write the address that it has now"
    if "content-encoding" in answer.headers:
        return ""
    text = answer.read(_READ).decode("utf-8", "replace").strip()
    return f": {text}" if text and not text.startswith("<") else ""


def _reason(error: BaseException) -> str:
    """Return why a request failed: what the system or the host said, not how the library passed it on."""
    while True:
        reason = getattr(error, "reason", None)  # of an SSL error it is a text
        cause = reason if isinstance(reason, BaseException) else error.__cause__
        if cause is None:
            return getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        error = cause


def _shown(text: str, secrets: Iterable[str]) -> str:
    """Return a text of others as it may be shown: one line, not long, without secrets."""
    line = " ".join("".join(c if c.isprintable() else " " for c in redact(text, secrets)).split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
