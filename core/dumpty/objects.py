"""Small objects of a store, read and written whole: manifests, proofs and pins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.errors import MissingFile

if TYPE_CHECKING:
    from dumpty.types import Store

__all__ = ["is_there", "read_object", "write_object"]


def is_there(store: Store, name: str) -> bool:
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
