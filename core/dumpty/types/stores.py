"""Stores and the objects in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dumpty.types.streams import Buffer, Reader


@dataclass(frozen=True, kw_only=True)
class Found:
    """One object in a store: its bare name and its size in bytes."""

    name: str
    size: int


class Upload(Protocol):
    """One object on its way into a store. Nothing is visible under its name before ``commit``."""

    def write(self, data: Buffer, /) -> int:
        """Take every byte and return their number, or raise."""
        ...

    def commit(self) -> None:
        """Make the object durable and visible, all at once, or raise."""
        ...

    def abort(self) -> None:
        """Drop it. Harmless after ``commit`` or another ``abort``."""
        ...


class Store(Protocol):
    """A flat space of objects: names are bare, without separators.

    Every method raises ``StoreError`` (``MissingFile`` for a missing object). All may be called from several
    threads and processes.
    """

    def create(self, name: str) -> Upload:
        """Begin an object. An existing object of that name is replaced only by ``commit``."""
        ...

    def open(self, name: str, offset: int = 0) -> Reader:
        """Read an object from ``offset`` bytes on."""
        ...

    def stat(self, name: str) -> Found:
        """Return name and size, or raise ``MissingFile``."""
        ...

    def list(self) -> Iterator[Found]:
        """Yield every committed object, in no order."""
        ...

    def rename(self, name: str, new: str) -> None:
        """Give an object another name, durably and all at once, or raise and leave it."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object for good, or raise and leave it."""
        ...

    def locate(self, name: str) -> str:
        """Return where a person finds the object: a path, or a URL without secrets. It need not exist."""
        ...

    def clean(self) -> Iterator[str]:
        """Yield the name of each object whose writer died before ``commit``; resumed, remove what it left.

        What a live writer still writes is never touched.
        """
        ...

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold the named lock against every other user of the store; raises ``Locked`` after a bounded wait."""
        ...


@runtime_checkable
class LocalStore(Store, Protocol):
    """A store whose objects are files on this machine: spares copies, and may hold directories as objects."""

    def path(self, name: str) -> Path:
        """Return the object's path. It is only to be read."""
        ...

    def workspace(self) -> AbstractContextManager[Path]:
        """Return a private, empty directory on the store's own file system, removed at the end of the block."""
        ...


@runtime_checkable
class DirectoryUpload(Upload, Protocol):
    """An upload that can also take a directory of files, instead of a stream."""

    def directory(self) -> Path:
        """Return the empty directory that ``commit`` will make visible."""
        ...
