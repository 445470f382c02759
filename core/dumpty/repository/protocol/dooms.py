"""Dooms, and what was decided of each: go, or withdrawn.

A doom says what a removal means to take, before it looks who objects. Whoever puts ``.prune/go-ME`` first decides:
the removal itself (go), or whoever takes it for dead or objects (withdrawn). The doom goes before its decision, so a
removal that wakes up and may put a decision again finds that its doom is gone.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from dumpty.errors import Exists, MissingFile, StoreError
from dumpty.repository.protocol.layout import DOOM, GO, PRUNE_FOLDER, is_stem, new_nonce, parse_listing
from dumpty.repository.protocol.process_identity import is_over, process_identity
from dumpty.types import Cap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty.types import Store

__all__ = [
    "GOES_AHEAD",
    "clear_doom",
    "decide_to_go",
    "is_abandoned",
    "new_doom_name",
    "put_doom",
    "read_decision",
    "read_doom",
    "read_dooms",
    "withdraw",
]

_VERSION = 1
_log = logging.getLogger("dumpty")
GOES_AHEAD, _WITHDRAWN = "go", "withdrawn"


def new_doom_name() -> str:
    """Return what a doom is called that nobody else has."""
    return new_nonce() + new_nonce()


def put_doom(store: Store, me: str, stems: Iterable[str]) -> None:
    """Announce that backups are to be removed.

    Raises:
        StoreError: it could not be put; should it yet appear, recovery withdraws it.
    """
    content = {"version": _VERSION, "nonce": me, "stems": sorted(stems), **process_identity()}
    store.put(DOOM + me, json.dumps(content).encode())


def is_abandoned(store: Store, me: str) -> bool:
    """Return whether whoever put a doom on this machine's own disk has ended, and nobody will decide.

    Where listings lag a doom waits for a later run, which decides.

    Raises:
        StoreError: it cannot be read.
    """
    return Cap.LOCAL | Cap.STRONG_LIST in store.capabilities() and is_over(_read(store, DOOM + me))


def read_doom(store: Store, me: str) -> frozenset[str] | None:
    """Return the stems of a doom, or None where there is none of this name.

    Raises:
        StoreError: it cannot be read, or understood.
    """
    content = _read(store, DOOM + me)
    if content is None:
        return None
    stems = content.get("stems")
    if content.get("version") != _VERSION or not isinstance(stems, list) or not all(map(is_stem, stems)):
        where = store.locate(DOOM + me)
        raise StoreError(f"{where} says in a way unknown to this dumpty what is to be removed; use the newest dumpty")
    return frozenset(stems)


def read_decision(store: Store, me: str) -> str:
    """Return ``GOES_AHEAD``, ``withdrawn``, or "" where nothing is decided.

    Raises:
        StoreError: it cannot be read, or understood.
    """
    content = _read(store, GO + me)
    if content is None:
        return ""
    decision = content.get("decision")
    if content.get("version") != _VERSION or decision not in {GOES_AHEAD, _WITHDRAWN}:
        raise StoreError(f"{store.locate(GO + me)} is no decision that this dumpty knows; use the newest dumpty")
    return str(decision)


def read_dooms(store: Store, *, without: str = "") -> dict[str, frozenset[str]]:
    """Return the stems of every doom but one's own, as far as it was not withdrawn.

    Raises:
        StoreError: they cannot be read.
    """
    listing = parse_listing(store.list(PRUNE_FOLDER))
    dooms = {}
    for me in sorted(listing.dooms.keys() - {without}):
        stems = read_doom(store, me)
        # Where a doom cannot be deleted (an account that only adds, a place that retains) it stays, withdrawn.
        if stems is not None and (me not in listing.decisions or read_decision(store, me) != _WITHDRAWN):
            dooms[me] = stems
    return dooms


def decide_to_go(store: Store, me: str) -> bool:
    """Decide that a removal goes ahead; return False where others have decided: withdrawn, or done already.

    Raises:
        StoreError: the answer was lost. The decision may yet appear: leave the doom to recovery.
    """
    try:
        if not _decide(store, me, GOES_AHEAD):
            return False
    except StoreError:
        # On this machine's own disk (a full one, perhaps) nothing is on its way any more: nobody decided, nor will.
        if Cap.LOCAL | Cap.STRONG_LIST in store.capabilities() and not read_decision(store, me):
            clear_doom(store, me)
        raise
    if read_doom(store, me) is None:  # it was withdrawn or finished, and the decision is cleared away already
        store.delete([GO + me])
        return False
    return True


def withdraw(store: Store, me: str) -> bool:
    """Withdraw a doom; return False where its removal goes ahead.

    True says no more than that it does not go ahead any more: what is asked for may be gone already.

    Raises:
        StoreError: nothing is known of it.
    """
    if not _decide(store, me, _WITHDRAWN) and read_decision(store, me) == GOES_AHEAD:
        return False
    clear_doom(store, me)
    return True


def clear_doom(store: Store, me: str) -> None:
    """Delete a doom that is done with, then its decision. What stays says what it said; recovery tries again."""
    try:
        store.delete([DOOM + me])
        store.delete([GO + me])
    except StoreError as error:
        _log.info("%s could not be deleted: %s", store.locate(DOOM + me), error, extra={"event": "left-behind"})


def _decide(store: Store, me: str, decision: str) -> bool:
    content = {"version": _VERSION, "decision": decision, "nonce": new_nonce()}
    try:
        store.put(GO + me, json.dumps(content).encode())
    except Exists:
        return False
    return True


def _read(store: Store, name: str) -> dict[str, Any] | None:
    try:
        data = store.get(name)
    except MissingFile:
        return None
    try:
        content = json.loads(data)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
