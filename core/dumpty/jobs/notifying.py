"""Telling people, and services that wait to hear: by notifiers, and by heartbeats."""

from __future__ import annotations

import hashlib
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from dumpty.errors import DumptyError, NotificationError
from dumpty.indirection import indirect_line, is_indirect
from dumpty.redaction import MASK, one_line, redact
from dumpty.registry.host import default_host
from dumpty.streaming.worker import run_abandonable
from dumpty.toolkit.http import post_http, require_http_url
from dumpty.url import MalformedURL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dumpty.jobs.document import Channel, Heartbeat
    from dumpty.types import Message, Notifier

    Remember = Callable[[Iterable[str]], None]

__all__ = [
    "OpenChannel",
    "Patience",
    "beat",
    "channel_id",
    "heartbeat_urls",
    "open_channel",
    "secrets_of",
    "shown_channel",
]

_SECONDS = 60.0
"""How long a notifier gets: it is to give up by itself in half of that."""

_BEAT_SECONDS = 10.0
_PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 300.0
_LONG = 8
"""Characters of a piece of a URL that may be a token, and no word."""


class OpenChannel(NamedTuple):
    """Somebody who can be told: ``label`` is what may be shown of the address."""

    label: str
    notifier: Notifier
    secrets: tuple[str, ...]

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            NotificationError: it was not taken, or that cannot be told.
        """
        try:
            self.notifier.send(message)
        except NotificationError as error:
            raise NotificationError(f"{self.label} was not told: {self._text(error)}") from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - of a plugin: it fails nothing else
            text = f"{self.label} was not told: unexpected {type(error).__name__}: {self._text(error)}"
            raise NotificationError(f"{text}; this is a bug in its plugin") from None

    def _text(self, error: BaseException) -> str:
        return redact(one_line(error), self.secrets)


def channel_id(channel: Channel, place: str = "") -> str:
    """Return what stands for a channel where it is written down what it knows: as it is written, so no secret.

    ``place`` tells apart what is written down at one place of several repositories.
    """
    return hashlib.sha256(f"{place}\0{channel.url}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def open_channel(channel: Channel, remember: Remember) -> OpenChannel:
    """Read the address of a channel, and open its notifier; nobody is connected to.

    Raises:
        OptionError, CommandError: there is nothing to read, or its notifier can do nothing with it.
        PluginError: no plugin answers it, or the one that does failed.
        MalformedURL: it is no URL.
    """
    url = indirect_line(channel.url, "address to notify")
    secret = "" if channel.secret is None else indirect_line(channel.secret, "secret of what is notified")
    secrets = secrets_of(url) + ((secret,) if secret else ())
    remember(secrets)
    host = default_host()
    if "://" not in url:
        raise MalformedURL(
            "the address to notify is no URL: write for example https://HOST/PATH, mailto://…, command:///PATH"
        )
    notifier = host.open_notifier(host.notifier(url), url=url, secret=secret)
    return OpenChannel(shown_channel(url), notifier, secrets)


def deliver(channel: Channel, message: Message, remember: Remember) -> None:
    """Read the address of a channel, and send it a message; give up after a minute.

    Raises:
        NotificationError: it was not taken, or that cannot be told.
        OptionError, CommandError, PluginError, MalformedURL: it cannot be opened.
    """
    ends = time.monotonic() + _SECONDS
    shown = channel.url if is_indirect(channel.url) else shown_channel(channel.url)
    run_abandonable(
        lambda: open_channel(channel, remember).send(message),
        discard=lambda _: None,
        over=lambda: time.monotonic() > ends,
        error=lambda: NotificationError(f"{shown} was not told: it gave no answer within {_SECONDS:.0f} s"),
        name="dumpty-notify",
    )


def shown_channel(url: str) -> str:
    """Return what may be shown of the address of somebody who is told: many have a token in their path, or as host."""
    scheme, colon, rest = url.partition("://")
    if not colon:  # what is written wrongly may hold a token all the same
        return MASK
    if scheme.lower() == "command":
        return f"{scheme}://{rest.partition('?')[0]}"
    try:
        return f"{require_http_url(url)}/{MASK}" if rest.partition("/")[2] or "?" in rest else require_http_url(url)
    except MalformedURL:
        return f"{scheme}://{MASK}"


def secrets_of(url: str) -> tuple[str, ...]:
    """Return what of such an address is a secret, or may be: it, and every piece of it that is as long as a token."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() == "command":
        return ()
    host, _, path = rest.partition("/")
    pieces = re.split(r"[/?&=@:#]", path if scheme.lower() in {"http", "https"} else rest)
    password = host.rpartition("@")[0].partition(":")[2]
    found = [url, rest, path, password, *(piece for piece in pieces if len(piece) >= _LONG)]
    return tuple(dict.fromkeys(secret for secret in found if secret and secret != host))


def heartbeat_urls(written: Heartbeat | str | None, remember: Remember) -> dict[str, str]:
    """Return the URLs that hear of a run, by what they hear of: start, success, failure.

    One alone is a service's (https://healthchecks.io/docs/http_api/): ``URL/start``, ``URL`` and ``URL/fail``.

    Raises:
        OptionError, CommandError: there is nothing to read.
        MalformedURL: one is no URL of HTTP.
    """
    if written is None:
        return {}
    if isinstance(written, str):
        url = indirect_line(written, "heartbeat's URL")
        path, mark, query = url.partition("?")
        base = path.rstrip("/")
        urls = {"start": f"{base}/start{mark}{query}", "success": url, "failure": f"{base}/fail{mark}{query}"}
    else:
        given = {"start": written.start, "success": written.success, "failure": written.failure}
        urls = {event: indirect_line(url, "heartbeat's URL") for event, url in given.items() if url is not None}
    for url in urls.values():
        remember(secrets_of(url))
        require_http_url(url)
    return urls


class Patience:
    """Whose answers were waited for in vain: for some minutes nobody waits for them again."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def ask(self, name: str, work: Callable[[], None]) -> None:
        """Do what may take long.

        Args:
            name: of whom it waits for.
            work: what to do.

        Raises:
            NotificationError: that was in vain a short while ago, and is not tried.
            DumptyError: what it raises.
        """
        start = time.monotonic()
        if start < self._until.get(name, 0.0):
            raise NotificationError(
                "somebody was not told: he gave no answer a short while ago, and is tried again soon"
            )
        try:
            work()
        except DumptyError:
            if time.monotonic() - start > _PATIENCE_SECONDS:
                self._until[name] = time.monotonic() + _PAUSE_SECONDS
            raise
        self._until.pop(name, None)


def beat(written: Heartbeat | str | None, event: str, text: str, remember: Remember, patience: Patience) -> str | None:
    """Tell a service of a run; return what went wrong, None where nothing did.

    Args:
        written: its URLs.
        event: start, success or failure.
        text: what came of the run, in a line.
        remember: is told of every secret that is read.
        patience: knows whose answers were waited for in vain.
    """
    if written is None:
        return None
    # A beginning that was not heard of keeps nobody from hearing of the end.
    name = f"{event == 'start'} {written}"
    try:
        patience.ask(name, lambda: _beat(written, event, text, remember))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever becomes of it, it is no part of the backup
        return f"the heartbeat ({event}) was not told: {one_line(error)}"
    return None


def _beat(written: Heartbeat | str, event: str, text: str, remember: Remember) -> None:
    ends = time.monotonic() + _BEAT_SECONDS
    headers = {"Content-Type": "text/plain; charset=utf-8"}

    def work() -> None:
        url = heartbeat_urls(written, remember).get(event)
        if url is not None:
            post_http(url, text.encode("utf-8", "backslashreplace"), headers, seconds=_BEAT_SECONDS)

    run_abandonable(
        work,
        discard=lambda _: None,
        over=lambda: time.monotonic() > ends + 1.0,  # whoever gives up by itself says more
        error=lambda: NotificationError(f"there was no answer within {_BEAT_SECONDS:.0f} s"),
        name="dumpty-heartbeat",
    )
