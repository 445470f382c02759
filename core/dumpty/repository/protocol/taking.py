"""Deleting what a removal has decided to take."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty.errors import Retained, StoreError
from dumpty.repository.protocol.dooms import clear_doom
from dumpty.repository.protocol.layout import parse_listing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dumpty.repository.protocol.layout import Entry
    from dumpty.types import Found, Store

__all__ = ["take"]


def take(store: Store, me: str, entries: Sequence[Entry]) -> frozenset[str]:
    """Delete backups whose doom's decision is *go*: data, manifests, the rest, doom, decision.

    Whatever ends it, the doom and its decision stay until all is gone, and recovery finishes. That is so, too, where
    the place keeps some of it until a moment of its own, or refuses: a manifest never goes before its data, and what
    can go goes.

    Args:
        store: where they are.
        me: what the doom is called.
        entries: what a listing shows of them that began after they were decided on.

    Returns:
        The stems of which the place retains data, or the manifest.

    Raises:
        NotPermitted: the rights do not suffice.
        StoreError: not all could be deleted.
    """
    failures: list[StoreError] = []
    left = _delete(store, entries, lambda entry: entry.data, failures)
    gone = [entry for entry in entries if entry.stem not in left]
    left |= _delete(store, gone, lambda entry: [entry.manifest] if entry.manifest else [], failures)
    with contextlib.suppress(Retained):  # what stays without its backup recovery knows for nobody's
        store.delete([found.name for entry in gone if entry.stem not in left for found in entry.rest()])
    if failures:
        raise failures[0]
    if not left:
        clear_doom(store, me)
    return left


def _delete(
    store: Store,
    entries: Sequence[Entry],
    part: Callable[[Entry], Sequence[Found]],
    failures: list[StoreError],
) -> frozenset[str]:
    """Delete a part of every entry; return the stems of which some is left, and append why, if it is a failure."""
    try:
        store.delete([found.name for entry in entries for found in part(entry)])
    except StoreError as error:
        failures += [] if isinstance(error, Retained) else [error]
        left = parse_listing(store.list()).entries
        return frozenset(entry.stem for entry in entries if entry.stem in left and part(left[entry.stem]))
    return frozenset()
