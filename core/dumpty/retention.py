"""Which backups to keep and which to remove: pure decisions, each with its reason.

Rules are applied to each database apart. The newest backup of a database is kept whatever the rules say. A rule
only ever protects: a backup goes if every rule that was given lets it go.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Decision", "Rules", "Subject", "decide", "parse_age"]


class Subject(Protocol):
    """What is known of a backup: its id, the database that it is of, and the moment it was taken at (aware)."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def source(self) -> str:
        """One name of its database, whatever the spelling of its URL."""
        ...

    @property
    def timestamp(self) -> datetime:
        """When it was taken."""
        ...


S = TypeVar("S", bound=Subject)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """``keep`` protects the newest so many of each database; ``older_than`` protects what is not older than that.

    At least one is given, and ``keep`` is at least 1.

    Raises:
        ValueError: they are not.
    """

    keep: int | None = None
    older_than: timedelta | None = None

    def __post_init__(self) -> None:
        if self.keep is None and self.older_than is None:
            raise ValueError("no rule says what to remove")
        if self.keep is not None and self.keep < 1:
            raise ValueError(f"the number to keep is at least 1, not {self.keep}")


@dataclass(frozen=True, kw_only=True)
class Decision(Generic[S]):
    """What becomes of one backup, and why."""

    backup: S
    keep: bool
    reason: str


def decide(backups: Iterable[S], rules: Rules, now: datetime) -> list[Decision[S]]:
    """Return one decision for each backup: database by database, newest first."""
    groups: dict[str, list[S]] = defaultdict(list)
    for backup in backups:
        groups[backup.source].append(backup)
    decisions = []
    for source in sorted(groups):
        newest_first = sorted(groups[source], key=lambda b: (b.timestamp, b.id), reverse=True)
        decisions += [_decided(backup, place, rules, now) for place, backup in enumerate(newest_first, 1)]
    return decisions


def _decided(backup: S, place: int, rules: Rules, now: datetime) -> Decision[S]:
    age = now - backup.timestamp
    if place == 1:
        return Decision(backup=backup, keep=True, reason="the newest of its database")
    reasons = []
    if rules.keep is not None:
        if place <= rules.keep:
            return Decision(backup=backup, keep=True, reason=f"number {place} of the {rules.keep} newest to keep")
        reasons.append(f"number {place}, beyond the {rules.keep} newest")
    if rules.older_than is not None:
        if age <= rules.older_than:
            return Decision(
                backup=backup, keep=True, reason=f"{_days(age)} old, not older than {_days(rules.older_than)}"
            )
        reasons.append(f"{_days(age)} old, older than {_days(rules.older_than)}")
    return Decision(backup=backup, keep=False, reason=" and ".join(reasons))


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


def _days(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours:.0f} h" if abs(hours) < 48 else f"{hours / 24:.0f} days"  # noqa: PLR2004 - two days
