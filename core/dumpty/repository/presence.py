"""Whether the data of a backup is there, and whole by its size: what a manifest says is not believed.

It is looked up in the same listing as the manifests. That is no snapshot, and some stores show late what is new; so
whatever seems to be missing there is asked for by name before it is called lost. Data whose removal was begun and did
not end (``FILE.removed``, while a manifest names it) is put back first.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty.errors import Locked, MissingFile, StoreError
from dumpty.repository.names import MANIFEST, REMOVED, sidecar_name
from dumpty.repository.recovery import clean
from dumpty.types import PRESENT, Presence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dumpty.types import Record, State, Store

__all__ = ["check_presence", "presence_of", "undo_removal"]


def check_presence(store: Store, file: str, size: int, sizes: Mapping[str, int], *, locked: bool = False) -> Presence:
    """Return what became of the object ``file``, which had ``size`` bytes.

    ``sizes`` are those of the store's objects by name, from a listing. A directory counts with all that is in it.
    ``locked``: the caller holds the store's lock, so nothing can be put back.
    """
    if sizes.get(file) == size:
        return PRESENT
    address = store.locate(file)
    try:
        actual_size = store.stat(file).size if locked else _size_after_recovery(store, file)
    except MissingFile:
        return Presence(state="lost", reason=f"its data {address} is gone")
    except StoreError as error:
        return Presence(state="lost", reason=f"its data cannot be had: {error}")
    if actual_size == size:
        return PRESENT
    state: State = "lost" if actual_size < size else "damaged"
    return Presence(state=state, reason=f"its data {address} has {actual_size:,} bytes, and {size:,} were stored")


def undo_removal(store: Store, file: str) -> None:
    """Put the data of a backup back where a removal of it did not end. What prevents that, its reader will meet."""
    with contextlib.suppress(MissingFile, StoreError):
        _size_after_recovery(store, file)


def _size_after_recovery(store: Store, file: str) -> int:
    try:
        return store.stat(file).size
    except MissingFile:
        store.stat(file + REMOVED)
        with contextlib.suppress(StoreError, Locked):
            clean(store)
        return store.stat(file).size


def presence_of(store: Store, records: Iterable[Record], sizes: Mapping[str, int]) -> dict[str, Presence]:
    """Return what became of the data of each backup that is still listed, by id.

    ``sizes``: as for ``check_presence``.
    """
    presences = {}
    for record in records:
        presences_of_objects = (check_presence(store, o.name, o.size, sizes) for o in record.objects)
        presence = next((p for p in presences_of_objects if p is not PRESENT), PRESENT)
        if presence is PRESENT or _is_listed(store, record):
            presences[record.id] = presence
    return presences


def _is_listed(store: Store, record: Record) -> bool:
    """Return whether a backup whose data went was not simply removed meanwhile."""
    try:
        store.stat(sidecar_name(record.file, MANIFEST))
    except MissingFile:
        return False
    except StoreError:  # it was read a moment ago
        return True
    return True
