"""The runs of jobs, as they lie in a repository: the names of claims, beats and results, and what a listing shows."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from dumpty.errors import MissingFile
from dumpty.repository.protocol.layout import RUNS_FOLDER, parse_time
from dumpty.repository.protocol.process_identity import is_over
from dumpty.types import Cap

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from dumpty.types import Found, Store

__all__ = ["BEGUN", "RESULT", "Slot", "clear_runs", "is_job_name", "parse_slot", "read_claimant", "slots_in"]

RESULT = ".result"
BEGUN = ".begun"
_CLAIM = re.compile(r"\.claim-(?P<number>[0-9]{1,6})(?:\.beat-[0-9]{1,9})?")
_JOB = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SLOT = re.compile(r"(?P<due>[0-9]{8}T[0-9]{6}Z)(?:[.-][A-Za-z0-9_.-]{0,79})?")
_OBJECT = re.compile(
    rf"(?P<base>{RUNS_FOLDER}/(?P<job>{_JOB.pattern})/(?P<slot>{_SLOT.pattern}))"
    rf"(?:{_CLAIM.pattern}|(?P<result>\{RESULT})|(?P<begun>\{BEGUN}))"
)


class Slot(NamedTuple):
    """What a listing shows of one slot of a job.

    ``base`` is how the names of its objects begin, ``claims`` those of claims and their beats, ``claim`` the number of
    the newest claim (0 where there is none), ``begun`` whether it has a key, ``last_sign`` when its claimant wrote
    something last, ``changed`` when anybody did, by the store's clock.
    """

    job: str
    slot: str
    base: str
    done: bool
    begun: bool
    claims: tuple[str, ...]
    claim: int
    last_sign: datetime | None
    changed: datetime

    @property
    def due(self) -> datetime | None:
        """When it was due; None where its name says no time that there is."""
        match = _SLOT.fullmatch(self.slot)
        return parse_time(match["due"]) if match else None

    @property
    def leftovers(self) -> tuple[str, ...]:
        """The names of all its objects but the result's."""
        return (*self.claims, *([self.base + BEGUN] if self.begun else []))

    @property
    def claim_name(self) -> str:
        """The name of the newest claim."""
        return f"{self.base}.claim-{self.claim}"

    def is_claimed(self, store: Store, silence: timedelta) -> bool:
        """Return whether somebody is at it: without a result, and a sign of life that is not older than ``silence``.

        On this machine's own disk the claim of a process that is gone counts no more, however young it is.

        Raises:
            StoreError: it cannot be told.
        """
        if self.done or self.last_sign is None:
            return False
        # A sign from the future is one of a clock that was wrong, and would count for years.
        if abs(store.now() - self.last_sign) >= silence:
            return False
        return Cap.LOCAL not in store.capabilities() or not is_over(read_claimant(store, self))


def slots_in(objects: Iterable[Found]) -> list[Slot]:
    """Return the slots that a listing shows, the latest first."""
    found_by_base: dict[str, list[tuple[int | None, Found]]] = {}
    names: dict[str, tuple[str, str]] = {}
    for found in objects:
        if match := _OBJECT.fullmatch(found.name):
            names[match["base"]] = match["job"], match["slot"]
            number = None if match["begun"] else int(match["number"] or 0)
            found_by_base.setdefault(match["base"], []).append((number, found))
    slots = [_slot(base, *names[base], numbered) for base, numbered in found_by_base.items()]
    return sorted(slots, key=lambda slot: (slot.slot, slot.job), reverse=True)


def _slot(base: str, job: str, slot: str, numbered: list[tuple[int | None, Found]]) -> Slot:
    newest = max(number or 0 for number, _ in numbered)
    signs = [found.modified for number, found in numbered if number == newest and number]
    return Slot(
        job=job,
        slot=slot,
        base=base,
        done=any(number == 0 for number, _ in numbered),
        begun=any(number is None for number, _ in numbered),
        claims=tuple(found.name for number, found in numbered if number),
        claim=newest,
        last_sign=max(signs, default=None),
        changed=max(found.modified for _, found in numbered),
    )


def read_claimant(store: Store, slot: Slot) -> dict[str, object]:
    """Return what the newest claim to a slot says of the process that put it; {} where it is gone, or says nothing.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        identity = json.loads(store.get(slot.claim_name))
    except (MissingFile, ValueError, RecursionError):
        return {}
    return identity if isinstance(identity, dict) else {}


def clear_runs(store: Store, objects: Iterable[Found], due_before: datetime, silent_since: datetime) -> None:
    """Remove all that is left of the runs of slots that nobody can claim any more.

    Args:
        store: where runs are kept.
        objects: what a listing shows of them.
        due_before: the slots that were due by then, at the latest when ``claim`` refuses them.
        silent_since: of which nothing was written after that: whoever is at one goes on.

    Raises:
        StoreError: not all could be removed.
    """
    due = ((slot, slot.due) for slot in slots_in(objects))
    old = [s for s, when in due if when is not None and when <= due_before and s.changed <= silent_since]
    for names in ([name for slot in old for name in slot.leftovers], [slot.base + RESULT for slot in old if slot.done]):
        if names:
            store.delete(names)


def is_job_name(name: str) -> bool:
    """Return whether a job can have this name."""
    return _JOB.fullmatch(name) is not None


def parse_slot(job: str, slot: str) -> tuple[str, datetime]:
    """Return how the names of a slot's objects begin, and when it is due.

    Raises:
        ValueError: its name, or the job's, cannot be part of an object's, or it begins with no time.
    """
    match = _SLOT.fullmatch(slot)
    due = parse_time(match["due"]) if match else None
    if not _JOB.fullmatch(job) or due is None:
        raise ValueError(
            f"{job[:80]!r} and {slot[:80]!r} cannot name a run: use letters, digits, '_', '.' and '-', and let the "
            "slot begin with the time at which it is due: 20261126T030000Z"
        )
    return f"{RUNS_FOLDER}/{job}/{slot}", due
