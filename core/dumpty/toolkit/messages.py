"""Messages as programs read them: the JSON that webhooks and commands are given."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dumpty.types import Message, Notice

__all__ = ["message_json"]

_VERSION = 1
"""It grows only where a field changes its meaning, or goes; those that are added change nothing for whoever reads."""


def message_json(message: Message) -> bytes:
    """Return a message as a JSON object, in UTF-8, on one line without its end.

    Its keys are ``version`` (1), ``id``, ``severity``, ``title``, ``body``, ``host``, ``at``, and ``notices``, a list
    of objects with ``event``, ``kind``, ``job``, ``subject``, ``text`` and ``since``. Times are RFC 3339's, in UTC,
    ending in ``Z``. What is no text, half a surrogate pair of a file's name, becomes a question mark.
    """
    document = {
        "version": _VERSION,
        "id": message.id,
        "severity": message.severity,
        "title": message.title,
        "body": message.body,
        "host": message.host,
        "at": _moment(message.at),
        "notices": [_notice(notice) for notice in message.notices],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _notice(notice: Notice) -> dict[str, Any]:
    return {
        "event": notice.event,
        "kind": notice.kind,
        "job": notice.job,
        "subject": notice.subject,
        "text": notice.text,
        "since": _moment(notice.since),
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
