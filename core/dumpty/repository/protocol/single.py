"""Of several attempts at one backup, under one id, one is committed: whoever made them, and whoever died.

An attempt puts its intent, and then looks for the others of its id. What is committed already is the backup, and the
attempt is given up. What is on its way gets a tombstone in its manifest's place, and can never commit; where its
manifest was faster, that is the backup. Of any two attempts at least one looks when the other's intent is there, so
never are both committed. Both may be forbidden, by each other: then nothing is committed, and whoever tries again may.

Where no put is conditional, or listings lag, two may both be committed. They are one backup then, by its id, that lies
there twice (``repository.duplicates``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.errors import MissingFile
from dumpty.repository.protocol.attempt import not_durable
from dumpty.repository.protocol.layout import MANIFEST, is_commit, parse_listing, stem_parts
from dumpty.repository.protocol.recovery import forbid
from dumpty.types import Cap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty.types import Store

__all__ = ["committed_attempts"]


def committed_attempts(store: Store, stem: str) -> Iterator[str]:
    """Yield the stems of the same backup that are committed, and forbid all others but ``stem`` to be.

    Args:
        store: where.
        stem: of the attempt that looks; its intent was put.

    Raises:
        StoreError: they cannot be listed, or it cannot be told what becomes of one.
    """
    folder, _, id_start = stem_parts(stem)
    conditional = Cap.CREATE_NEW in store.capabilities()
    for entry in parse_listing(store.list(folder)).entries.values():
        if entry.stem == stem or stem_parts(entry.stem)[2] != id_start or entry.stem in not_durable:
            continue
        on_its_way = entry.manifest is None and entry.intent is not None
        if (
            entry.committed
            or (on_its_way and conditional and not forbid(store, entry.stem))
            or (entry.data and not entry.intent and not entry.manifest and _is_committed(store, entry.stem))
        ):
            yield entry.stem


def _is_committed(store: Store, stem: str) -> bool:
    """Return whether what a listing shows neither intent nor manifest of was committed while it was made."""
    try:
        return is_commit(store.stat(stem + MANIFEST))
    except MissingFile:
        return False
