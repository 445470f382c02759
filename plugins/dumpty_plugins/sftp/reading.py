"""One object on its way out of the store, read ahead of whoever takes it."""

from __future__ import annotations

import asyncio
import contextlib
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import asyncssh

from dumpty import MissingFile, Peer, StoreError
from dumpty_plugins.sftp import folders, replacement
from dumpty_plugins.sftp.attributes import is_folder, is_regular
from dumpty_plugins.sftp.connection import requests_in_flight
from dumpty_plugins.sftp.errors import MISSING, failure, is_lost
from dumpty_plugins.sftp.names import FORMER

if TYPE_CHECKING:
    from asyncssh import SFTPAttrs

    from dumpty_plugins.sftp.address import Address
    from dumpty_plugins.sftp.connection import Connection, File
    from dumpty_plugins.sftp.session import Session

_FIRST_BLOCK = 32 << 10
"""Where somebody reads but the head of an object, little more is fetched."""

_TRIES = 3
"""How often an object is looked for under both of its names, where it was there a moment ago."""

Opened = tuple["File", "SFTPAttrs"]
"""An open object, and what is known of it."""


class SpecialFileError(StoreError):
    """What has an object's name is neither file nor directory nor link."""


async def look(connection: Connection, address: Address, name: str) -> SFTPAttrs:
    """Return what is known of an object.

    Raises:
        MissingFile: there is none.
        StoreError: it is a link or something else that is no file; the store's own directory is gone.
        asyncssh.Error: it cannot be looked at.
    """
    obstacle, found = await asyncio.gather(
        folders.find_obstacle(connection, address, folders.folder_of(name)),
        replacement.look(connection, name),
        return_exceptions=True,
    )
    if isinstance(obstacle, BaseException):
        raise obstacle
    if isinstance(found, BaseException) and not isinstance(found, MISSING):
        raise found
    place = address.locate(name)
    if obstacle is not None or isinstance(found, BaseException) or is_folder(found):
        await folders.require_top(connection, address)
        raise MissingFile(f"cannot read {place}: it does not exist")
    if found.type == asyncssh.FILEXFER_TYPE_SYMLINK:
        raise StoreError(
            f"cannot read {place}: it is a symbolic link, and dumpty follows none; put the file in its place"
        )
    if not is_regular(found):
        raise SpecialFileError(f"cannot read {place}: it is no regular file")
    return found


async def open_object(connection: Connection, address: Address, name: str) -> Opened:
    """Open an object; errors are those of ``look``."""
    file, _ = await _open_unseen(connection, address, name)
    try:
        return file, await file.stat()
    except BaseException:
        file.close_later()
        raise


async def _open_unseen(connection: Connection, address: Address, name: str) -> Opened:
    """Open an object, with what was known of it before that: it may have been replaced meanwhile."""
    looking = asyncio.ensure_future(look(connection, address, name))
    opening = asyncio.ensure_future(connection.open(connection.path(name)))  # the way there and back takes the time
    try:
        found = await looking
    except BaseException as error:
        opening.cancel()
        if isinstance(error, SpecialFileError):  # a pipe, say: then the server waits, for nobody knows how long
            connection.abort()
        raise
    with contextlib.suppress(*MISSING):
        return await opening, found
    # It went since it was looked at; or it is being replaced, and has the other name meanwhile: again and again, maybe.
    for path in (connection.path(name + FORMER), connection.path(name)) * _TRIES:
        with contextlib.suppress(*MISSING):
            return await connection.open(path), found
    raise MissingFile(f"cannot read {address.locate(name)}: it does not exist")


async def read_object(connection: Connection, address: Address, name: str) -> bytes:
    """Return all bytes of a small object; errors are those of ``look``."""
    file, found = await _open_unseen(connection, address, name)
    try:
        data, opened = await asyncio.gather(_read(file, found.size or 0), file.stat())
        size = opened.size or 0
        if size != (found.size or 0):  # another, which replaced it
            data = await _read(file, size)
    finally:
        file.close_later()
    if len(data) != size:
        raise ends_early(address, name, size, len(data))
    return data


async def _read(file: File, size: int) -> bytes:
    block, _ = file.connection.block_sizes()
    blocks: list[bytes] = []
    at_once = requests_in_flight(block)
    offsets = range(0, size, block)
    for first in range(0, len(offsets), at_once):
        some = offsets[first : first + at_once]
        blocks += await asyncio.gather(*(file.read_all(min(block, size - offset), offset) for offset in some))
    return b"".join(blocks)


def ends_early(address: Address, name: str, size: int, end: int) -> StoreError:
    """Return the error for an object that has become shorter."""
    return StoreError(f"cannot read {address.locate(name)}: it had {size} bytes, and ends now after {end}")


class SFTPReader:
    """An open object being read; a few requests are on their way ahead of the reader, more the further it comes.

    Where the connection is lost, another goes on with the same object.

    Args:
        session: the store's.
        name: the object's, for messages.
        opened: the object.
        offset: where to begin, in bytes.

    Raises:
        StoreError: the object ends before that.
    """

    def __init__(self, session: Session, name: str, opened: Opened, offset: int) -> None:
        self._session = session
        self._address = session.address
        self._name = name
        self._file, self._found = opened
        self._size = self._found.size or 0
        self._reopening: asyncio.Task[None] | None = None
        self._largest, _ = self._file.connection.block_sizes()
        self._block = min(_FIRST_BLOCK, self._largest)
        self._asked = self._position = offset
        self._ahead = 1
        self._sizes: list[int] = []
        self._arrived: SimpleQueue[tuple[int, bytes | BaseException] | None] = SimpleQueue()
        self._waiting: dict[int, bytes | BaseException] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rest = memoryview(b"")
        self._closed = False
        self._action = f"cannot read {self._address.locate(name)}"
        if not 0 <= offset <= self._size:
            self.close()
            raise StoreError(f"{self._action} from byte {offset} on: it has {self._size}")

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            blocks = []
            while block := self.read(self._largest):
                blocks.append(block)
            return b"".join(blocks)
        if not size or (not self._rest and self._position == self._size):
            return b""
        if not self._rest:
            self._rest = memoryview(self._next_block())
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken) if len(taken) < len(taken.obj) else taken.obj  # type: ignore[arg-type, return-value]

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._rest = memoryview(b"")
            self._file.connection.loop.call_soon_threadsafe(self._end)

    def __del__(self) -> None:
        if hasattr(self, "_closed"):
            self.close()

    def _next_block(self) -> bytes:
        if self._closed:
            raise ValueError(f"{self._address.locate(self._name)} is closed")
        self._ask_ahead()
        block = self._await_block(self._position)
        if isinstance(block, (StoreError, MissingFile)):
            raise block
        if isinstance(block, BaseException):
            raise failure(self._action, block) from block
        self._position += len(block)
        expected = self._sizes.pop(0)
        if len(block) < expected:
            raise ends_early(self._address, self._name, self._size, self._position)
        self._block = min(self._block * 2, self._largest)
        self._ahead = min(self._ahead + 1, requests_in_flight(self._largest))
        self._ask_ahead()
        return block

    def _ask_ahead(self) -> None:
        while len(self._sizes) < self._ahead and self._asked < self._size:
            size = min(self._block, self._size - self._asked)
            self._file.connection.loop.call_soon_threadsafe(self._ask, self._asked, size)
            self._sizes.append(size)
            self._asked += size

    def _await_block(self, offset: int) -> bytes | BaseException:
        while offset not in self._waiting:
            try:
                arrived = self._arrived.get_nowait()
            except Empty:
                arrived = self._wait()
            if arrived is not None:
                self._waiting[arrived[0]] = arrived[1]
        return self._waiting.pop(offset)

    def _wait(self) -> tuple[int, bytes | BaseException] | None:
        session = self._session
        session.require_patience(self._action)
        peer = Peer(
            f"the server {self._address.server}",
            lambda: self._arrived.put(None),
            seconds=self._address.timeout,
            pulse=lambda: session.answers,
        )
        try:
            with peer.waiting():
                arrived = self._arrived.get()
                if arrived is None and peer.reason:
                    session.drop_if_silent()
                    raise StoreError(f"{self._action}: {peer.reason}")
                return arrived
        finally:
            peer.close()

    # -- in the loop ---------------------------------------------------------------------------------------------

    def _ask(self, offset: int, size: int) -> None:
        if not self._closed:
            task = self._file.connection.loop.create_task(self._fetch(offset, size))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fetch(self, offset: int, size: int) -> None:
        file = self._file
        try:
            try:
                block: bytes | BaseException = await file.read_all(size, offset)
            except Exception as error:
                if not is_lost(error) or self._closed:
                    raise
                block = await (await self._reopened(file)).read_all(size, offset)
        except Exception as error:  # noqa: BLE001 - raised in the thread that reads
            block = error
        self._arrived.put((offset, block))

    async def _reopened(self, lost: File) -> File:
        """Return the object as another connection has it open, the same for all who had it on the one that was lost."""
        if self._file is lost:
            if self._reopening is None or self._reopening.done():
                self._reopening = lost.connection.loop.create_task(self._reopen())
            await asyncio.shield(self._reopening)
        return self._file

    async def _reopen(self) -> None:
        self._file.connection.abort()
        file, found = await open_object(await self._session.connection(), self._address, self._name)
        if (found.size, found.mtime) != (self._found.size, self._found.mtime):
            file.close_later()
            raise StoreError(f"{self._action}: it was replaced while the connection was lost; run it again")
        self._file = file
        if self._closed:
            file.close_later()

    def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        self._file.close_later()
