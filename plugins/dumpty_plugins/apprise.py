"""The notifier ``apprise``: mail, chats, telephones, pagers, each by a URL of https://appriseit.com."""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from dumpty import DependencyError, MalformedURL, NotificationError, OptionError, PluginInfo, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Message, Notifier

_TYPES = {"failure": "failure", "warning": "warning", "recovery": "success", "info": "info"}
_OF_THIS_MACHINE = {"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "windows"}
"""What shows something on this machine's desktop, or lights its lamp.

They start programs (terminal-notifier; dbus-launch, where a session has no bus), and succeed where nobody looks.
"""
_SECONDS = 30.0
"""How long one message may wait for its service."""
_CUT = "…"
_PLAIN_PARAMETERS = {"cto", "emojis", "format", "mode", "overflow", "redirect", "retry", "rto", "tz", "verify", "wait"}
"""What is set by these is no secret."""
_SHOWN = 300


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(
        kind="notifier", summary="mail, chats, pagers: apprise's URLs", schemes=("*",), requires="dumpty[apprise]"
    )


@hookimpl
def open_notifier(url: str, secret: str) -> Notifier:
    """Return what sends messages to the service that a URL names.

    Raises:
        MalformedURL: apprise knows no such URL, or it is one whose success would tell nothing, or that may wait for
            more than 30 seconds.
        OptionError: there is a secret: nothing is signed.
        DependencyError: apprise is not installed, or what it needs for this service.
    """
    if secret:
        raise OptionError("messages by apprise are not signed: take the secret away")
    _service(url)
    return _Service(url)


class _Service:
    """Sends messages to one service. It keeps nothing but the URL: several threads use it at once."""

    def __init__(self, url: str) -> None:
        self._url = url

    def send(self, message: Message, /) -> None:
        library = _library()
        with _Reasons() as reasons:
            service = _service(self._url)  # a new one each time: they are not made for several threads
            sender = library.Apprise(asset=service.asset)
            sender.add(service)
            taken = sender.notify(
                title=_cut(message.title, service.title_maxlen),
                body=_cut_body(service, message),
                notify_type=_TYPES[message.severity],
                body_format=library.NotifyFormat.TEXT,
                interpret_escapes=False,
            )
        if taken is not True:
            raise NotificationError(f"{_scheme(self._url)}:// did not take it: {_reason(reasons.texts, self._url)}")


def _library() -> Any:
    try:
        import apprise
    except ImportError as error:
        raise DependencyError('notifications by mail and chat need apprise: pip install "dumpty[apprise]"') from error
    if _divert not in apprise.logger.filters:
        apprise.logger.addFilter(_divert)
    return apprise


def _service(url: str) -> Any:
    """Return apprise's object for a URL, which connects to nobody before it is told to send."""
    library, scheme = _library(), _scheme(url)
    known = library.NotificationManager()
    if not scheme or scheme in _OF_THIS_MACHINE:
        raise MalformedURL(
            f"no message is sent by {scheme}://: it shows something on this machine, where nobody may look"
            if scheme
            else "it is no URL of apprise: write SERVICE://…, as https://appriseit.com/services/ says"
        )
    if scheme in known and not known[scheme].enabled:
        needed = known[scheme].requirements.get("packages_required") or "a library"
        needed = needed if isinstance(needed, str) else " ".join(needed)
        raise DependencyError(f"apprise sends nothing by {scheme}:// here, for this needs {needed}: pip install it")
    asset = library.AppriseAsset(app_id="dumpty", app_desc="dumpty", async_mode=False)
    # A POST that is redirected becomes a GET, which succeeds and tells nobody.
    asset.http_redirects = False
    with _Reasons() as reasons:
        service = library.Apprise.instantiate(url, asset=asset)
    # What a program has made of a function of its own is none of apprise's services.
    if service is None or service.category != "native":
        raise MalformedURL(f"apprise makes nothing of the {scheme}:// URL: {_reason(reasons.texts, url)}")
    _require_telling(service, scheme, library)
    if not re.search(r"[?&]format=", url, re.IGNORECASE):
        service.notify_format = library.NotifyFormat.TEXT  # as it is: a star or a bracket in it is one
    return service


def _require_telling(service: Any, scheme: str, library: Any) -> None:
    """Require that a success means that the message was taken, whole, and that it comes in time."""
    if getattr(service, "optional", False):
        raise MalformedURL(f"the {scheme}:// URL has optional=yes, so failures would look like successes: take it out")
    template = getattr(service, "template", None)
    if isinstance(template, library.AppriseAttachment) and len(template):
        raise MalformedURL(f"the {scheme}:// URL has a template, which stands in the place of messages: take it out")
    retries = getattr(service, "retry", 0)
    limits = (service.socket_connect_timeout, service.socket_read_timeout)
    longest = max(limits) * (retries + 1) + getattr(service, "wait", 0.0) * retries
    if not all(0 < limit <= _SECONDS for limit in (*limits, longest)):  # not a number, perhaps
        raise MalformedURL(
            f"the {scheme}:// URL has limits by which one message could wait for more than {_SECONDS:g} s: "
            "lower cto, rto, retry or wait in it"
        )


def _cut_body(service: Any, message: Message) -> str:
    """Return a message's body as long as a service takes it: a longer one would be refused, and tell nobody."""
    body = message.body if message.body.strip() else message.title
    with_title = service.title_maxlen <= 0 or service.overflow_amalgamate_title
    if str(getattr(service.overflow_mode, "value", service.overflow_mode)) == "split":
        return body
    lines = service.body_max_line_count
    if lines and body.count("\n") >= lines - with_title:
        body = "\n".join([*body.split("\n")[: max(1, lines - with_title) - 1], _CUT])
    return _cut(body, service.body_maxlen - (len(message.title) + 2 if with_title else 0))


def _cut(text: str, limit: int) -> str:
    return text if limit <= 0 or len(text) <= limit else text[: max(0, limit - len(_CUT))] + _CUT


def _scheme(url: str) -> str:
    scheme = url.partition("://")[0].lower()
    return scheme if "://" in url and re.fullmatch(r"[a-z0-9+.-]{1,30}", scheme) else ""


class _Reasons:
    """A context manager: what apprise logs in its block, in this thread, is kept in ``texts``, and shown nowhere else.

    Its lines may hold what the URL does.
    """

    _active = threading.local()

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __enter__(self) -> Self:
        self._outer = self.current()
        self._active.reasons = self
        return self

    def __exit__(self, *_: object) -> None:
        self._active.reasons = self._outer

    @classmethod
    def current(cls) -> _Reasons | None:
        """Return the one that this thread is in."""
        return getattr(cls._active, "reasons", None)


def _divert(record: logging.LogRecord) -> bool:
    """Filter what apprise logs: what comes of a block of ``_Reasons`` goes there."""
    reasons = _Reasons.current()
    if reasons is None:
        return True
    if record.levelno >= logging.WARNING:
        error = record.exc_info[1] if record.exc_info else None
        reasons.texts.append(f"{type(error).__name__}: {error}" if error else record.getMessage())
    return False


def _reason(texts: list[str], url: str) -> str:
    """Return what apprise said, as a part of a sentence, without anything of the URL but its scheme."""
    from dumpty.process import redact

    # It shows URLs, too, as it understands them, and only what it takes for a secret is masked in them.
    said = "; ".join(text for text in texts if not re.search(r"[a-z0-9]:/", text, re.IGNORECASE))
    line = " ".join("".join(c if c.isprintable() else " " for c in redact(said, _parts(url))).split())
    line = line.rstrip(". ")
    return (line if len(line) <= _SHOWN else line[:_SHOWN] + _CUT) or "apprise does not say why"


def _parts(url: str) -> list[str]:
    """Return whatever stands in a URL behind its scheme, in pieces, as they are spelled and decoded."""
    rest, _, query = url.partition("://")[2].partition("?")
    pieces = [rest, *re.split(r"[/:@,]+", rest), *_values(query)]
    return list({text for piece in pieces if piece for text in (piece, unquote(piece))})


def _values(query: str) -> Iterator[str]:
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        value = value if equals else name
        if name.lower() not in _PLAIN_PARAMETERS:
            yield from (value, *re.split(r"[/:@,]+", value))
