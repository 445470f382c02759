"""A little space kept back on this machine's own disk, so that backups can be removed from one that is full.

A removal is announced before anything is deleted, and that takes a block. Whoever wants to remove because nothing fits
any more would be refused.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from dumpty.errors import Exists, MissingFile, StoreError
from dumpty.repository.full_disk import is_full
from dumpty.types import Cap

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty.types import Removal, Store

__all__ = ["keep_reserve", "with_reserve"]

_NAMES = tuple(f".prune/reserve-{number}" for number in range(1, 5))
"""As many as a removal makes objects: there may be space, and no room for one more file."""
_BYTES = 1 << 14


def keep_reserve(store: Store) -> None:
    """Put the reserve where there is none; where it does not fit, so be it."""
    with contextlib.suppress(StoreError):
        if Cap.LOCAL not in store.capabilities():
            return
        for name in _NAMES:
            try:
                store.stat(name)
            except MissingFile:
                with contextlib.suppress(Exists):
                    store.put(name, os.urandom(_BYTES))  # nothing that a file system compresses


def with_reserve(store: Store, work: Callable[[], Removal]) -> Removal:
    """Do ``work``, once more with the reserve given up if it fails for want of space."""
    try:
        return work()
    except StoreError as error:
        if not is_full(error) or not _give_up(store):
            raise
    try:
        return work()
    finally:
        keep_reserve(store)


def _give_up(store: Store) -> bool:
    """Delete what of the reserve is there; return whether that was any."""
    given_up = False
    for name in _NAMES:
        with contextlib.suppress(MissingFile, StoreError):
            store.stat(name)
            store.delete([name])
            given_up = True
    return given_up
