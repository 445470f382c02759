"""One backup that lies in a repository twice: two runs have copied it there, and neither saw the other's.

Nothing keeps that from happening where there is no lock, and it harms nothing but space: the two are one backup, by
its id, whichever is whole; rules count it once, and it is removed as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.types import Annotations, ListedBackup

__all__ = ["merge_duplicates"]


def merge_duplicates(backups: Sequence[ListedBackup]) -> tuple[ListedBackup, ...]:
    """Return each backup once, in the order given: the one that is whole, with what is said of any of them."""
    by_id: dict[str, ListedBackup] = {}
    for backup in backups:
        known = by_id.get(backup.record.id)
        by_id[backup.record.id] = backup if known is None else _merged(known, backup)
    return tuple(by_id.values())


def _merged(one: ListedBackup, other: ListedBackup) -> ListedBackup:
    kept, left = (other, one) if one.presence.state != "ok" else (one, other)
    return replace(kept, annotations=_both(kept.annotations, left.annotations))


def _both(kept: Annotations, left: Annotations) -> Annotations:
    # A proof of bytes that are not those that are shown says nothing of these.
    return replace(
        kept,
        pinned=kept.pinned or left.pinned,
        accepted=kept.accepted or left.accepted,
        unreadable=(*kept.unreadable, *left.unreadable),
    )
