"""A directory of an SSH server as a store."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import asyncssh

from dumpty import Cap, Exists, Found, MissingFile, StoreError, check_object_name
from dumpty_plugins.sftp import folders, reading, replacement
from dumpty_plugins.sftp.attributes import moment, to_found
from dumpty_plugins.sftp.drafts import Draft, explain
from dumpty_plugins.sftp.errors import DENIED, failure, is_lost
from dumpty_plugins.sftp.names import new_part
from dumpty_plugins.sftp.probing import Abilities, Method, clock, probe
from dumpty_plugins.sftp.reading import SFTPReader
from dumpty_plugins.sftp.removing import Deletion, Sweep
from dumpty_plugins.sftp.session import Session
from dumpty_plugins.sftp.upload import SFTPUpload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta

    from dumpty_plugins.sftp.address import Address
    from dumpty_plugins.sftp.connection import Connection


class SFTPStore:
    """Objects as files in one directory of a server; connected to at the first use.

    Args:
        address: where it is.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._session = Session(address)
        self._abilities: Abilities | None = None
        self._probing: asyncio.Task[Abilities] | None = None

    def capabilities(self) -> Cap:
        if self._abilities is None:
            return self._session.run(f"cannot find out what can be done in {self.locate('')}", self._find_out).caps
        return self._abilities.caps

    def put(self, name: str, data: bytes, *, new: bool = True) -> None:
        check_object_name(name)
        content = bytes(data)
        self._session.wait(f"cannot write {self.locate(name)}", lambda: self._put(name, content, new=new))

    def upload(self, name: str, expected: int | None = None) -> SFTPUpload:  # noqa: ARG002 - nothing is reserved
        upload = SFTPUpload(self._session, check_object_name(name), self._find_method)
        try:
            upload.begin()
            return upload  # noqa: TRY300 - between the lines somebody can be interrupted
        except BaseException:
            upload.abort()
            raise

    def get(self, name: str) -> bytes:
        check_object_name(name)
        return self._session.run(
            f"cannot read {self.locate(name)}",
            lambda connection: reading.read_object(connection, self._address, name),
        )

    def open(self, name: str, offset: int = 0) -> SFTPReader:
        check_object_name(name)
        opened = self._session.run(
            f"cannot read {self.locate(name)}",
            lambda connection: reading.open_object(connection, self._address, name),
            discard=lambda late: late[0].close_later(),
        )
        return SFTPReader(self._session, name, opened, offset)

    def stat(self, name: str) -> Found:
        check_object_name(name)
        attributes = self._session.run(
            f"cannot read {self.locate(name)}", lambda connection: reading.look(connection, self._address, name)
        )
        return to_found(name, attributes)

    def list(self, folder: str = "") -> Iterator[Found]:
        walk = folders.Walk(self._address, check_object_name(folder) if folder else "")
        action = f"cannot list {self.locate(folder)}"
        while walk.pending:
            try:
                step = self._session.run(action, walk.step)
            except MissingFile as error:
                raise StoreError(str(error)) from error
            for name, entries in step:
                yield from folders.objects(name, entries)

    def delete(self, names: Iterable[str]) -> None:
        deletion = Deletion(self._address, names)
        self._session.run(f"cannot remove anything from {self.locate('')}", deletion.run)

    def now(self) -> datetime:
        return moment(self._session.run(f"cannot tell the time of {self.locate('')}", self._now))

    def locate(self, name: str) -> str:
        return self._address.locate(check_object_name(name) if name else "")

    def sweep(self, older: timedelta) -> None:
        sweep = Sweep(self._address, older)

        async def run(connection: Connection) -> None:
            await sweep.run(connection, await self._now(connection))

        self._session.run(f"cannot clear {self.locate('')}", run)

    # -- in the loop ---------------------------------------------------------------------------------------------

    async def _find_out(self, connection: Connection) -> Abilities:
        """Return what this server and this account can do, found out once; others who ask meanwhile wait for it."""
        if self._abilities is None:
            if self._probing is None or self._probing.done():
                self._probing = connection.loop.create_task(probe(connection, lambda: new_part("")))
                self._probing.add_done_callback(_retrieve)
            try:
                abilities = await asyncio.shield(self._probing)
            except asyncssh.SFTPFailure as error:
                action = f"cannot find out what can be done in {self.locate('')}"
                raise failure(action, error, await explain(connection, error)) from error
            self._abilities = self._abilities or abilities
        return self._abilities

    async def _find_method(self, connection: Connection) -> Method:
        return (await self._find_out(connection)).method

    async def _now(self, connection: Connection) -> int:
        try:
            return await clock(connection, connection.path(new_part("now")))
        except DENIED:
            # An account that only reads has no file of its own to look at. This machine's clock must do; but if it is
            # behind what lies there, it is wrong.
            entries = await connection.entries(connection.top)
            return max([int(time.time()), *(entry.attrs.mtime or 0 for entry in entries)])

    async def _put(self, name: str, data: bytes, *, new: bool) -> None:
        """Write an object; where the connection is lost, look with another what became of it, and try once more."""
        lost: Draft | None = None
        for is_last in (False, True):
            draft = None
            connection = await self._session.connection()
            try:
                if lost is None or not await self._has_arrived(connection, lost, data, new=new):
                    draft = Draft(connection, self._address, name)
                    await self._write(draft, data, new=new)
                break
            except Exists:
                if lost is None or not lost.is_sent or not await self._holds(connection, name, data):
                    raise
                break  # it arrived late
            except StoreError:
                raise
            except (asyncssh.Error, OSError) as error:
                if not is_lost(error) or is_last:
                    hint = await explain(draft.connection, error) if draft is not None else ""
                    raise failure(f"cannot write {self.locate(name)}", error, hint) from error
                lost = draft
                connection.abort()

    async def _has_arrived(self, connection: Connection, lost: Draft, data: bytes, *, new: bool) -> bool:
        """Return whether what was sent over a connection that was lost is there; its part is removed.

        Raises:
            Exists: others were quicker.
        """
        draft = lost.moved_to(connection)
        await draft.discard()
        if not lost.is_sent:
            return False
        if await self._holds(connection, lost.name, data):
            return True
        if new and await replacement.is_taken(connection, lost.name):
            raise draft.taken()
        return False

    async def _write(self, draft: Draft, data: bytes, *, new: bool) -> None:
        method = await self._find_method(draft.connection) if new else Method.LOOK
        if new and method is Method.LOOK:  # before there is a part, which this account may not be able to remove
            await draft.require_free()
        try:
            await draft.create()
            await draft.fill(data)
            await (draft.publish_new(method) if new else draft.publish_over(data))
            await draft.settle()
        except asyncio.CancelledError:
            draft.discard_later()
            raise
        except BaseException:
            await draft.discard()
            raise

    async def _holds(self, connection: Connection, name: str, data: bytes) -> bool:
        """Return whether an object is there and holds these bytes; if so, see to it that it stays."""
        try:
            file, found = await reading.open_object(connection, self._address, name)
        except (StoreError, MissingFile):
            return False
        try:
            if found.size != len(data) or await file.read_all(len(data) + 1, 0) != data:
                return False
            with contextlib.suppress(asyncssh.SFTPError):
                await file.flush()
        finally:
            file.close_later()
        return True


def _retrieve(task: asyncio.Task[Abilities]) -> None:
    """Take note of an error that nobody may be left to be told of."""
    if not task.cancelled():
        task.exception()
