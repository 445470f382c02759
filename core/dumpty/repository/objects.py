"""The objects of backups in a store, for whoever reads them."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dumpty.types import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty.types import Found, Reader, Store

__all__ = ["StoredObjects"]


class StoredObjects:
    """The objects in a store: ``dumpty.types.ObjectSource``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, name: str, offset: int = 0) -> Reader:
        return self._store.open(name, offset)

    def local_path(self, name: str) -> Path | None:
        return self._store.path(name) if isinstance(self._store, LocalStore) else None

    def locate(self, name: str) -> str:
        return self._store.locate(name)

    def stat(self, name: str) -> Found:
        """Return what the store itself knows of an object."""
        return self._store.stat(name)

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        with contextlib.ExitStack() as stack:
            path: Path | None = None
            if isinstance(self._store, LocalStore):
                # A directory that can be read but not written still restores: then the system's own place has to do.
                with contextlib.suppress(OSError):
                    path = stack.enter_context(self._store.workspace())
            if path is None:
                system = tempfile.TemporaryDirectory(prefix="dumpty-", ignore_cleanup_errors=True)
                path = Path(stack.enter_context(system))
            yield path
