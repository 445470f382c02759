"""The directories of a store: each is reached by its name, and none of them is a link."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import asyncssh
from msgspec import Struct

from dumpty import Found, StoreError, is_object_name
from dumpty_plugins.sftp.attributes import is_complete, is_folder, is_regular, to_found
from dumpty_plugins.sftp.errors import MISSING
from dumpty_plugins.sftp.names import FORMER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty_plugins.sftp.address import Address
    from dumpty_plugins.sftp.connection import Connection

DEPTH = 4
"""How many parts a name has at most."""

_AT_ONCE = 16


def folder_of(name: str) -> str:
    """Return the folder that an object is in; "" for the store's own directory."""
    return name.rpartition("/")[0]


def above(folder: str) -> list[str]:
    """Return a folder and those above it, the topmost first; none for the store's own directory."""
    segments = folder.split("/") if folder else []
    return ["/".join(segments[:end]) for end in range(1, len(segments) + 1)]


class Obstacle(Struct, frozen=True, kw_only=True):
    """What keeps a folder from being one: ``name`` leads to it and ``is_there``, as something else, or is missing."""

    name: str
    is_there: bool


async def find_obstacle(connection: Connection, address: Address, folder: str) -> Obstacle | None:
    """Return the first of the names that lead to a folder which is a file, or is not there; None where there is none.

    Raises:
        StoreError: one is a symbolic link.
    """
    looks = [connection.lstat(connection.path(name)) for name in above(folder)]
    for name, found in zip(above(folder), await asyncio.gather(*looks, return_exceptions=True), strict=True):
        if isinstance(found, MISSING):
            return Obstacle(name=name, is_there=False)
        if isinstance(found, BaseException):
            raise found
        if found.type == asyncssh.FILEXFER_TYPE_SYMLINK:
            raise StoreError(f"{address.locate(name)} is a symbolic link, not a folder: dumpty follows none; remove it")
        if not is_folder(found):
            return Obstacle(name=name, is_there=True)
    return None


async def make(connection: Connection, folder: str) -> None:
    """Make a folder and those above it, readable by their owner alone; what is there already stays as it is."""
    for name in above(folder):
        await connection.make_folder(connection.path(name))


async def remove_if_empty(connection: Connection, folders: Iterable[str]) -> None:
    """Remove folders, and those above them that are empty then. Whoever puts something into one makes it anew."""
    pending = {name for folder in folders for name in above(folder)}
    while pending:
        deepest = max(name.count("/") for name in pending)
        names = [name for name in pending if name.count("/") == deepest]
        pending.difference_update(names)
        removals = (_remove_one(connection, name) for name in names)
        kept = [name for name, removed in zip(names, await asyncio.gather(*removals), strict=True) if not removed]
        pending.difference_update(name for folder in kept for name in above(folder))


async def _remove_one(connection: Connection, folder: str) -> bool:
    with contextlib.suppress(asyncssh.SFTPError):
        await connection.remove_folder(connection.path(folder))
        return True
    return False


class Walk:
    """A walk over the folders of a store, some of them at once; a folder that goes away meanwhile is none.

    Args:
        address: the store's.
        folder: where it begins; "" for everything.
    """

    def __init__(self, address: Address, folder: str) -> None:
        self.pending = [folder]
        self._address = address
        self._begins = folder

    async def step(self, connection: Connection) -> list[tuple[str, list[asyncssh.SFTPName]]]:
        """Return the next folders, with what is in each of them; they are not in ``pending`` any more.

        Raises:
            StoreError: the store's own directory is gone, or the first folder is a link.
            asyncssh.Error: one cannot be read; asked again, the same folders are read again.
        """
        folders = self.pending[:_AT_ONCE]
        if folders == [self._begins] and await find_obstacle(connection, self._address, self._begins) is not None:
            await require_top(connection, self._address)
            self.pending = []
            return []
        read = await asyncio.gather(*(self._read(connection, folder) for folder in folders))
        below = [
            name
            for folder, entries in zip(folders, read, strict=True)
            for entry in entries
            if is_folder(entry.attrs) and is_object_name(name := join(folder, entry)) and name.count("/") + 1 < DEPTH
        ]
        self.pending = self.pending[len(folders) :] + below
        return list(zip(folders, read, strict=True))

    async def _read(self, connection: Connection, folder: str) -> list[asyncssh.SFTPName]:
        try:
            entries = await connection.entries(connection.path(folder))
        except MISSING:
            await require_top(connection, self._address)
            return []
        entries = [entry for entry in entries if entry.filename not in {b".", b".."}]
        for entry in entries:
            if not is_complete(entry.attrs):  # of a server that says little with a name
                with contextlib.suppress(*MISSING):
                    entry.attrs = await connection.lstat(connection.path(join(folder, entry)))
        return entries


async def require_top(connection: Connection, address: Address) -> None:
    """Raise StoreError where the store's own directory is gone: so nothing in it is merely missing."""
    if not await connection.exists(connection.top):
        raise StoreError(f"the backup directory {address.locate()} is gone; mount it or put it back")


def join(folder: str, entry: asyncssh.SFTPName) -> str:
    """Return the name of an entry of a folder; one that is no text is no object's, and is shown with escapes."""
    filename = entry.filename
    last = filename.decode("utf-8", "backslashreplace") if isinstance(filename, bytes) else filename
    return f"{folder}/{last}" if folder else last


def objects(folder: str, entries: list[asyncssh.SFTPName]) -> list[Found]:
    """Return those entries of a folder that are objects, one that is being replaced by its name."""
    names = {join(folder, entry): entry.attrs for entry in entries}
    for name in [name for name in names if name.endswith(FORMER)]:
        names.setdefault(name.removesuffix(FORMER), names[name])
    regular = ((name, attributes) for name, attributes in names.items() if is_regular(attributes))
    return [to_found(name, attributes) for name, attributes in regular if is_object_name(name)]
