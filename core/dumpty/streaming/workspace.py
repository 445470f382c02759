"""Where a driver may keep what is not encrypted: of an encrypted backup never within the repository."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dumpty.errors import StoreError
from dumpty.process.owned_directory import OwnedDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from dumpty.types import ObjectSource

__all__ = ["workspace_of"]

_PREFIX = "dumpty-plain-"


def workspace_of(repository: ObjectSource, *, encrypted: bool) -> AbstractContextManager[Path]:
    """Return a private, empty directory that is removed at the end of its block.

    Whoever may read a repository, or the disk that it lies on, is to see nothing of a backup that is encrypted: then it
    is in this machine's own place for temporary files (``TMPDIR``), where what a killed run left goes with the next.
    """
    return _private() if encrypted else repository.workspace()


@contextlib.contextmanager
def _private() -> Iterator[Path]:
    parent = tempfile.gettempdir()
    try:
        OwnedDirectory.sweep(parent, _PREFIX)
        owned = OwnedDirectory(parent, _PREFIX)
    except OSError as error:
        raise StoreError(f"cannot make a private directory in {parent} (TMPDIR): {error.strerror or error}") from error
    with owned:
        yield Path(owned.path)
