"""What ended processes left: attempts that are taken for dead, dooms of removals that sleep, what is nobody's any more.

A wrong guess of death costs one failed backup, never a committed one: the tombstone takes the manifest's place, or the
manifest was there first. It costs a removal its doom, never what it kept.
"""

from __future__ import annotations

import contextlib
import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.errors import Exists, MissingFile, Retained, StoreError
from dumpty.repository.protocol.dooms import GOES_AHEAD, is_abandoned, read_decision, read_doom, withdraw
from dumpty.repository.protocol.layout import (
    DOOM,
    GO,
    MANIFEST,
    RUNS_FOLDER,
    TOMBSTONE,
    expiry,
    is_commit,
    parse_listing,
)
from dumpty.repository.protocol.process_identity import is_over, is_running
from dumpty.repository.protocol.run_slots import clear_runs
from dumpty.repository.protocol.runs import ASKED_FOR
from dumpty.repository.protocol.taking import take
from dumpty.types import Cap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from dumpty.repository.protocol.layout import Entry, Listing
    from dumpty.types import Store

__all__ = ["Patience", "forbid", "recover", "recover_pins"]

_log = logging.getLogger("dumpty")


class Patience(Struct, frozen=True, kw_only=True):
    """How long what gives no sign of life is left alone, by the store's clock."""

    silence: timedelta = timedelta(hours=1)
    """An attempt without a beat, a doom without a decision."""

    lagging_silence: timedelta = timedelta(days=1)
    """The same of an attempt where listings lag, and show beats late."""

    unconditional_silence: timedelta = timedelta(days=7)
    """The same where no put is conditional, and nothing but time keeps recovery and the living apart."""

    running_silence: timedelta = timedelta(days=7)
    """The same of an attempt whose process is seen to run on this machine."""

    late_doom: timedelta = timedelta(days=35)
    """A doom where listings lag: it waits for a day, and for the run that decides, which may come once a month."""

    tombstone: timedelta = timedelta(days=7)

    run: timedelta = ASKED_FOR + timedelta(days=7)
    """All of a run, from when it was due: for longer than it can be claimed, should the store's clock be set back."""

    sleeping_run: timedelta = timedelta(days=7)
    """The same from the last sign of life on."""

    upload: timedelta = timedelta(days=1)
    """What an upload left; on this machine's own disk it is known who lives, and nothing waits."""


_PATIENCE = Patience()


def recover(store: Store, folder: str = "", *, patience: Patience = _PATIENCE) -> None:
    """Remove what attempts left that are dead, and finish or withdraw removals that are; clear old runs away.

    Before a backup into a place where each request takes long its own folder is enough, and all else is left to whoever
    removes, or clears: a removal that is dead withdraws from who pins, and the rest takes nothing but room.

    What cannot be removed now (it is retained, or another error) is left to the next recovery, and logged.

    Args:
        store: where.
        folder: only the attempts of one database; "" is everything.
        patience: how long it waits for a sign of life.

    Raises:
        StoreError: the repository cannot be listed.
    """
    capabilities = store.capabilities()
    if Cap.DELETE not in capabilities:
        return  # an account that only adds
    now = store.now()
    listing = parse_listing(store.list(folder))
    silence, doom_silence = _silences(capabilities, patience)
    for entry in listing.entries.values():
        if entry.committed and not (entry.intent or entry.beats or entry.pins):
            continue  # a backup, and nothing else: there may be thousands
        with _left_for_later(entry.stem):
            _recover_attempt(store, entry, now, silence, patience)
            _recover_rest(store, entry, now, patience)
    if folder:
        return
    for me in listing.dooms.keys() | listing.decisions.keys():
        with _left_for_later(DOOM + me):
            _recover_doom(store, me, listing, now, doom_silence)
    with _left_for_later(RUNS_FOLDER):
        clear_runs(store, listing.runs, due_before=now - patience.run, silent_since=now - patience.sleeping_run)
    with _left_for_later("what uploads left"):
        store.sweep(timedelta(0) if Cap.LOCAL | Cap.STRONG_LIST in capabilities else patience.upload)


def recover_pins(store: Store, *, patience: Patience = _PATIENCE) -> None:
    """Remove the pins of readers that hold no more, or whose process is known to be gone, before a removal.

    Raises:
        StoreError: the repository cannot be listed.
    """
    now = store.now()
    for entry in parse_listing(store.list()).committed.values():
        if not entry.pins:
            continue  # there may be thousands
        with _left_for_later(entry.stem):
            _recover_pins(store, entry, now, patience)


def _silences(capabilities: Cap, patience: Patience) -> tuple[timedelta, timedelta]:
    """Return how long attempts and dooms must be silent."""
    silence = doom_silence = patience.silence
    if Cap.STRONG_LIST not in capabilities:
        silence, doom_silence = max(silence, patience.lagging_silence), max(doom_silence, patience.late_doom)
    if Cap.CREATE_NEW not in capabilities:
        silence = max(silence, patience.unconditional_silence)
        doom_silence = patience.unconditional_silence
    return silence, doom_silence


def _recover_attempt(store: Store, entry: Entry, now: datetime, silence: timedelta, patience: Patience) -> None:
    signs = [*entry.beats, *([entry.intent] if entry.intent else [])]
    dead = _looks_dead(store, entry, now, silence, patience)
    # A manifest that was damaged may have its size by chance.
    forbidden = entry.tombstone and (not entry.data or store.get(entry.stem + MANIFEST) == TOMBSTONE)
    if entry.intent is not None and entry.manifest is None and dead:
        forbidden = forbid(store, entry.stem)
    if forbidden:
        store.delete([found.name for found in entry.data])
    if signs and dead:  # the data first: nobody knows of it without these
        store.delete([found.name for found in signs])


def _looks_dead(store: Store, entry: Entry, now: datetime, silence: timedelta, patience: Patience) -> bool:
    signs = [*entry.beats, *([entry.intent] if entry.intent else [])]
    silent = min((now - found.modified for found in signs), default=patience.running_silence)
    if entry.intent is None or Cap.LOCAL not in store.capabilities():
        return silent >= silence
    try:
        identity = json.loads(store.get(entry.intent.name))
    except (MissingFile, ValueError):
        return silent >= silence
    if is_running(identity) and not is_over(identity):
        # This machine slept, or its clock jumped, and the next beat is on its way.
        return silent >= max(silence, patience.running_silence)
    return silent >= silence or is_over(identity)


def forbid(store: Store, stem: str) -> bool:
    """Put a tombstone; return whether there is one, and so whether the attempt can never commit."""
    try:
        store.put(stem + MANIFEST, TOMBSTONE)
    except Exists:
        return store.get(stem + MANIFEST) == TOMBSTONE
    return True


def _recover_rest(store: Store, entry: Entry, now: datetime, patience: Patience) -> None:
    annotations = [found.name for found in (*entry.pins, *entry.notes)]
    if entry.committed:
        _recover_pins(store, entry, now, patience)
    elif entry.data or entry.intent or entry.beats:
        return  # of what has neither intent nor manifest nothing is known, and nothing is touched
    elif annotations:
        if not _has_manifest(store, entry.stem):  # asked for by name: a listing is no snapshot
            store.delete(annotations)
    elif entry.manifest is not None and now - entry.manifest.modified >= patience.tombstone:
        store.delete([entry.manifest.name])


def _recover_pins(store: Store, entry: Entry, now: datetime, patience: Patience) -> None:
    """Remove those of readers that have expired, or whose process is known to be gone."""
    local = Cap.LOCAL | Cap.STRONG_LIST in store.capabilities()
    unneeded = [
        pin.name
        for pin in entry.pins
        if (until := expiry(pin.name)) and (now - until >= patience.silence or (local and _has_ended(store, pin.name)))
    ]
    if unneeded:
        store.delete(unneeded)


def _has_ended(store: Store, claim: str) -> bool:
    """Return whether whoever put an object on this machine's own disk is gone, or has done with it."""
    try:
        return is_over(json.loads(store.get(claim)))
    except (MissingFile, ValueError):
        return False


def _has_manifest(store: Store, stem: str) -> bool:
    try:
        return is_commit(store.stat(stem + MANIFEST))
    except MissingFile:
        return False


def _recover_doom(store: Store, me: str, listing: Listing, now: datetime, silence: timedelta) -> None:
    if me not in listing.dooms:
        # The doom is put before its decision: where it is gone now, it never comes back.
        if read_doom(store, me) is None:
            store.delete([GO + me])
        return
    if not _is_decided(store, me, listing):
        signs = [found for found in (listing.dooms.get(me), listing.decisions.get(me)) if found is not None]
        alive = any(now - found.modified < silence for found in signs) and not is_abandoned(store, me)
        if alive or withdraw(store, me):
            return
    stems = read_doom(store, me)
    if stems is not None:
        entries = parse_listing(store.list()).entries
        take(store, me, [entries[stem] for stem in stems if stem in entries])


def _is_decided(store: Store, me: str, listing: Listing) -> bool:
    """Return whether a removal goes ahead, for certain: then anybody may finish it, beside whoever decided it."""
    conditional = Cap.CREATE_NEW in store.capabilities()
    return conditional and me in listing.decisions and read_decision(store, me) == GOES_AHEAD


@contextlib.contextmanager
def _left_for_later(name: str) -> Iterator[None]:
    try:
        yield
    except Retained as error:
        _log.info("%s is kept for now: %s", name, error, extra={"event": "retained"})
    except (MissingFile, StoreError) as error:
        text = "%s is of no use any more, and could not be removed: %s; the next recovery tries again"
        _log.warning(text, name, error, extra={"event": "left-behind"})
