"""Scheduled runs that several machines may try: executed at least once, counted exactly once.

Where no put is conditional two that end at the same moment may both be told that theirs counts; one result stays.
"""

from __future__ import annotations

import contextlib
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from dumpty.errors import Exists, MissingFile, StoreError
from dumpty.repository.protocol.beats import BEAT_SECONDS, Beats
from dumpty.repository.protocol.layout import new_nonce
from dumpty.repository.protocol.process_identity import process_identity

if TYPE_CHECKING:
    from types import TracebackType

    from dumpty.types import Found, Store

__all__ = ["Run", "claim", "read_result"]

_SILENCE = timedelta(hours=1)
_FOLDER = ".runs"
_RESULT = ".result"
_CLAIM = re.compile(r"\.claim-(?P<number>[0-9]{1,6})(?:\.beat-[0-9]{1,9})?")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class Run:
    """One claim to a slot, of ``claim``: a block in which the job is done, and that ends with ``finish``.

    Left without it, the claim is given back, and whoever comes next may try at once.
    """

    def __init__(self, store: Store, base: str, number: int, *, beat_seconds: float | None) -> None:
        self._store = store
        self._base = base
        self._name = f"{base}.claim-{number}"
        self.beats = Beats(store, f"{self._name}.beat-", beat_seconds)

    def __enter__(self) -> Self:
        self.beats.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.beats.stop()
        with contextlib.suppress(StoreError):
            self._store.delete([*self.beats.names(), self._name])

    def finish(self, content: bytes) -> bool:
        """Put the result; return whether it is this run's that counts.

        Raises:
            StoreError: it cannot be told.
        """
        header = json.dumps({"version": 1, "claim": self._name, "nonce": new_nonce()}).encode()
        try:
            self._store.put(self._base + _RESULT, header + b"\n" + content)
        except Exists:
            return False
        return True


def claim(
    store: Store, job: str, slot: str, *, silence: timedelta = _SILENCE, beat_seconds: float | None = BEAT_SECONDS
) -> Run | None:
    """Claim a slot of a job; return None where it is done, or somebody is at it.

    Args:
        store: where runs are kept.
        job: its name in plain letters.
        slot: when it is due, the same text on every machine; for a run by hand, one that nobody else has.
        silence: after how long without a beat another one's claim counts no more.
        beat_seconds: how often to beat; None for never.

    Raises:
        ValueError: a name cannot be part of an object's.
        StoreError: it cannot be told.
    """
    base = _base(job, slot)
    objects = [found for found in store.list(f"{_FOLDER}/{job}") if found.name.startswith(base + ".")]
    if any(found.name == base + _RESULT for found in objects):
        return None
    claims = _signs_of_life(base, objects)
    newest = max(claims, default=0)
    if newest and store.now() - max(found.modified for found in claims[newest]) < silence:
        return None
    identity = {"version": 1, "nonce": new_nonce(), **process_identity()}
    run = Run(store, base, newest + 1, beat_seconds=beat_seconds)
    try:
        store.put(f"{base}.claim-{newest + 1}", json.dumps(identity).encode())
    except Exists:
        return None
    # Only now is nobody else let in; whoever was before may have finished, and cleared its claim away.
    if read_result(store, job, slot) is None:
        return run
    with run:
        return None


def read_result(store: Store, job: str, slot: str) -> bytes | None:
    """Return the result that counts, or None where there is none.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        return store.get(_base(job, slot) + _RESULT).partition(b"\n")[2]
    except MissingFile:
        return None


def _base(job: str, slot: str) -> str:
    if not _WORD.fullmatch(job) or not _WORD.fullmatch(slot):
        raise ValueError(f"{job[:80]!r} and {slot[:80]!r} cannot name a run: use letters, digits, '_', '.' and '-'")
    return f"{_FOLDER}/{job}/{slot}"


def _signs_of_life(base: str, objects: list[Found]) -> dict[int, list[Found]]:
    claims: dict[int, list[Found]] = {}
    for found in objects:
        if match := _CLAIM.fullmatch(found.name.removeprefix(base)):
            claims.setdefault(int(match["number"]), []).append(found)
    return claims
