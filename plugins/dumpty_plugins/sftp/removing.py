"""Objects and abandoned parts, removed for good, several at a time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncssh

from dumpty import NotPermitted, StoreError, check_object_name
from dumpty_plugins.sftp import folders, replacement
from dumpty_plugins.sftp.attributes import is_folder, is_regular
from dumpty_plugins.sftp.errors import MISSING, failure, is_lost
from dumpty_plugins.sftp.names import FORMER, PART

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from dumpty_plugins.sftp.address import Address
    from dumpty_plugins.sftp.connection import Connection

_AT_ONCE = 64
_AT_LEAST = timedelta(days=1)
"""SFTP has no sign of a writer's life: what it has not touched for so long it does not go on with."""


class Deletion:
    """Objects to remove, and the folders that are empty then.

    Args:
        address: the store's.
        names: the objects'.
    """

    def __init__(self, address: Address, names: Iterable[str]) -> None:
        self._address = address
        self._failures: list[Exception] = []
        self._names: list[str] = []
        for name in dict.fromkeys(names):
            try:
                self._names.append(check_object_name(name))
            except StoreError as error:
                self._failures.append(error)

    async def run(self, connection: Connection) -> None:
        """Remove all that can be removed.

        Raises:
            NotPermitted: the rights do not suffice for at least one.
            StoreError: another could not be removed.
            asyncssh.Error: the connection was lost; to be run again, with another.
        """
        await connection.has_replace()  # asked once, and not by many at once
        failures = list(self._failures)
        parents = sorted({folders.folder_of(name) for name in self._names})
        usable = dict(zip(parents, await self._look(connection, parents), strict=True))
        names = []
        for name in self._names:
            outcome = usable[folders.folder_of(name)]
            if isinstance(outcome, StoreError):
                failures.append(outcome)
            elif outcome is None:
                names.append(name)
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            outcomes = await asyncio.gather(*(self._remove(connection, name) for name in some))
            failures += [outcome for outcome in outcomes if outcome is not None]
        await folders.remove_if_empty(connection, {folders.folder_of(name) for name in names})
        if failures:
            raise summary(failures)

    async def _look(self, connection: Connection, parents: Sequence[str]) -> list[folders.Obstacle | StoreError | None]:
        """Return for each folder None where objects may be in it, what is in the way, or an error."""
        outcomes: list[folders.Obstacle | StoreError | None] = []
        for start in range(0, len(parents), _AT_ONCE):
            some = parents[start : start + _AT_ONCE]
            looks = (folders.find_obstacle(connection, self._address, folder) for folder in some)
            for found in await asyncio.gather(*looks, return_exceptions=True):
                if isinstance(found, BaseException) and not isinstance(found, StoreError):
                    raise found
                outcomes.append(found)
        return outcomes

    async def _remove(self, connection: Connection, name: str) -> Exception | None:
        path, former = connection.path(name), connection.path(name + FORMER)
        try:
            if not await connection.has_replace():
                await _remove_file(connection, former)  # first, for without the other it would be the object again
            if not await _remove_file(connection, path):
                await _remove_file(connection, former)
        except asyncssh.SFTPError as error:
            if is_lost(error):
                raise
            return failure(f"cannot remove {self._address.locate(name)}", error)
        return None


async def _remove_file(connection: Connection, path: bytes) -> bool:
    """Remove a file; return whether there was one."""
    try:
        await connection.remove(path)
    except MISSING:
        return False
    except asyncssh.SFTPError as error:
        if is_lost(error):
            raise
        # Some servers refuse to remove what is not there, and none removes a folder like a file.
        with contextlib.suppress(*MISSING):
            if not is_folder(await connection.lstat(path)):
                raise
        return False
    return True


class Sweep:
    """A search for parts whose writers are gone, and for what was replaced by a writer that was killed after it.

    Args:
        address: the store's.
        older: what has not been written to for that long is removed, and for a day at least.
    """

    def __init__(self, address: Address, older: timedelta) -> None:
        self._address = address
        self._older = max(older, _AT_LEAST)

    async def run(self, connection: Connection, now: float) -> None:
        """Remove them, and the folders that are empty then.

        Args:
            connection: to the server.
            now: the time by its clock, in seconds since 1970.

        Raises:
            StoreError: some could not be removed; all others are.
            asyncssh.Error: a folder cannot be read.
        """
        before = now - self._older.total_seconds()
        walk = folders.Walk(self._address, "")
        failures: list[Exception] = []
        emptied: set[str] = set()
        while walk.pending:
            for folder, entries in await walk.step(connection):
                removals = self._leftovers(connection, folder, entries, before)
                outcomes = [await self._try(name, removal) for name, removal in removals.items()]
                failures += [outcome for outcome in outcomes if outcome is not None]
                emptied |= {folder} if removals else set()
        await folders.remove_if_empty(connection, emptied)
        if failures:
            raise summary(failures)

    def _leftovers(
        self, connection: Connection, folder: str, entries: Sequence[asyncssh.SFTPName], before: float
    ) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return the names of what is left in a folder, and how each of them is removed."""
        removals: dict[str, Callable[[], Awaitable[None]]] = {}
        for entry in entries:
            name = folders.join(folder, entry)
            if is_regular(entry.attrs) and (entry.attrs.mtime or 0) < before:
                if PART.search(name):
                    removals[name] = functools.partial(connection.remove, connection.path(name))
                elif name.endswith(FORMER):
                    removals[name] = functools.partial(replacement.clear, connection, name.removesuffix(FORMER))
        return removals

    async def _try(self, name: str, removal: Callable[[], Awaitable[None]]) -> Exception | None:
        try:
            await removal()
        except MISSING:
            return None
        except asyncssh.SFTPError as error:
            if is_lost(error):
                raise
            return failure(f"cannot remove {self._address.locate(name)}", error)
        return None


def summary(failures: Sequence[Exception]) -> Exception:
    """Return one error for several, a lack of rights first."""
    first = next((error for error in failures if isinstance(error, NotPermitted)), failures[0])
    more = f" (and {len(failures) - 1} more could not be removed)" if len(failures) > 1 else ""
    summed = type(first)(f"{first}{more}")
    summed.__cause__ = first.__cause__ or first
    return summed
