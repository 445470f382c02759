"""Values as people read them: times, ages, sizes, and the words that say how things stand."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dumpty.jobs.values import rounded_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["WORDS", "ago", "count", "duration", "iso", "moment", "new_name", "size", "until"]

WORDS: Mapping[str, str] = {
    "ok": "ok",
    "damaged": "damaged",
    "failed": "failed",
    "overdue": "overdue",
    "none": "no backup",
    "suspicious": "suspicious",
    "copy-missing": "copy missing",
    "not-proved": "not proved",
    "warning": "warning",
    "unknown": "unknown",
    "unreachable": "unknown",
    "unrecorded": "not recorded",
    "attention": "attention",
    "skipped": "skipped",
    "running": "running",
    "lost": "lost",
    "unreadable": "unreadable",
    "no result": "no result",
}
"""Each status in words."""

_MINUTE = 60


def moment(when: datetime) -> str:
    """Return a time in UTC, to the minute."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M}Z"


def iso(when: datetime) -> str:
    """Return a time in UTC as RFC 3339 has it."""
    return when.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat() + "Z"


def ago(when: datetime, now: datetime) -> str:
    """Return how long something is ago."""
    return f"{rounded_text(now - when)} ago"


def until(when: datetime, now: datetime) -> str:
    """Return how long it is until then."""
    return f"in {rounded_text(when - now)}" if when > now else "now"


def duration(value: float | timedelta | None) -> str:
    """Return how long something took."""
    if value is None:
        return ""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < _MINUTE else rounded_text(timedelta(seconds=seconds))


def size(number: int | None) -> str:
    """Return a number of bytes."""
    from rich.filesize import decimal

    return "" if number is None else decimal(number)


def count(number: int | None, singular: str = "", plural: str = "") -> str:
    """Return a number, with what it counts."""
    if number is None:
        return ""
    return f"{number:,}" + (f" {singular if number == 1 else plural or singular + 's'}" if singular else "")


def new_name(database: str) -> str:
    """Return how a new database may be called that one is restored into."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", database.partition(".")[0])[:50].strip("_") + "_restored"
