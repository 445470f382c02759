"""The notifier ``webhook``: messages as JSON, posted to a URL, signed after https://www.standardwebhooks.com."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from typing import TYPE_CHECKING

from dumpty import OptionError, PluginInfo, hookimpl, message_json, post_http, require_http_url

if TYPE_CHECKING:
    from dumpty import Message, Notifier

_ENCODED = "whsec_"
"""What a secret that the specification's own tools make begins with; the key behind it is in base64."""
_SHORTEST = 24
"""Bytes of a key: the least that the specification allows."""
_SECONDS = 20.0
"""How long a recipient may take to answer."""


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(kind="notifier", summary="JSON posted to a URL, signed", schemes=("http", "https"))


@hookimpl
def open_notifier(url: str, secret: str) -> Notifier:
    """Return what posts messages to a URL.

    Raises:
        MalformedURL: it is no URL of HTTP.
        OptionError: the secret is too short, or damaged.
    """
    require_http_url(url)
    return _Webhook(url, _key(secret))


class _Webhook:
    """Posts messages to one URL. It keeps nothing: several threads use it at once."""

    def __init__(self, url: str, key: bytes) -> None:
        self._url = url
        self._key = key

    def send(self, message: Message, /) -> None:
        body = message_json(message)
        # Of this attempt, not of the message: a recipient refuses what is older than a few minutes as played back.
        moment = str(int(time.time()))
        headers = {"Content-Type": "application/json", "webhook-id": message.id, "webhook-timestamp": moment}
        if self._key:
            signed = hmac.digest(self._key, b".".join((message.id.encode(), moment.encode(), body)), hashlib.sha256)
            headers["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
        post_http(self._url, body, headers, seconds=_SECONDS)


def _key(secret: str) -> bytes:
    """Return the key that a secret stands for; b"" where there is none."""
    if not secret:
        return b""
    if secret.startswith(_ENCODED):
        try:
            key = base64.b64decode(secret.removeprefix(_ENCODED), validate=True)
        except (binascii.Error, ValueError):
            raise OptionError(
                f"the webhook's secret begins with {_ENCODED}, but what follows is no base64: copy it once more, whole"
            ) from None
        unit = "bytes, decoded"
    else:
        key, unit = secret.encode("utf-8", "surrogateescape"), "characters"
    if len(key if unit != "characters" else secret) < _SHORTEST:
        raise OptionError(
            f"the webhook's secret is shorter than {_SHORTEST} {unit}: make one with "
            f"`echo {_ENCODED}$(head -c 32 /dev/urandom | base64)`, and give it to the recipient, too"
        )
    return key
