"""Scheduled runs that several machines may try: executed at least once, counted exactly once.

A slot begins with the time at which it is due. Once that is longer ago than any schedule asks for, nobody can claim it
any more, by the store's clock; so its result is needed no longer, and ``clear_runs`` removes what is left of it.

- A claim looks at the clock last: what it did not find may have been cleared before, and then it is too late by now.
- Of what is cleared the claims go first. Whoever slept meanwhile, and can put a result where one was cleared, finds its
  claim gone.

Where no put is conditional two that end at the same moment may both be told that theirs counts; one result stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from dumpty.errors import Exists, MissingFile, StoreError
from dumpty.repository.protocol.beats import BEAT_SECONDS, Beats
from dumpty.repository.protocol.layout import RUNS_FOLDER, new_nonce, parse_time
from dumpty.repository.protocol.process_identity import process_identity

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from types import TracebackType

    from dumpty.types import Found, Store

__all__ = ["ASKED_FOR", "Run", "claim", "clear_runs", "read_result"]

ASKED_FOR = timedelta(days=400)
"""How long after it was due a slot can be claimed: of a job once a year the latest slot is less than 367 days old."""

_SILENCE = timedelta(hours=1)
_RESULT = ".result"
_CLAIM = re.compile(r"\.claim-(?P<number>[0-9]{1,6})(?:\.beat-[0-9]{1,9})?")
_JOB = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SLOT = re.compile(r"(?P<due>[0-9]{8}T[0-9]{6}Z)(?:[.-][A-Za-z0-9_.-]{0,79})?")
_OBJECT = re.compile(
    rf"(?P<base>{RUNS_FOLDER}/{_JOB.pattern}/(?P<slot>{_SLOT.pattern}))(?:{_CLAIM.pattern}|(?P<result>\{_RESULT}))"
)


class Run:
    """One claim to a slot, of ``claim``: a block in which the job is done, and that ends with ``finish``.

    Left without it, the claim is given back, and whoever comes next may try at once.
    """

    def __init__(self, store: Store, base: str, number: int, *, beat_seconds: float | None) -> None:
        self._store = store
        self._base = base
        self._name = f"{base}.claim-{number}"
        self._pid = os.getpid()
        self.beats = Beats(store, f"{self._name}.beat-", beat_seconds)

    def __enter__(self) -> Self:
        self.beats.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:  # a forked child unwinds its copy of the block: the claim is its parent's
            return
        self.beats.stop()
        with contextlib.suppress(StoreError):
            self._store.delete([*self.beats.names(), self._name])

    def finish(self, content: bytes) -> bool:
        """Put the result; return whether it is this run's that counts.

        Raises:
            StoreError: it cannot be told; so, too, where it took so long that what became of the slot is kept no more.
        """
        header = json.dumps({"version": 1, "claim": self._name, "nonce": new_nonce()}).encode()
        try:
            self._store.put(self._base + _RESULT, header + b"\n" + content)
        except Exists:
            return False
        self._require_claim()
        return True

    def _require_claim(self) -> None:
        try:
            self._store.stat(self._name)
        except MissingFile:
            with contextlib.suppress(StoreError):
                self._store.delete([self._base + _RESULT])
            text = "was due so long ago that it is not known whether another run of it counted; this one does not"
            raise StoreError(f"{self._store.locate(self._base)} {text}") from None


def claim(
    store: Store,
    job: str,
    slot: str,
    *,
    silence: timedelta = _SILENCE,
    beat_seconds: float | None = BEAT_SECONDS,
    asked_for: timedelta = ASKED_FOR,
) -> Run | None:
    """Claim a slot of a job; return None where it is done, or somebody is at it.

    Args:
        store: where runs are kept.
        job: its name in plain letters.
        slot: when it is due, as ``time_text`` writes it, the same text on every machine; for a run by hand when it was
            begun, ``.`` or ``-``, and something that nobody else has.
        silence: after how long without a beat another one's claim counts no more.
        beat_seconds: how often to beat; None for never.
        asked_for: how long after it was due it can be claimed, by the store's clock; ``ASKED_FOR`` at most.

    Raises:
        ValueError: a name cannot be part of an object's, a slot begins with no time, or ``asked_for`` is longer than
            what became of a run is kept.
        StoreError: it cannot be told; so, too, where the slot was due longer ago than ``asked_for``, and has no result.
    """
    if asked_for > ASKED_FOR:
        raise ValueError(f"what became of a run is kept for {ASKED_FOR.days} days, not for {asked_for}")
    base, due = _base(job, slot)
    number = _next_claim(store, base, silence)
    if number is None:
        return None
    identity = {"version": 1, "nonce": new_nonce(), **process_identity()}
    run = Run(store, base, number, beat_seconds=beat_seconds)
    try:
        store.put(f"{base}.claim-{number}", json.dumps(identity).encode())
    except Exists:
        return None
    # Only now is nobody else let in; whoever was before may have finished, and cleared its claim away.
    done = read_result(store, job, slot) is not None
    if not done and store.now() < due + asked_for:
        return run
    with run:
        if done:
            return None
    raise StoreError(
        f"{store.locate(base)} was due more than {asked_for.days} days ago, and what became of such runs is not kept; "
        "ask for a later one"
    )


def _next_claim(store: Store, base: str, silence: timedelta) -> int | None:
    """Return the number of a slot's next claim; None where it is done, or somebody is at it."""
    objects = [found for found in store.list(base.rpartition("/")[0]) if found.name.startswith(base + ".")]
    if any(found.name == base + _RESULT for found in objects):
        return None
    claims = _signs_of_life(base, objects)
    newest = max(claims, default=0)
    if newest and store.now() - max(found.modified for found in claims[newest]) < silence:
        return None
    return newest + 1


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
    claims: dict[str, list[str]] = {}
    results: dict[str, str] = {}
    active: set[str] = set()
    for found in objects:
        match = _OBJECT.fullmatch(found.name)
        due = parse_time(match["due"]) if match else None
        if match is None or due is None or due > due_before:
            continue
        if match["result"]:
            results[match["base"]] = found.name
        else:
            claims.setdefault(match["base"], []).append(found.name)
        if found.modified > silent_since:
            active.add(match["base"])
    old_claims = [name for base, names in claims.items() if base not in active for name in names]
    old_results = [name for base, name in results.items() if base not in active]
    for names in (old_claims, old_results):
        if names:
            store.delete(names)


def read_result(store: Store, job: str, slot: str) -> bytes | None:
    """Return the result that counts, or None where there is none, or none any more.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        return store.get(_base(job, slot)[0] + _RESULT).partition(b"\n")[2]
    except MissingFile:
        return None


def _base(job: str, slot: str) -> tuple[str, datetime]:
    """Return how the names of a slot's objects begin, and when it is due."""
    match = _SLOT.fullmatch(slot)
    due = parse_time(match["due"]) if match else None
    if not _JOB.fullmatch(job) or due is None:
        raise ValueError(
            f"{job[:80]!r} and {slot[:80]!r} cannot name a run: use letters, digits, '_', '.' and '-', and let the "
            "slot begin with the time at which it is due: 20261126T030000Z"
        )
    return f"{RUNS_FOLDER}/{job}/{slot}", due


def _signs_of_life(base: str, objects: list[Found]) -> dict[int, list[Found]]:
    claims: dict[int, list[Found]] = {}
    for found in objects:
        if match := _CLAIM.fullmatch(found.name.removeprefix(base)):
            claims.setdefault(int(match["number"]), []).append(found)
    return claims
