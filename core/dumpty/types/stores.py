"""Stores, the objects in them, and what a store can do: the whole contract of a plugin for a place.

A store holds named objects, each written once and never changed. Two machines that share one have nothing else to
agree by: no lock, no rename, no clock in common. So the contract is small, and exact where it must be:

- A name is ``FOLDER/REST`` or deeper: one to four segments of letters, digits, ``_``, ``.`` and ``-`` (ASCII), none of
  them ``.`` or ``..``, at most 200 characters each and 400 together (``check_object_name``). No name is a folder of
  another. Whatever else a place holds is nobody's: not listed, not touched.
- An object is there whole or not at all, whatever ends its writer. What was written is durable when the call returns.
- Every method raises ``StoreError`` (``MissingFile`` for a missing object), or what is said of it below, within a
  bounded time, however the place behaves. Nothing retries but the store itself, and only what is harmless to do twice.
  All may be called from several threads and processes.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import Flag, auto
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec import Struct

from dumpty.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from datetime import timedelta
    from pathlib import Path

    from dumpty.types.streams import Buffer, Reader


_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.-]{1,200}"
_NAME = re.compile(rf"(?=.{{1,400}}\Z){_SEGMENT}(?:/{_SEGMENT}){{0,3}}")


def is_object_name(name: str) -> bool:
    """Return whether an object, or a folder of objects, can be called that."""
    return _NAME.fullmatch(name) is not None


def check_object_name(name: str) -> str:
    """Return ``name``, for a store to use.

    Raises:
        StoreError: no object can be called that.
    """
    if not is_object_name(name):
        raise StoreError(
            f"{name!r} is no name of an object: that has one to four parts between slashes, of letters, digits, "
            "'_', '.' and '-'"
        )
    return name


class Cap(Flag):
    """What a place guarantees. A store that claims one it does not have loses backups; the suite finds that out."""

    CREATE_NEW = auto()
    """Of all that put a new object of one name, at any time and from anywhere, one wins and the others get ``Exists``.
    Proved by a probe at first use, never assumed."""
    STRONG_LIST = auto()
    """Whatever was written before a listing began is in it, and what was deleted is not."""
    DELETE = auto()
    """Objects can be deleted with the rights at hand, as far as the store can tell."""
    BATCH = auto()
    """Many objects are deleted in one call to the place."""
    RETAINS = auto()
    """The place may refuse a deletion until a moment of its own: versioning, object lock, an append-only account."""
    LOCAL = auto()
    """Objects are files on this machine (``LocalStore``)."""


class Found(Struct, frozen=True, kw_only=True):
    """One object in a store.

    ``size`` is in bytes. ``tag`` changes whenever the object does (an ETag, or inode and time of change), and is
    opaque; ``modified`` is aware, in UTC, by the store's clock. ``retained_until`` is given where the place keeps the
    object until then and says so.
    """

    name: str
    size: int
    tag: str
    modified: datetime
    retained_until: datetime | None = None


class Upload(Protocol):
    """One object on its way into a store. Nothing is visible under its name before ``commit``."""

    def write(self, data: Buffer, /) -> int:
        """Take every byte and return their number, or raise."""
        ...

    def commit(self) -> None:
        """Make the object durable and visible, all at once, or raise: ``Exists`` where the name is taken.

        As with ``Store.put``, what others could see is never taken back.
        """
        ...

    def abort(self) -> None:
        """Drop it, and whatever it left. Harmless after ``commit`` or another ``abort``."""
        ...


class Store(Protocol):
    """Objects in one place.

    It is never closed: it keeps few connections, none across a fork, and drops them when it is collected. What holds
    of every method (names, durability, bounded time, threads) stands at the top of the module ``dumpty.types.stores``.
    """

    def capabilities(self) -> Cap:
        """Return what the place guarantees; ``Cap`` says what each of it is.

        Every process asks before it writes or removes, and none that only reads. What took long to find out may be
        remembered in the place, in an object whose name has a ``~`` and is nobody's.
        """
        ...

    def put(self, name: str, data: bytes, *, new: bool = True) -> None:
        """Write a small object, all at once and durably.

        ``new`` raises ``Exists`` where there is one of that name; otherwise that is replaced, and whoever reads has
        the old or the new. After an ambiguous
        failure (the answer was lost) the store reads back what is there: its own bytes are a success, others
        ``Exists``. So that equal contents never look like one's own, every claim carries a nonce. What others could
        see is never taken back, whatever fails then: they may have acted on it.
        """
        ...

    def upload(self, name: str, expected: int | None = None) -> Upload:
        """Begin a large object under a name that was never used; ``expected`` is about its size in bytes.

        Whoever is ended before ``commit`` leaves nothing that is listed, and nothing that ``sweep`` does not remove.
        """
        ...

    def get(self, name: str) -> bytes:
        """Return all bytes of a small object."""
        ...

    def open(self, name: str, offset: int = 0) -> Reader:
        """Read an object from ``offset`` bytes on. A cut connection is an error, never the end of the object.

        From its end on there is nothing to read, and no error.
        """
        ...

    def stat(self, name: str) -> Found:
        """Return what is known of one object, from the place itself and never from a cache."""
        ...

    def list(self, folder: str = "") -> Iterator[Found]:
        """Yield every object below a folder, at any depth, in no order; "" is the whole store.

        Every page of it, or an error: a listing that was cut is never a short one. It is no snapshot.
        """
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; those that are gone already are no error.

        Raises:
            Retained: the place keeps at least one of them until a moment of its own.
            NotPermitted: the rights at hand do not suffice.
            StoreError: another failure. In every case all that could be deleted is.
        """
        ...

    def now(self) -> datetime:
        """Return the store's own time (aware, UTC): that of ``Found.modified``. This machine's clock may be wrong.

        What the place said of its time a moment ago may be carried on by a clock that never stands or jumps.
        """
        ...

    def locate(self, name: str) -> str:
        """Return where a person finds the object, and "" the store: a path, or a URL without secrets.

        It need not exist.
        """
        ...

    def sweep(self, older: timedelta) -> None:
        """Remove what uploads left that were ended before ``commit``; those that go on are untouched.

        Where the place cannot tell which have ended, only what is ``older`` is removed.
        """
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
