"""Which file a name stands for. SQLite locks the file it opened; replacing acts on the name."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def standing_at(path: str) -> Iterator[os.stat_result | None]:
    """Tell which file stands at ``path``; no other can get its inode number inside the block.

    A descriptor of kind O_PATH keeps the file without opening it: closing that drops no locks, unlike any other
    (``filp_close`` in Linux). Elsewhere the number alone has to do.
    """
    kind = getattr(os, "O_PATH", None)
    try:
        held = None if kind is None else os.open(path, kind)
    except FileNotFoundError:
        held = None
    try:
        found = None
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(path) if held is None else os.fstat(held)
        yield found
    finally:
        if held is not None:
            os.close(held)


def is_at(path: str, found: os.stat_result) -> bool:
    """Tell whether ``path`` still stands for the file ``found``."""
    try:
        return os.path.samestat(os.stat(path), found)
    except FileNotFoundError:
        return False
