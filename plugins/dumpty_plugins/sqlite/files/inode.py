"""Which file a name stands for. SQLite locks the file it opened; replacing acts on the name."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def file_at(path: str) -> Iterator[os.stat_result | None]:
    """Tell which file stands at ``path``; no other can get its inode number inside the block.

    A descriptor of kind O_PATH keeps the file without opening it: closing that drops no locks, unlike any other
    (``filp_close`` in Linux). Elsewhere the number alone has to do.
    """
    flags = getattr(os, "O_PATH", None)
    try:
        descriptor = None if flags is None else os.open(path, flags)
    except FileNotFoundError:
        descriptor = None
    try:
        status = None
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(path) if descriptor is None else os.fstat(descriptor)
        yield status
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_same_file(path: str, status: os.stat_result) -> bool:
    """Tell whether ``path`` still stands for the file ``status``."""
    try:
        return os.path.samestat(os.stat(path), status)
    except FileNotFoundError:
        return False
