"""When a job is due: cron's expressions, in a time zone, as Debian's cron reads them.

What summer time skips is due right after the hour that does not exist, what it repeats is due once
(https://manpages.debian.org/stable/cron/cron.8.en.html, "daylight saving time"); ``cronsim`` has these rules.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from dumpty.repository.protocol.layout import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Schedule", "slot_name"]

_MINUTE = timedelta(minutes=1)
_NONE = timedelta()


class Schedule:
    """A cron expression of five fields, in a time zone.

    Args:
        text: minute, hour, day of the month, month, day of the week: ``30 2 * * *``.
        zone: whose minutes and days; a zone, not an offset from UTC, for the same slots must come out on any day.

    Raises:
        ValueError: it is none, or never comes.
    """

    def __init__(self, text: str, zone: tzinfo) -> None:
        self.text = " ".join(text.split())
        self._zone = zone
        if len(self.text.split(" ")) != 5:  # noqa: PLR2004 - cronsim reads seconds, too, which cron does not know
            raise ValueError(f"{text!r} is no schedule: write minute, hour, day, month, day of the week: 30 2 * * *")
        try:
            self.next(datetime.now(UTC))
        except StopIteration:
            raise ValueError(f"the schedule {text!r} never comes: no calendar has such a day") from None

    def __eq__(self, other: object) -> bool:
        """Return whether both are due at the same times for the same reason."""
        return isinstance(other, Schedule) and (self.text, str(self._zone)) == (other.text, str(other._zone))

    def __hash__(self) -> int:
        """Return a hash that equal ones share."""
        return hash((self.text, str(self._zone)))

    def latest(self, now: datetime) -> datetime | None:
        """Return when it was due last, not after ``now`` (aware), in UTC; None where that is beyond any calendar."""
        after = (now.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE).astimezone(self._zone)
        if after.fold:
            repeated = (after.replace(fold=0).utcoffset() or _NONE) - (after.utcoffset() or _NONE)
            after += repeated  # on the clock face: what the hour was due for the first time is not after it
        try:
            return next(when for when in self._times(after, reverse=True) if when <= now)
        except StopIteration:
            return None

    def next(self, now: datetime) -> datetime:
        """Return when it is due next, after ``now`` (aware), in UTC."""
        # In an hour that is repeated what comes first on the clock face may be over: it was due before.
        return next(when for when in self._times(now.astimezone(self._zone), reverse=False) if when > now)

    def _times(self, start: datetime, *, reverse: bool) -> Iterator[datetime]:
        from cronsim import CronSim, CronSimError

        try:
            for when in CronSim(self.text, start, reverse=reverse):
                yield when.astimezone(UTC)
        except CronSimError as error:
            raise ValueError(
                f"{self.text!r} is no schedule, or never comes: {error}; write minute, hour, day, month, day of the "
                "week: 30 2 * * *"
            ) from None


def slot_name(due: datetime) -> str:
    """Return the name of the run that is due at a time: the same on every machine."""
    return time_text(due)
