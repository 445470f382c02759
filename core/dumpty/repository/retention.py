"""Which backups to keep and which to remove: pure decisions, each with its reason.

A rule only ever protects: a backup goes if every rule that was given lets it go. The rules ``hourly`` to ``yearly``
are restic's (https://restic.readthedocs.io/en/stable/060_forget.html), the scheme that borg calls
grandfather-father-son: "keep for the last N days which have one or more backups, the newest of each day". Days without
a backup do not count; rules do not take from each other, as they do in borg; and while fewer than N are there, the
oldest is kept, too, so that months and years can ever fill up. Hours, days, weeks (ISO 8601), months and years are
those of a time zone, UTC unless another is given; an hour that comes twice when summer time ends is two hours.

Whatever the rules say, these are kept: the newest backup of each database, the newest that was proven, at each level
of proof, and every pinned one. A backup whose data is lost, or whose last proof failed, counts for nothing: it takes no
good one's place. One that was taken in the future, as this machine's clock has it, is not judged at all: one of the
clocks is wrong. Nor is a suspicious one, which holds so much less than those before it: until somebody accepts it, it
stays, and all others are judged as if it were not there.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from dumpty.repository.quantities import age_text, size_text
from dumpty.types import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dumpty.repository.verification import VerificationStatus

__all__ = ["Decision", "Rules", "Subject", "decide", "total_size"]


class Subject(Protocol):
    """What is known of a backup."""

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
        """When it was taken (aware)."""
        ...

    @property
    def size_bytes(self) -> int:
        """How much it takes in the store."""
        ...

    @property
    def verification_status(self) -> VerificationStatus:
        """What was proved of it."""
        ...

    @property
    def state(self) -> str:
        """``lost`` where its data is gone or short, ``damaged`` where it is not what was stored, or something else."""
        ...

    @property
    def suspicious(self) -> bool:
        """Whether it was suspicious when it was made, and nobody has accepted it since."""
        ...

    @property
    def pinned(self) -> str:
        """Who pinned it and why, or "" where nobody did."""
        ...


S = TypeVar("S", bound=Subject)

_PERIODS: dict[str, tuple[str, Callable[[datetime], object]]] = {
    "hourly": ("hour", lambda t: (t.date(), t.hour, t.utcoffset())),
    "daily": ("day", lambda t: t.date()),
    "weekly": ("week", lambda t: tuple(t.isocalendar())[:2]),
    "monthly": ("month", lambda t: (t.year, t.month)),
    "yearly": ("year", lambda t: t.year),
}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What to protect; at least one rule is given, and a number to keep is at least 1.

    ``keep`` are the newest so many of each database, ``hourly`` to ``yearly`` the newest of so many hours, days, weeks,
    months and years that have one. ``older_than`` protects what is not older, ``max_size`` the newest of all databases
    together, while they and all that is kept anyway take no more than so many bytes. ``zone`` is the time zone; None
    is this machine's own.

    Raises:
        ValueError: they are not.
    """

    keep: int | None = None
    hourly: int | None = None
    daily: int | None = None
    weekly: int | None = None
    monthly: int | None = None
    yearly: int | None = None
    older_than: timedelta | None = None
    max_size: int | None = None
    zone: tzinfo | None = field(default=UTC)

    def __post_init__(self) -> None:
        if all(getattr(self, f.name) is None for f in fields(self) if f.name != "zone"):
            raise ValueError("no rule says what to remove")
        for name in ("keep", *_PERIODS):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"the number to keep is at least 1, not {number}")


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
    decisions: list[Decision[S]] = []
    for source in sorted(groups):
        decisions += _Database(sorted(groups[source], key=_age_order, reverse=True), rules, now).decisions()
    return decisions if rules.max_size is None else _fit_into_size(decisions, rules.max_size)


def _age_order(backup: Subject) -> tuple[datetime, str]:
    return backup.timestamp, backup.id


class _Database(Generic[S]):
    """The backups of one database, newest first, and what the rules say of them."""

    def __init__(self, newest_first: Sequence[S], rules: Rules, now: datetime) -> None:
        self._all = newest_first
        self._eligible = [b for b in newest_first if b.timestamp <= now and not _is_set_apart(b)]
        self._position = {backup.id: number for number, backup in enumerate(self._eligible, start=1)}
        self._rules = rules
        self._now = now

    def decisions(self) -> list[Decision[S]]:
        protected, by_rule = self._protected(), self._by_rule()
        decisions = []
        for backup in self._all:
            reason = protected.get(backup.id) or by_rule.get(backup.id)
            decisions.append(Decision(backup=backup, keep=bool(reason), reason=reason or self._removal_reason(backup)))
        return decisions

    def _protected(self) -> dict[str, str]:
        """Return the reason for each backup that no rule can remove."""
        reasons: dict[str, str] = {}
        for backup in self._all:
            if _is_set_apart(backup):
                reasons[backup.id] = "suspicious: kept until `dumpty accept` or `dumpty remove`"
            elif backup.timestamp > self._now:
                reasons[backup.id] = "taken in the future, by this machine's clock: not judged"
        for newest in self._eligible[:1]:
            reasons[newest.id] = "the newest of its database"
        for newest in [b for b in self._eligible if _is_restorable(b)][:1]:
            reasons.setdefault(newest.id, "the newest of its database that is there and has not failed")
        for rank, level in reversed(list(enumerate(LEVELS))):
            for proven in [b for b in self._eligible if _proven_rank(b) >= rank][:1]:
                reasons.setdefault(proven.id, f"the newest proven by {level}")
        for backup in self._all:
            if backup.pinned:
                reasons.setdefault(backup.id, f"pinned {backup.pinned}")
        return reasons

    def _by_rule(self) -> dict[str, str]:
        """Return the reason for each backup that a rule protects."""
        reasons: dict[str, str] = {}
        rules = self._rules
        if rules.keep is not None:
            position = 1
            for backup in self._eligible:
                if position <= rules.keep:
                    reasons.setdefault(backup.id, f"number {position} of the {rules.keep} newest to keep")
                position += _is_restorable(backup)
        for name, (period, key) in _PERIODS.items():
            number = getattr(rules, name)
            if number is not None:
                self._protect_periods(number, period, key, reasons)
        if rules.older_than is not None:
            for backup in self._eligible:
                if self._age(backup) <= rules.older_than:
                    text = f"{age_text(self._age(backup))} old, not older than {age_text(rules.older_than)}"
                    reasons.setdefault(backup.id, text)
        return reasons

    def _protect_periods(
        self, number: int, period: str, key: Callable[[datetime], object], reasons: dict[str, str]
    ) -> None:
        filled: set[object] = set()
        oldest = None
        for backup in self._eligible:
            good = _is_restorable(backup)
            period_key = key(backup.timestamp.astimezone(self._rules.zone))
            if period_key not in filled and len(filled) < number:
                reasons.setdefault(backup.id, f"the newest of its {period}, {len(filled) + 1} of {number} to keep")
                if good:
                    filled.add(period_key)
            if good:
                oldest = backup
        if oldest is not None and len(filled) < number:
            reasons.setdefault(oldest.id, f"the oldest, while fewer than {number} {period}s have a backup")

    def _removal_reason(self, backup: S) -> str:
        """Return why no rule protects a backup."""
        rules, reasons = self._rules, []
        if backup.state == "lost":
            reasons.append("lost, so it counts for nothing")
        if backup.verification_status.failed is not None:
            reasons.append(f"its proof by {backup.verification_status.failed.level} failed, so it counts for nothing")
        if rules.keep is not None:
            reasons.append(f"number {self._position[backup.id]}, beyond the {rules.keep} newest")
        for name, (period, _) in _PERIODS.items():
            number = getattr(rules, name)
            if number is not None:
                reasons.append(f"not the newest of one of the last {number} {period}s")
        if rules.older_than is not None:
            reasons.append(f"{age_text(self._age(backup))} old, older than {age_text(rules.older_than)}")
        return " and ".join(reasons)

    def _age(self, backup: S) -> timedelta:
        return self._now - backup.timestamp


def _is_set_apart(backup: Subject) -> bool:
    """Return whether a backup waits for somebody to look at it; of one that is lost there is nothing to look at."""
    return backup.suspicious and backup.state != "lost"


def _is_restorable(backup: Subject) -> bool:
    """Return whether a backup could be restored, as far as is known, and would bring back what there was."""
    failed = backup.verification_status.failed is not None or backup.state in {"lost", "damaged"}
    return not failed and not backup.suspicious


def _proven_rank(backup: Subject) -> int:
    proven = backup.verification_status.proven if _is_restorable(backup) else None
    return -1 if proven is None else LEVELS.index(proven.level)


def total_size(backups: Iterable[Subject]) -> int:
    """Return how many bytes backups take in the store: what is lost takes none."""
    return sum(b.size_bytes for b in backups if b.state != "lost")


def _fit_into_size(decisions: Sequence[Decision[S]], limit: int) -> list[Decision[S]]:
    """Protect, of what every other rule lets go, the newest that fit into ``limit`` beside what is kept anyway.

    For what is suspicious nothing else goes: it takes no room.
    """
    free_bytes = limit - total_size(d.backup for d in decisions if d.keep and not _is_set_apart(d.backup))
    fits: set[str] = set()
    for decision in sorted((d for d in decisions if not d.keep), key=lambda d: _age_order(d.backup), reverse=True):
        free_bytes -= total_size([decision.backup])
        if free_bytes < 0:
            break
        fits.add(decision.backup.id)
    return [
        d
        if d.keep
        else Decision(backup=d.backup, keep=True, reason=f"fits into {size_text(limit)} in all")
        if d.backup.id in fits
        else Decision(
            backup=d.backup,
            keep=False,
            reason=" and ".join(filter(None, (d.reason, f"beyond {size_text(limit)} in all"))),
        )
        for d in decisions
    ]
