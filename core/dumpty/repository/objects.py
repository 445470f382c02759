"""The objects of a store: the data of backups as they are read; manifests, proofs and pins, read and written whole."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dumpty.errors import MissingFile, StoreError
from dumpty.types import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from dumpty.types import Reader, Store

__all__ = [
    "NOT_DURABLE",
    "StoredObjects",
    "delete_for_good",
    "exists",
    "locked",
    "read_object",
    "sizes_in",
    "write_object",
]

NOT_DURABLE = "a power failure may bring that back"


def exists(store: Store, name: str) -> bool:
    """Return whether a store has an object of this name.

    Raises:
        StoreError: it cannot be told.
    """
    try:
        store.stat(name)
    except MissingFile:
        return False
    return True


def read_object(store: Store, name: str) -> bytes:
    """Return all bytes of an object.

    Raises:
        MissingFile: there is none.
        StoreError: it cannot be read.
    """
    stream = store.open(name)
    try:
        parts = []
        while part := stream.read(-1):
            parts.append(part)
        return b"".join(parts)
    finally:
        stream.close()


def write_object(store: Store, name: str, data: bytes) -> None:
    """Write an object, durably and all at once, in the place of an older one of its name.

    Raises:
        StoreError: it cannot be written; the older one stands.
    """
    upload = store.create(name)
    try:
        upload.write(data)
        upload.commit()
    finally:
        upload.abort()


def delete_for_good(store: Store, name: str) -> str:
    """Delete what is not listed any more; return why it is still there, or "" where it is gone."""
    try:
        store.delete(name)
    except MissingFile:
        return ""
    except StoreError as error:
        with contextlib.suppress(MissingFile, StoreError):
            store.stat(name)
            return str(error)
    return ""


def sizes_in(store: Store) -> dict[str, int]:
    """Return the size of every object in a store, in bytes, by name."""
    return {entry.name: entry.size for entry in store.list()}


def locked(store: Store) -> AbstractContextManager[None]:
    """Hold the lock under which what is listed changes."""
    return store.lock("catalog")


class StoredObjects:
    """The objects of backups in a store, for whoever reads them: ``dumpty.types.ObjectSource``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, name: str, offset: int = 0) -> Reader:
        return self._store.open(name, offset)

    def local_path(self, name: str) -> Path | None:
        return self._store.path(name) if isinstance(self._store, LocalStore) else None

    def locate(self, name: str) -> str:
        return self._store.locate(name)

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
