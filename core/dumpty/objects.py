"""Small objects of a store, read and written whole: manifests, proofs and pins."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dumpty.types import Store

__all__ = ["read_object", "write_object"]


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
