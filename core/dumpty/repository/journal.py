"""Marks of files that become visible together with a manifest, or not at all: ``FILE.pending``.

A mark is an upload that is never committed, so that a killed process leaves it, for ``recovery`` to find.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty.repository.objects import exists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty.types import Store, Upload

__all__ = ["PENDING", "committing", "mark_pending"]

PENDING = ".pending"


@contextlib.contextmanager
def committing(store: Store, is_listed: Callable[[str], bool], *files: str) -> Iterator[Callable[[], None]]:
    """Hold the lock under which what is listed changes, and mark files, as ``mark_pending`` does."""
    with store.lock("catalog"), mark_pending(store, is_listed, *files) as confirm_removed:
        yield confirm_removed


@contextlib.contextmanager
def mark_pending(store: Store, is_listed: Callable[[str], bool], *files: str) -> Iterator[Callable[[], None]]:
    """Mark files within the block, which calls what it gets once it has seen to it that none is there.

    After a failure a mark goes only with the doubt. An interrupt can come up between any two steps, and so also where
    nobody takes the data back: then the mark stays, and the next ``clean`` does.

    Args:
        store: where they are, or will be.
        is_listed: tells whether a manifest names a file.
        files: their names.
    """
    marks: list[tuple[str, Upload]] = []
    settled = False

    def confirm_removed() -> None:
        nonlocal settled
        settled = True

    try:
        marks.extend((file, store.create(file + PENDING)) for file in files)
        yield confirm_removed
    except BaseException:
        with contextlib.suppress(Exception):  # the failure that led here is the one to report
            for file, mark in marks:
                if settled or is_listed(file) or not exists(store, file):
                    mark.abort()
        raise
    for _, mark in marks:
        mark.abort()
