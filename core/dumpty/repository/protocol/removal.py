"""Removing backups while others pin, back up and remove: announce, look, decide again, and only then delete."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.errors import MissingFile, NotPermitted, StoreError
from dumpty.process.call import commit_point
from dumpty.repository.protocol.dooms import (
    GOES_AHEAD,
    decide_to_go,
    new_doom_name,
    put_doom,
    read_decision,
    read_doom,
    read_dooms,
    withdraw,
)
from dumpty.repository.protocol.layout import DOOM, MANIFEST, PRUNE_FOLDER, Entry, is_commit, parse_listing
from dumpty.repository.protocol.process_identity import active
from dumpty.repository.protocol.taking import take
from dumpty.types import Cap

if TYPE_CHECKING:
    from datetime import datetime

    from dumpty.repository.protocol.layout import Listing
    from dumpty.types import Store

_ADOPTED_UNTIL = timedelta(days=6)

__all__ = ["Decide", "Removal", "remove"]

Decide = Callable[[Mapping[str, Entry]], Iterable[str]]
"""Given the backups there are, by stem, it returns the stems of those to remove."""


class Removal(Struct, frozen=True, kw_only=True):
    """What became of it: stems."""

    removed: frozenset[str] = frozenset()
    retained: frozenset[str] = frozenset()
    """To be removed, and kept by the place until a moment of its own. A later run removes them."""
    announced: frozenset[str] = frozenset()
    """To be removed, by a run a day after it was announced that decides so again: listings of this place may lag."""
    kept: frozenset[str] = frozenset()
    """Decided on, and given up: meanwhile one of them was pinned, or others that they were to outlive are going."""

    def plus(self, other: Removal) -> Removal:
        """Return both as one."""
        return Removal(**{name: getattr(self, name) | getattr(other, name) for name in self.__struct_fields__})


def remove(store: Store, decide: Decide, *, lag: timedelta = timedelta(days=1)) -> Removal:
    """Remove the backups that ``decide`` names; it is asked again once all is announced that others may object to.

    Args:
        store: where they are.
        decide: which are to go of those that are there. What is pinned stays, whatever it says.
        lag: how long listings may lag, where they are not strong.

    Raises:
        NotPermitted: the rights do not suffice.
        StoreError: another failure. Nothing is deleted, or the next recovery finishes it.
    """
    capabilities = store.capabilities()
    if Cap.DELETE not in capabilities:
        raise NotPermitted(f"nothing can be removed from {store.locate('')} with the rights at hand")
    if Cap.STRONG_LIST not in capabilities:
        return _remove_later(store, decide, lag)
    stems, retained = _candidates(parse_listing(store.list()).committed, decide, store.now())
    if not stems:
        return Removal(retained=retained)
    me = new_doom_name()
    # Rights that do not suffice are told of what is not there, too: before anything is announced that nobody can undo.
    store.delete([DOOM + me])
    active.add(me)
    try:
        return _decide_again(store, me, stems, decide, adopted=False).plus(Removal(retained=retained))
    finally:
        active.discard(me)


def _remove_later(store: Store, decide: Decide, lag: timedelta) -> Removal:
    """Go on with what was announced a day ago, and announce what is to go now."""
    listing, now = parse_listing(store.list(PRUNE_FOLDER)), store.now()
    total = Removal()
    for me, found in sorted(listing.dooms.items()):
        age = now - found.modified
        # Where no put is conditional, only time keeps recovery, which withdraws it, and this run apart.
        safe = Cap.CREATE_NEW in store.capabilities() or age < _ADOPTED_UNTIL
        if me not in listing.decisions and lag <= age and safe:
            stems = read_doom(store, me)
            if stems is not None:
                total = total.plus(_decide_again(store, me, stems, decide, adopted=True))
    dooms = read_dooms(store)
    doomed = frozenset().union(*dooms.values())
    committed = parse_listing(store.list()).committed
    live = {stem: entry for stem, entry in committed.items() if stem not in doomed | total.removed}
    stems, retained = _candidates(live, decide, now)
    if stems:
        put_doom(store, new_doom_name(), stems)
    undecided = frozenset().union(*(stems for me, stems in dooms.items() if not read_decision(store, me)))
    waiting = _candidates(committed, decide, now)[0] & undecided - total.removed if undecided else frozenset()
    return total.plus(Removal(announced=stems | waiting, retained=retained))


def _candidates(live: Mapping[str, Entry], decide: Decide, now: datetime) -> tuple[frozenset[str], frozenset[str]]:
    """Return what is to go, and what would be if the place did not say that it retains it."""
    chosen = frozenset(stem for stem in decide(live) if stem in live and not live[stem].pinned(now))
    retained = frozenset(stem for stem in chosen if live[stem].retained(now))
    return chosen - retained, retained


def _decide_again(store: Store, me: str, stems: frozenset[str], decide: Decide, *, adopted: bool) -> Removal:
    """Announce a doom, ask whether somebody objects, and take what it names if nobody does.

    Args:
        store: where it is.
        me: what the doom is called.
        stems: what it names.
        decide: which backups are to go.
        adopted: it was announced by another run, perhaps with other rules; else it is announced now.
    """
    try:
        if not adopted:
            put_doom(store, me, stems)
        # The dooms first, then the names: in the other order two removals may each count on what the other takes.
        others = frozenset().union(*read_dooms(store, without=me).values())
        listing = parse_listing(store.list())
        pinned = _pinned(listing, stems, store.now())
        live = {stem: entry for stem, entry in listing.committed.items() if stem not in others}
        if Cap.STRONG_LIST not in store.capabilities():
            live = {stem: entry for stem, entry in live.items() if stem in stems or _is_there(store, stem)}
        agreed = not pinned and (stems & live.keys()) <= frozenset(decide(live))
        if not agreed and (not adopted or (pinned and Cap.CREATE_NEW in store.capabilities())):
            withdraw(store, me)
        if agreed:
            commit_point()
    except BaseException:
        if not adopted:
            with contextlib.suppress(StoreError):
                withdraw(store, me)
        raise
    if not agreed:
        return Removal(kept=stems & live.keys())
    if not decide_to_go(store, me):
        return _given_up(store, me, stems & listing.committed.keys())
    retained = take(store, me, [listing.entries[stem] for stem in sorted(stems) if stem in listing.entries])
    return Removal(removed=(stems & listing.committed.keys()) - retained, retained=retained)


def _given_up(store: Store, me: str, stems: frozenset[str]) -> Removal:
    """Return what became of a doom on which others have decided: withdrawn, or finished by recovery already."""
    if read_decision(store, me) == GOES_AHEAD:  # another run is at it
        return Removal()
    left = parse_listing(store.list()).committed.keys()
    return Removal(kept=stems & left, removed=stems - left)


def _is_there(store: Store, stem: str) -> bool:
    """Return whether a backup is there that a listing shows which may lag: nothing else may go for its sake if not."""
    try:
        return is_commit(store.stat(stem + MANIFEST))
    except MissingFile:
        return False


def _pinned(listing: Listing, stems: frozenset[str], now: datetime) -> bool:
    return any(stem in listing.entries and listing.entries[stem].pinned(now) for stem in stems)
