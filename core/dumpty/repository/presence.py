"""Whether the data of a backup is there, and whole by its size: what a manifest says is not believed.

It is looked up in the same listing as the manifests. That is no snapshot, and some stores show late what is new; so
whatever seems to be missing there is asked for by name before it is called lost. Data whose removal was begun and did
not end (``FILE.removed``, while a manifest names it) is put back first.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dumpty.errors import Locked, MissingFile, StoreError
from dumpty.repository.names import MANIFEST, REMOVED, name_beside
from dumpty.repository.recovery import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dumpty.repository.manifest import Record
    from dumpty.types import Store

__all__ = ["HERE", "Presence", "State", "look", "presence_of", "put_back"]

State = Literal["ok", "lost", "damaged"]


@dataclass(frozen=True, kw_only=True)
class Presence:
    """What became of a backup's data: ``ok``, ``lost`` (gone, or short) or ``damaged`` (longer), and what was seen."""

    state: State = "ok"
    reason: str = ""


HERE = Presence()


def look(store: Store, file: str, size: int, sizes: Mapping[str, int], *, locked: bool = False) -> Presence:
    """Return what became of the object ``file``, which had ``size`` bytes.

    ``sizes`` are those of the store's objects by name, from a listing. A directory counts with all that is in it.
    ``locked``: the caller holds the store's lock, so nothing can be put back.
    """
    if sizes.get(file) == size:
        return HERE
    where = store.locate(file)
    try:
        found = store.stat(file).size if locked else _found(store, file)
    except MissingFile:
        return Presence(state="lost", reason=f"its data {where} is gone")
    except StoreError as error:
        return Presence(state="lost", reason=f"its data cannot be had: {error}")
    if found == size:
        return HERE
    state: State = "lost" if found < size else "damaged"
    return Presence(state=state, reason=f"its data {where} has {found:,} bytes, and {size:,} were stored")


def put_back(store: Store, file: str) -> None:
    """Put the data of a backup back where a removal of it did not end. What prevents that, its reader will meet."""
    with contextlib.suppress(MissingFile, StoreError):
        _found(store, file)


def _found(store: Store, file: str) -> int:
    try:
        return store.stat(file).size
    except MissingFile:
        store.stat(file + REMOVED)
        with contextlib.suppress(StoreError, Locked):
            clean(store)
        return store.stat(file).size


def presence_of(store: Store, records: Iterable[Record], sizes: Mapping[str, int]) -> dict[str, Presence]:
    """Return what became of the data of each backup that is still listed, by id; ``sizes`` as for ``look``."""
    found = {}
    for record in records:
        presence = look(store, record.file, record.stored_size, sizes)
        if presence is HERE or _is_listed(store, record):
            found[record.id] = presence
    return found


def _is_listed(store: Store, record: Record) -> bool:
    """Return whether a backup whose data went was not simply removed meanwhile."""
    try:
        store.stat(name_beside(record.file, MANIFEST))
    except MissingFile:
        return False
    except StoreError:  # it was read a moment ago
        return True
    return True
