"""A connection with its SFTP session: requests with their answers counted, in the event loop's thread alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, TypeVar

import asyncssh
from asyncssh import SFTPAttrs, SFTPClientFile

from dumpty_plugins.sftp.errors import MISSING, UNSUPPORTED, is_lost
from dumpty_plugins.sftp.names import new_part

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_Result = TypeVar("_Result")

MAX_BLOCK = 256 << 10
"""The largest block, in bytes, that is read or written by one request; a server may allow less."""

IN_FLIGHT = 4 << 20
"""How many bytes of one object may be on their way."""

_MAX_REQUESTS = 64
_FOLDER = SFTPAttrs(permissions=0o700)
_FILE = SFTPAttrs(permissions=0o600)
_CREATE = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_EXCL


class Connection:
    """A connection, and the SFTP session on it.

    Args:
        ssh: logged in.
        sftp: the session.
        note_answer: called for each answer of the server.
    """

    def __init__(
        self, ssh: asyncssh.SSHClientConnection, sftp: asyncssh.SFTPClient, note_answer: Callable[[], object]
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.process = os.getpid()
        self.top = b""
        """The store's directory."""
        self._ssh = ssh
        self._sftp = sftp
        self._note_answer = note_answer
        self._aborted = False
        self._has_replace: bool | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is known to have ended."""
        return self._aborted or self._ssh.is_closed()

    def abort(self) -> None:
        """End it at once; whoever waits for an answer gets an error."""
        self._aborted = True
        self._ssh.abort()

    async def answer(self, request: Awaitable[_Result]) -> _Result:
        """Return the answer to a request, and count it."""
        try:
            return await request
        except asyncssh.SFTPError as error:
            if isinstance(error, (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)):
                self._aborted = True
            raise
        finally:
            self._note_answer()

    async def branch(self) -> Connection:
        """Return another SFTP session on the same connection, to be left with ``leave``: another process there."""
        branch = Connection(self._ssh, await self.answer(self._ssh.start_sftp_client()), self._note_answer)
        branch.top = self.top
        return branch

    def leave(self) -> None:
        """End the SFTP session alone."""
        self._sftp.exit()

    def block_sizes(self) -> tuple[int, int]:
        """Return how many bytes one request may read, and write."""
        limits = self._sftp.limits
        return min(limits.max_read_len or MAX_BLOCK, MAX_BLOCK), min(limits.max_write_len or MAX_BLOCK, MAX_BLOCK)

    # -- names ---------------------------------------------------------------------------------------------------

    def path(self, name: str) -> bytes:
        """Return the path of an object, a folder or a part; "" is the store's directory."""
        return self.top.rstrip(b"/") + b"/" + name.encode() if name else self.top

    async def home(self) -> bytes:
        """Return the directory that the server logs its user in to."""
        return await self.answer(self._sftp.realpath(b"."))

    async def stat(self, path: bytes) -> SFTPAttrs:
        """Return what a path leads to, links followed."""
        return await self.answer(self._sftp.stat(path))

    async def lstat(self, path: bytes) -> SFTPAttrs:
        """Return what has that very name."""
        return await self.answer(self._sftp.lstat(path))

    async def exists(self, path: bytes) -> bool:
        """Return whether anything has that name."""
        try:
            await self.lstat(path)
        except MISSING:
            return False
        return True

    async def make_folder(self, path: bytes) -> None:
        """Make a directory, readable by its owner alone, unless there is something of that name."""
        try:
            await self.answer(self._sftp.mkdir(path, _FOLDER))
        except asyncssh.SFTPError:
            if not await self.exists(path):
                raise

    async def remove(self, path: bytes) -> None:
        """Remove a file."""
        await self.answer(self._sftp.remove(path))

    async def remove_folder(self, path: bytes) -> None:
        """Remove an empty directory."""
        await self.answer(self._sftp.rmdir(path))

    async def link(self, path: bytes, new_path: bytes) -> None:
        """Give a file a second name; an error where that is taken."""
        await self.answer(self._sftp.link(path, new_path))

    async def rename(self, path: bytes, new_path: bytes) -> None:
        """Rename a file; what happens where the new name is taken is the server's affair."""
        await self.answer(self._sftp.rename(path, new_path))

    async def replace(self, path: bytes, new_path: bytes) -> None:
        """Rename a file in the place of another.

        Raises:
            asyncssh.SFTPOpUnsupported: the server has no such request.
        """
        await self.answer(self._sftp.posix_rename(path, new_path))

    async def has_replace(self) -> bool:
        """Return whether the server has such a request; it is asked once, to rename what is not there."""
        if self._has_replace is None:
            path = self.path(new_part(""))
            try:
                await self.replace(path, path)
            except UNSUPPORTED:
                self._has_replace = False
                return False
            except asyncssh.SFTPError as error:
                if is_lost(error):
                    raise
            self._has_replace = True
        return self._has_replace

    async def set_mtime(self, path: bytes, seconds: int) -> None:
        """Set a file's time of change."""
        await self.answer(self._sftp.utime(path, (seconds, seconds)))

    async def entries(self, path: bytes) -> list[asyncssh.SFTPName]:
        """Return what is in a directory, to the last page."""
        entries = []
        async for entry in self._sftp.scandir(path):
            self._note_answer()
            entries.append(entry)
        return entries

    async def free_bytes(self, path: bytes) -> int | None:
        """Return how many bytes this account may still write there; None where the server does not say."""
        try:
            found = await self.answer(self._sftp.statvfs(path))
        except asyncssh.SFTPError:
            return None
        return (found.bavail or 0) * (found.frsize or found.bsize or 1)

    async def is_read_only(self, path: bytes) -> bool:
        """Return whether the server says that the file system is not to be written to."""
        try:
            found = await self.answer(self._sftp.statvfs(path))
        except asyncssh.SFTPError:
            return False
        return bool((found.flags or 0) & asyncssh.FXE_STATVFS_ST_RDONLY)

    # -- files ---------------------------------------------------------------------------------------------------

    async def open(self, path: bytes) -> File:
        """Open a file to read it."""
        return await self._opened(path, asyncssh.FXF_READ, SFTPAttrs())

    async def create(self, path: bytes) -> File:
        """Make a file that is not there yet, readable by its owner alone, and open it to write."""
        return await self._opened(path, _CREATE, _FILE)

    async def _opened(self, path: bytes, flags: int, attributes: SFTPAttrs) -> File:
        opening = asyncio.ensure_future(self._sftp.open(path, flags, attributes, encoding=None, block_size=0))
        try:
            return File(self, await self.answer(asyncio.shield(opening)))
        except asyncio.CancelledError:
            opening.add_done_callback(self._close_late)
            raise

    def _close_late(self, opening: asyncio.Future[SFTPClientFile]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            File(self, opening.result()).close_later()


class File:
    """An open file of the server."""

    def __init__(self, connection: Connection, file: SFTPClientFile) -> None:
        self.connection = connection
        self._file = file
        self._closing: asyncio.Task[None] | None = None

    async def read(self, size: int, offset: int) -> bytes:
        """Return at most so many bytes from there on; none at the end."""
        return await self.connection.answer(self._file.read(size, offset))

    async def read_all(self, size: int, offset: int) -> bytes:
        """Return so many bytes from there on, fewer where the file ends before."""
        blocks = []
        while size and (block := await self.read(size, offset)):
            blocks.append(block)
            size, offset = size - len(block), offset + len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    async def write(self, data: bytes, offset: int) -> None:
        """Write a block, no larger than the server allows, at that place."""
        await self.connection.answer(self._file.write(data, offset))

    async def stat(self) -> SFTPAttrs:
        """Return what is known of it now."""
        return await self.connection.answer(self._file.stat())

    async def flush(self) -> bool:
        """Flush it to the server's disk; False where the server has no request for that."""
        try:
            await self.connection.answer(self._file.fsync())
        except asyncssh.SFTPOpUnsupported:
            return False
        return True

    async def close(self) -> None:
        """Close it."""
        await self.connection.answer(self._file.close())

    def close_later(self) -> None:
        """Close it without waiting for that, or telling of what it says; in the loop's thread."""
        if self._closing is None:
            self._closing = self.connection.loop.create_task(self._close_quietly())

    async def _close_quietly(self) -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            await self._file.close()


def requests_in_flight(block_size: int) -> int:
    """Return how many requests of that size are on their way at once, at most."""
    return max(1, min(IN_FLIGHT // block_size, _MAX_REQUESTS))
