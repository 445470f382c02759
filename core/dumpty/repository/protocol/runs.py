"""Scheduled runs that several machines may try: executed at least once, counted exactly once.

A slot begins with the time at which it is due. Once that is longer ago than any schedule asks for, nobody can claim it
any more, by the store's clock; so its result is needed no longer, and ``clear_runs`` removes what is left of it.

- A claim looks at the clock last: what it did not find may have been cleared before, and then it is too late by now.
- Of what is cleared the claims go first. Whoever slept meanwhile, and can put a result where one was cleared, finds its
  claim gone.

Where no put is conditional two that end at the same moment may both be told that theirs counts; one result stays.

A run has a key, from its first claim until it has a result, and for a day: whoever claims it again, because the first
one died, is given the same, and knows by it what the first one has made already.

Two slots of one job can be kept apart, too: whoever claims one puts its claim first, and then looks for those of
others. Of two that do so at the same moment each may see the other, and then both give way. Where listings lag it is no
guarantee.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from dumpty.errors import Exists, Locked, MissingFile, StoreError
from dumpty.repository.protocol.beats import BEAT_SECONDS, Beats
from dumpty.repository.protocol.layout import RUNS_FOLDER, new_key, new_nonce
from dumpty.repository.protocol.process_identity import active, process_identity
from dumpty.repository.protocol.run_slots import BEGUN, RESULT, parse_slot, read_claimant, slots_in
from dumpty.types import StoredRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from types import TracebackType

    from dumpty.types import Store

__all__ = ["ASKED_FOR", "Run", "claim", "list_runs", "read_key", "read_result"]

ASKED_FOR = timedelta(days=400)
"""How long after it was due a slot can be claimed: of a job once a year the latest slot is less than 367 days old."""

_SILENCE = timedelta(hours=1)
_KEY_LASTS = timedelta(days=1)
"""What was made longer ago is no part of a run that goes on now: nobody would take it for today's."""
_MOST_BYTES = 64 * 1024 * 1024


class Run:
    """One claim to a slot, of ``claim``: a block in which the job is done, and that ends with ``finish``.

    Left without it, the claim is given back, and whoever comes next may try at once. ``key`` is the run's: a UUID.
    """

    key = ""

    def __init__(self, store: Store, base: str, number: int, *, beat_seconds: float | None, nonce: str = "") -> None:
        self._store = store
        self._base = base
        self._name = f"{base}.claim-{number}"
        self._nonce = nonce
        self._pid = os.getpid()
        self._finished = False
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
        try:
            with contextlib.suppress(StoreError):
                begun = [self._base + BEGUN] if self._finished else []
                self._store.delete([*self.beats.names(), *begun, self._name])
        finally:
            active.discard(self._nonce)

    def finish(self, content: bytes) -> bool:
        """Put the result; return whether it is this run's that counts.

        Raises:
            StoreError: it cannot be told; so, too, where it took so long that what became of the slot is kept no more.
        """
        header = json.dumps({"version": 1, "claim": self._name, "nonce": new_nonce()}).encode()
        try:
            self._store.put(self._base + RESULT, header + b"\n" + content)
        except Exists:
            self._finished = True
            return False
        self._require_claim()
        self._finished = True
        return True

    def _require_claim(self) -> None:
        try:
            self._store.stat(self._name)
        except MissingFile:
            with contextlib.suppress(StoreError):
                self._store.delete([self._base + RESULT])
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
    alone: bool = False,
) -> Run | None:
    """Claim a slot of a job; return None where it is done, or somebody is at it.

    Args:
        store: where runs are kept.
        job: its name in plain letters.
        slot: when it is due, as ``time_text`` writes it; for a run by hand ``-`` and what nobody else has behind it.
        silence: after how long without a beat another one's claim counts no more.
        beat_seconds: how often to beat; None for never.
        asked_for: how long after it was due it can be claimed, by the store's clock; ``ASKED_FOR`` at most.
        alone: refuse it while somebody is at another slot of the job.

    Raises:
        ValueError: a name cannot be part of an object's, a slot begins with no time, or ``asked_for`` is longer than
            what became of a run is kept.
        Locked: somebody is at another slot, and ``alone`` was asked for; two at the same moment may both be refused.
        StoreError: it cannot be told; so, too, where the slot was due longer ago than ``asked_for``, and has no result.
    """
    if asked_for > ASKED_FOR:
        raise ValueError(f"what became of a run is kept for {ASKED_FOR.days} days, not for {asked_for}")
    base, due = parse_slot(job, slot)
    number = _next_claim(store, job, base, silence)
    run = None if number is None else _put_claim(store, base, number, beat_seconds)
    if run is None:
        return None
    with contextlib.ExitStack() as stack:
        stack.push(run)
        # Only now is nobody else let in; whoever was before may have finished, and cleared its claim away.
        if read_result(store, job, slot) is not None:
            return None
        _require_not_late(store, base, due + asked_for, asked_for)
        if alone:
            _require_alone(store, job, base, silence)
        key = _begin(store, base)
        if key is None or read_result(store, job, slot) is not None:  # whoever was at it meanwhile is done
            return None
        run.key = key
        stack.pop_all()
    return run


def _require_not_late(store: Store, base: str, until: datetime, asked_for: timedelta) -> None:
    if store.now() >= until:
        raise StoreError(
            f"{store.locate(base)} was due more than {asked_for.days} days ago, and what became of such runs is "
            "not kept; ask for a later one"
        )


def _next_claim(store: Store, job: str, base: str, silence: timedelta) -> int | None:
    """Return the number of a slot's next claim; None where it is done, or somebody is at it."""
    for slot in slots_in(store.list(f"{RUNS_FOLDER}/{job}")):
        if slot.base == base:
            return None if slot.done or slot.is_claimed(store, silence) else slot.claim + 1
    return 1


def _put_claim(store: Store, base: str, number: int, beat_seconds: float | None) -> Run | None:
    """Put a claim; return None where somebody else did."""
    nonce = new_nonce()
    active.add(nonce)
    try:
        store.put(f"{base}.claim-{number}", json.dumps({"version": 1, "nonce": nonce, **process_identity()}).encode())
    except BaseException as error:
        active.discard(nonce)
        if isinstance(error, Exists):
            return None
        raise
    return Run(store, base, number, beat_seconds=beat_seconds, nonce=nonce)


def _begin(store: Store, base: str) -> str | None:
    """Return the key of a run, which whoever claims it first puts; None where it is gone, for the run is done.

    Raises:
        StoreError: it cannot be read, or is none.
    """
    key = new_key()
    content = json.dumps({"version": 1, "key": key}).encode()
    try:
        store.put(base + BEGUN, content)
    except Exists:
        try:
            if store.now() - store.stat(base + BEGUN).modified < _KEY_LASTS:
                return _read_key(store, base)
        except MissingFile:
            return None
        store.put(base + BEGUN, content, new=False)
    return key


def _read_key(store: Store, base: str) -> str:
    """Return the key of a run that was begun.

    Raises:
        MissingFile: it was not, or has a result.
        StoreError: it cannot be read, or is none.
    """
    content = store.get(base + BEGUN)
    try:
        return str(uuid.UUID(json.loads(content)["key"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        text = f"{store.locate(base + BEGUN)} is damaged: it says no run's key; delete it to begin that run anew"
        raise StoreError(text) from None


def _require_alone(store: Store, job: str, base: str, silence: timedelta) -> None:
    for slot in slots_in(store.list(f"{RUNS_FOLDER}/{job}")):
        if slot.base != base and slot.is_claimed(store, silence):
            host = read_claimant(store, slot).get("host")
            raise Locked(
                f"another run of the job {job} is going on{f' on {host}' if host else ''}, begun for {slot.slot}, its "
                f"last sign of life at {slot.last_sign:%Y-%m-%d %H:%M:%SZ}; a job never runs twice at once"
            )


def list_runs(store: Store, job: str = "") -> Iterator[StoredRun]:
    """Yield what is known of the runs of a job, or of all jobs, the latest slot first.

    Raises:
        StoreError: they cannot be listed.
    """
    for slot in slots_in(store.list(f"{RUNS_FOLDER}/{job}" if job else RUNS_FOLDER)):
        if not slot.done and not slot.claims:
            continue  # it was given back: nothing came of it, and nobody is at it
        claimed = not slot.done and slot.is_claimed(store, _SILENCE)
        host = read_claimant(store, slot).get("host") if claimed else None
        yield StoredRun(
            job=slot.job,
            slot=slot.slot,
            done=slot.done,
            running=claimed,
            last_sign=slot.last_sign,
            host=host if isinstance(host, str) else "",
        )


def read_result(store: Store, job: str, slot: str) -> bytes | None:
    """Return the result that counts, or None where there is none, or none any more.

    Raises:
        StoreError: it cannot be read.
    """
    name = parse_slot(job, slot)[0] + RESULT
    try:
        if (size := store.stat(name).size) > _MOST_BYTES:
            raise StoreError(f"{store.locate(name)} has {size:,} bytes, which is more than a run writes down")
        return store.get(name).partition(b"\n")[2]
    except MissingFile:
        return None


def read_key(store: Store, job: str, slot: str) -> str | None:
    """Return the key of a run that was begun and has no result yet, or None.

    Raises:
        ValueError: the names are none.
        StoreError: it cannot be read.
    """
    try:
        key = _read_key(store, parse_slot(job, slot)[0])
    except MissingFile:
        return None
    return key if read_result(store, job, slot) is None else None
