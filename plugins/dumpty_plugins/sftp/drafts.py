"""One object on its way into the store: a part beside it, which is flushed and then given the object's name."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import asyncssh

from dumpty import Exists, StoreError
from dumpty_plugins.sftp import folders, replacement
from dumpty_plugins.sftp.connection import requests_in_flight
from dumpty_plugins.sftp.errors import MAKE_ROOM, MISSING, UNSUPPORTED, is_lost
from dumpty_plugins.sftp.names import new_part
from dumpty_plugins.sftp.probing import Method

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from dumpty_plugins.sftp.address import Address
    from dumpty_plugins.sftp.connection import Connection, File

_TRIES = 100
_FAILED_TRIES = 10
_LITTLE_ROOM = 4 << 20
_TICKS = 12
_TICK_SECONDS = 0.25


class Draft:
    """A part, made or to be made, on one connection.

    ``is_sent``: whether the server was asked to give it the object's name, ``name``, and may have done so.

    Args:
        connection: what it is written over.
        address: the store's.
        name: the object's, checked.
        part: its own name; a new one by default.
    """

    def __init__(self, connection: Connection, address: Address, name: str, part: str = "") -> None:
        self.connection = connection
        self.part = part or new_part(name)
        self.is_sent = False
        self._address = address
        self.name = name
        self._file: File | None = None
        self._is_made = bool(part)

    def moved_to(self, connection: Connection) -> Draft:
        """Return the same part, as another connection has it; it is not open there."""
        return Draft(connection, self._address, self.name, self.part)

    @property
    def file(self) -> File:
        """The part, open."""
        if self._file is None:
            raise ValueError(f"the upload of {self._address.locate(self.name)} has ended")
        return self._file

    async def create(self) -> None:
        """Make the part, and the folders that lead to it; one that is removed this moment is made again.

        Raises:
            StoreError: something that is no folder is in the way.
            asyncssh.Error: it cannot be made.
        """
        folder = folders.folder_of(self.name)
        for attempt in range(_TRIES):
            path = self.connection.path(self.part)
            look = folders.find_obstacle(self.connection, self._address, folder)
            made, obstacle = await asyncio.gather(self.connection.create(path), look, return_exceptions=True)
            if not isinstance(made, BaseException):
                self._file, self._is_made = made, True
            if isinstance(obstacle, BaseException):
                await self.discard()
                raise obstacle
            if not isinstance(made, BaseException):
                return
            if not isinstance(made, MISSING):
                raise made
            if obstacle is not None and obstacle.is_there:
                raise StoreError(f"{self._address.locate(obstacle.name)} is a file, not a folder; remove it")
            await folders.require_top(self.connection, self._address)
            try:
                await folders.make(self.connection, folder)
            except MISSING:  # one above it was removed
                continue
            except asyncssh.SFTPFailure:  # it was there, and was removed before the look; or it cannot be made
                if attempt >= _FAILED_TRIES:
                    raise
        place = self._address.locate(self.name)
        raise StoreError(f"cannot write {place}: its folder is removed again and again by somebody else")

    async def fill(self, data: bytes) -> None:
        """Write all of a small object, and flush it."""
        _, block = self.connection.block_sizes()
        at_once = requests_in_flight(block)
        blocks = [(data[offset : offset + block], offset) for offset in range(0, len(data), block)]
        while len(blocks) > at_once:
            await asyncio.gather(*(self.file.write(*some) for some in blocks[:at_once]))
            del blocks[:at_once]
        # A server does in their order what concerns one file: so the flush need not wait for the answers to these.
        *_, flushed = await asyncio.gather(*(self.file.write(*some) for some in blocks), self.file.flush())
        if not flushed:
            await self.file.close()

    async def flush(self) -> None:
        """Flush what was written to the server's disk, or, where it has no request for that, close it at least."""
        if not await self.file.flush():
            await self.file.close()

    # -- its name ------------------------------------------------------------------------------------------------

    async def require_free(self) -> None:
        """Raise Exists where somebody has the name."""
        if await replacement.is_taken(self.connection, self.name):
            raise self.taken()

    async def publish_new(self, method: Method) -> None:
        """Give it the object's name.

        Raises:
            Exists: that is taken.
            asyncssh.Error: it cannot be done, or the connection was lost, and it may have been.
        """
        part, path = self.connection.path(self.part), self.connection.path(self.name)
        if method is Method.LOOK or not await self.connection.has_replace():
            await self.require_free()
        self.is_sent = True
        request = self.connection.link if method is Method.LINK else self.connection.rename
        try:
            await request(part, path)
        except asyncssh.SFTPError as error:
            if not is_lost(error) and await self.connection.exists(path):
                raise self.taken() from error
            raise

    async def publish_over(self, data: bytes) -> None:
        """Give it the object's name, whoever has it, so that its tag is another one then.

        Raises:
            asyncssh.Error: as for ``publish_new``.
        """
        part, path = self.connection.path(self.part), self.connection.path(self.name)
        await self._outlast(data)
        self.is_sent = True
        try:
            await self.connection.replace(part, path)
        except UNSUPPORTED:
            await replacement.replace(self.connection, self.part, self.name)

    async def settle(self) -> None:
        """Flush the name, too, and remove the part's own. The object stays, whatever comes up.

        A file system that keeps a journal flushes the names of a file with the file itself.

        Raises:
            asyncssh.Error: the name could not be flushed.
        """
        # What becomes of the removal is no matter: what stays is swept one day.
        flushing, _ = await asyncio.gather(self._flush_name(), self._remove_part(), return_exceptions=True)
        if self._file is not None:
            self._file.close_later()
        if isinstance(flushing, BaseException):
            raise flushing

    async def discard(self) -> None:
        """Remove the part, if that can be done."""
        if self._file is not None:
            self._file.close_later()
            self._file = None
        if self._is_made:
            with contextlib.suppress(asyncssh.Error, OSError):
                await self._remove_part()

    def discard_later(self) -> None:
        """Remove the part without waiting for that; in the loop's thread."""
        self._discarding = self.connection.loop.create_task(self.discard())

    async def _flush_name(self) -> None:
        if self._file is not None:
            with contextlib.suppress(ValueError):  # it was closed, for the server has no such request
                await self._file.flush()

    async def _remove_part(self) -> None:
        with contextlib.suppress(*MISSING):  # renamed, or swept
            await self.connection.remove(self.connection.path(self.part))

    async def _outlast(self, data: bytes) -> None:
        """See to it that size or time of the part differ from those of what it is to replace.

        Both times are in seconds, so this can last one. Where the other's is far ahead, as after a clock was set back,
        the part's is set to the second after it.
        """
        for tick in range(_TICKS):
            try:
                other = await replacement.look(self.connection, self.name)
            except MISSING:
                return
            own = await self.connection.lstat(self.connection.path(self.part))
            if not data or other.size != own.size or other.mtime is None or (own.mtime or 0) > other.mtime:
                return
            if tick == _TICKS - 1:
                await self.connection.set_mtime(self.connection.path(self.part), other.mtime + 1)
                return
            await asyncio.sleep(_TICK_SECONDS)
            if self._file is not None and not await self._rewrite(data):
                await self.connection.set_mtime(self.connection.path(self.part), other.mtime + 1)
                return

    async def _rewrite(self, data: bytes) -> bool:
        """Write the same again, for the time alone; return whether that could be done."""
        try:
            await self.fill(data)
        except ValueError:  # it is closed, for the server cannot flush
            return False
        return True

    def taken(self) -> Exists:
        """Return the error for a name that somebody has."""
        return Exists(f"{self._address.locate(self.name)} exists already, and nothing is written over it")


async def explain(connection: Connection, error: BaseException) -> str:
    """Return what is known of a write that failed: SFTP has one word for a full disk, a quota, and all the rest."""
    if not isinstance(error, asyncssh.SFTPFailure):
        return ""
    free = None
    with contextlib.suppress(asyncssh.Error, OSError):
        free = await connection.free_bytes(connection.top)
    if free is not None and free < _LITTLE_ROOM:
        return f"its disk is full ({free} bytes are free); {MAKE_ROOM}"
    return "a quota or a limit on the size of files may be reached there, or the disk be broken"


async def first_error(tasks: list[Awaitable[object]]) -> None:
    """Wait for all, then raise the first error among theirs."""
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
