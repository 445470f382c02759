"""Whether the data of a backup is there, and whole by its size: what a manifest says is not believed.

It is looked up in the same listing as the manifests. That is no snapshot, and some stores show late what is new; so
whatever seems to be missing there is asked for by name before it is called lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.errors import MissingFile, StoreError
from dumpty.types import PRESENT, Presence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dumpty.types import Record, State, Store, StoredObject

__all__ = ["presence_of"]


def presence_of(store: Store, record: Record, sizes: Mapping[str, int]) -> Presence:
    """Return what became of the data of a backup; ``sizes`` are those that a listing shows, in bytes, by name."""
    worst = PRESENT
    for entry in record.objects:
        if sizes.get(entry.name) != entry.size and (presence := _presence_by_name(store, entry)) is not PRESENT:
            worst = presence
            if presence.state == "lost":
                break
    return worst


def _presence_by_name(store: Store, entry: StoredObject) -> Presence:
    address = store.locate(entry.name)
    try:
        size = store.stat(entry.name).size
    except MissingFile:
        return Presence(state="lost", reason=f"its data {address} is gone")
    except StoreError as error:
        return Presence(state="lost", reason=f"its data cannot be had: {error}")
    if size == entry.size:
        return PRESENT
    state: State = "lost" if size < entry.size else "damaged"
    return Presence(state=state, reason=f"its data {address} has {size:,} bytes, and {entry.size:,} were stored")
