"""Durations as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

__all__ = ["duration_text", "parse_duration", "parse_interval", "rounded_text"]

_DURATION = re.compile(r"(?P<number>\d{1,9}) ?(?P<unit>s|min|h|d|w)", re.ASCII)
_UNITS = {
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_LONGEST = timedelta(days=3660)
_INTERVALS = {"hourly": "1h", "daily": "1d", "weekly": "1w", "monthly": "30d", "yearly": "365d"}


def parse_duration(text: str) -> timedelta:
    """Return the duration that ``text`` says: a number and ``s``, ``min``, ``h``, ``d`` or ``w``.

    Raises:
        ValueError: it says none, or more than ten years.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; write for example 30s, 90min, 26h, 7d or 4w")
    number, unit = int(match["number"]), _UNITS[match["unit"]]
    if number > _LONGEST / unit:
        raise ValueError(f"{text!r} is longer than ten years; write for example 30s, 90min, 26h, 7d or 4w")
    return number * unit


def parse_interval(text: str) -> timedelta:
    """Return how often ``text`` says: ``daily``, ``weekly``, ``monthly`` (30 days), or a duration.

    Raises:
        ValueError: it says none, or an empty one.
    """
    interval = parse_duration(_INTERVALS.get(text.strip().lower(), text))
    if not interval:
        raise ValueError(f"{text!r} is no time at all; write for example daily, weekly or 14d")
    return interval


def duration_text(duration: timedelta) -> str:
    """Return a duration as ``parse_duration`` reads it, in the largest unit that it is whole numbers of."""
    for name, unit in reversed(_UNITS.items()):
        if duration and not duration % unit:
            return f"{duration // unit}{name}"
    return f"{duration.total_seconds():.0f}s"


def rounded_text(duration: timedelta) -> str:
    """Return about how long a duration is, as people say it: ``40 s``, ``90 min``, ``26 h``, ``9 d``."""
    seconds = max(0.0, duration.total_seconds())
    for unit, name, most in ((1, "s", 120), (60, "min", 120), (3600, "h", 72)):
        if seconds < unit * most:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} d"
