"""A large object on its way into the store: some blocks are on their way while the next is made."""

from __future__ import annotations

import asyncio
import contextlib
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import asyncssh

from dumpty import Peer, StoreError
from dumpty_plugins.sftp import folders
from dumpty_plugins.sftp.connection import requests_in_flight
from dumpty_plugins.sftp.drafts import Draft, explain
from dumpty_plugins.sftp.errors import MISSING, failure, is_lost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncssh import SFTPAttrs

    from dumpty import Buffer
    from dumpty_plugins.sftp.connection import Connection
    from dumpty_plugins.sftp.probing import Method
    from dumpty_plugins.sftp.session import Session

_FLUSH_EVERY = 256 << 20
"""After so many bytes they are flushed to the disk, so that no flush lasts as long as a server that is dead."""


class SFTPUpload:
    """An upload. What of it runs in the loop stands below its methods.

    Args:
        session: the store's.
        name: the object's, checked.
        find_method: finds, in the loop, how a part gets a new name.
    """

    def __init__(self, session: Session, name: str, find_method: Callable[[Connection], Awaitable[Method]]) -> None:
        self._session = session
        self._address = session.address
        self._name = name
        self._action = f"cannot write {self._address.locate(name)}"
        self._find_method = find_method
        self._draft: Draft | None = None
        self._block = self._slots = 0
        self._pieces: list[bytes] = []
        self._pending = 0
        self._offset = 0
        self._free: SimpleQueue[None] = SimpleQueue()
        """A token for each block that may be on its way."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._hint = ""
        self._ended = False

    def begin(self) -> None:
        """Make the part."""
        self._draft = draft = self._session.run(self._action, self._create, discard=Draft.discard_later)
        _, self._block = draft.connection.block_sizes()
        self._slots = requests_in_flight(self._block)
        for _ in range(self._slots):
            self._free.put(None)

    def write(self, data: Buffer) -> int:
        view = memoryview(data).cast("B")
        self._require_open()
        taken = 0
        while taken < len(view):
            piece = bytes(view[taken : taken + self._block - self._pending])
            self._pieces.append(piece)
            self._pending += len(piece)
            taken += len(piece)
            if self._pending == self._block:
                self._send()
        return len(view)

    def commit(self) -> None:
        self._require_open()
        if self._pending:
            self._send()
        for _ in range(self._slots):
            self._take_slot()
        self._session.wait(self._action, self._finish)
        self._ended = True

    def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        draft = self._draft
        self._pieces = []
        if draft is None:
            return
        draft.connection.loop.call_soon_threadsafe(self._stop)
        with contextlib.suppress(StoreError):  # what stays is no object, and is swept one day
            self._session.run(f"cannot remove what was written of {self._address.locate(self._name)}", self._clear)

    def _require_open(self) -> None:
        if self._ended or self._draft is None:
            raise ValueError(f"the upload of {self._address.locate(self._name)} has ended")

    def _send(self) -> None:
        self._take_slot()
        block = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        offset, self._offset = self._offset, self._offset + len(block)
        self._pieces, self._pending = [], 0
        self._open_draft.connection.loop.call_soon_threadsafe(self._start, block, offset)

    def _take_slot(self) -> None:
        """Wait until another block may go on its way.

        Raises:
            StoreError: one of those before was not written, or the server is silent.
        """
        try:
            self._free.get_nowait()
        except Empty:
            self._wait()
        if self._error is not None:
            raise failure(self._action, self._error, self._hint) from self._error

    def _wait(self) -> None:
        session = self._session
        session.require_patience(self._action)
        peer = Peer(
            f"the server {self._address.server}",
            lambda: self._free.put(None),
            seconds=self._address.timeout,
            pulse=lambda: session.answers,
        )
        try:
            with peer.waiting():
                self._free.get()
                if peer.reason:
                    session.drop_if_silent()
                    raise StoreError(f"{self._action}: {peer.reason}")
        finally:
            peer.close()

    @property
    def _open_draft(self) -> Draft:
        if self._draft is None:
            raise ValueError(f"the upload of {self._address.locate(self._name)} has ended")
        return self._draft

    # -- in the loop ---------------------------------------------------------------------------------------------

    async def _create(self, connection: Connection) -> Draft:
        draft = Draft(connection, self._address, self._name)
        try:
            await draft.create()
        except asyncssh.SFTPFailure as error:
            raise failure(self._action, error, await explain(connection, error)) from error
        return draft

    def _start(self, block: bytes, offset: int) -> None:
        if self._error is None and not self._ended:
            task = self._open_draft.connection.loop.create_task(self._write(block, offset))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._free.put(None)

    async def _write(self, block: bytes, offset: int) -> None:
        draft = self._open_draft
        try:
            writing = draft.file.write(block, offset)
            if offset and offset // _FLUSH_EVERY != (offset + len(block)) // _FLUSH_EVERY:
                await asyncio.gather(writing, draft.file.flush())
            else:
                await writing
        except Exception as error:  # noqa: BLE001 - raised in the thread that writes
            hint = await explain(draft.connection, error)
            if self._error is None:
                self._hint, self._error = hint, error
        finally:
            self._free.put(None)

    def _stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    async def _clear(self, connection: Connection) -> None:
        draft = self._open_draft
        if draft.connection is not connection:  # that one was lost
            draft = draft.moved_to(connection)
        await draft.discard()
        await folders.remove_if_empty(connection, [folders.folder_of(self._name)])

    async def _finish(self) -> None:
        """Flush and publish; where the connection is lost on the way, look with another how far that came."""
        draft = self._open_draft
        try:
            await draft.flush()
            await self._publish(draft)
        except StoreError:
            raise
        except (asyncssh.Error, OSError) as error:
            if not is_lost(error) or not draft.is_sent:
                raise failure(self._action, error, await explain(draft.connection, error)) from error
            try:
                await self._finish_again(draft)
            except StoreError:
                raise
            except (asyncssh.Error, OSError) as second:
                raise failure(self._action, second) from second

    async def _publish(self, draft: Draft) -> None:
        method = await self._find_method(draft.connection)
        await draft.publish_new(method)
        await draft.settle()

    async def _finish_again(self, lost: Draft) -> None:
        lost.connection.abort()
        connection = await self._session.connection()
        draft = lost.moved_to(connection)
        part = await _look(connection, draft.part)
        found = await _look(connection, self._name)
        if found is None:
            await self._publish(draft)
        elif found.size == self._offset and (part is None or _same(part, found)):
            await draft.settle()
        else:
            await draft.discard()
            raise draft.taken()


async def _look(connection: Connection, name: str) -> SFTPAttrs | None:
    try:
        return await connection.lstat(connection.path(name))
    except MISSING:
        return None


def _same(part: SFTPAttrs, found: SFTPAttrs) -> bool:
    """Return whether a part and what has its object's name are one file, as far as SFTP can tell."""
    fields = ("size", "mtime", "atime", "uid", "gid", "permissions")
    return all(getattr(part, field) == getattr(found, field) for field in fields)
