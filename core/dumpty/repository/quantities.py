"""Ages, sizes and time zones, as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, timedelta, tzinfo

__all__ = ["age_text", "parse_age", "parse_size", "parse_timezone", "size_text"]

_AGE = re.compile(r"(?P<number>\d{1,9})(?P<unit>[hdw])", re.ASCII)
_HOURS = {"h": 1, "d": 24, "w": 7 * 24}


def parse_age(text: str) -> timedelta:
    """Return the age that ``text`` says: a number and ``h`` (hours), ``d`` (days) or ``w`` (weeks).

    Raises:
        ValueError: it says none.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no age; write for example 12h, 30d or 4w")
    try:
        return timedelta(hours=int(match["number"]) * _HOURS[match["unit"]])
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any calendar; write for example 12h, 30d or 4w") from None


_SIZE = re.compile(r"(?P<number>\d{1,12}(?:\.\d{1,3})?) ?(?P<unit>[kMGTP]?)(?P<binary>i?)B", re.ASCII | re.IGNORECASE)
_UNITS = " kmgtp"


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` says: ``500MB``, ``1.5TB``, ``20GiB``; k is 1,000, Ki is 1,024.

    Raises:
        ValueError: it says none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match["binary"] and not match["unit"]):
        raise ValueError(f"{text!r} is no size; write for example 500MB, 20GiB or 1.5TB")
    power = _UNITS.index(match["unit"].lower() or " ")
    return int(float(match["number"]) * (1024 if match["binary"] else 1000) ** power)


def parse_timezone(text: str) -> tzinfo | None:
    """Return the time zone called ``text`` (``Europe/Berlin``, ``UTC``); ``local``, this machine's own, is None.

    Raises:
        ValueError: there is none of that name.
    """
    if text.lower() == "local":
        return None
    if text.upper() == "UTC":
        return UTC
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone {text!r} on this machine; write for example UTC, local or Europe/Berlin"
        ) from None


def age_text(age: timedelta) -> str:
    """Return an age as people read it."""
    hours = age.total_seconds() / 3600
    return f"{hours:.0f} h" if abs(hours) < 48 else f"{hours / 24:.0f} days"  # noqa: PLR2004 - two days


def size_text(count: int) -> str:
    """Return a size as people read it."""
    number, power = float(count), 0
    while number >= 1000 and power < len(_UNITS) - 1:  # noqa: PLR2004 - kilo
        number, power = number / 1000, power + 1
    return f"{number:.3g} {_UNITS[power].upper().strip()}B" if power else f"{count} bytes"
