"""One store's conversation with its server: connected when it is needed, and anew where the connection was lost."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh

from dumpty import MissingFile, NotPermitted, StoreError, given_up
from dumpty_plugins.sftp.connecting import open_ssh, within
from dumpty_plugins.sftp.connection import Connection
from dumpty_plugins.sftp.errors import DENIED, MISSING, ConnectError, describe, failure, is_lost
from dumpty_plugins.sftp.waiting import SeveredError, wait_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from dumpty_plugins.sftp.address import Address

_Result = TypeVar("_Result")
_log = logging.getLogger("dumpty")
_SILENT = 0.8
"""Of the time a server may be silent: whoever has been for so long is not asked any more on the same connection."""


class Session:
    """Runs in the event loop what a store asks for; from any thread.

    Args:
        address: the store's.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._state = _State(address)
        weakref.finalize(self, _State.drop_later, self._state).atexit = False

    def run(
        self,
        action: str,
        work: Callable[[Connection], Coroutine[Any, Any, _Result]],
        *,
        repeat: bool = True,
        discard: Callable[[_Result], object] = bool,
    ) -> _Result:
        """Do ``work`` with a connection, and return what it returns.

        Args:
            action: begins the message of an error: ``cannot read sftp://host/path``.
            work: makes the coroutine, given the connection.
            repeat: whether it is harmless to do again, with another connection, where the first was lost.
            discard: gets, in the loop, what came too late.

        Raises:
            StoreError: it failed, or the server was silent for too long.
            MissingFile: the server says that what was asked for is not there.
        """
        state = self._state
        return self.wait(action, lambda: state.run(action, work, repeat=repeat), discard=discard)

    def wait(
        self,
        action: str,
        work: Callable[[], Coroutine[Any, Any, _Result]],
        *,
        discard: Callable[[_Result], object] = bool,
    ) -> _Result:
        """Do ``work``, which looks after connections itself; errors are those of ``run``."""
        address, state = self.address, self._state
        self.require_patience(action)
        server = f"the server {address.server}"
        seconds = address.timeout
        try:
            return wait_for(work, server=server, seconds=seconds, pulse=lambda: state.answers, discard=discard)
        except SeveredError as error:
            self.drop_if_silent()
            raise StoreError(f"{action}: {error}") from error

    def require_patience(self, action: str) -> None:
        """Raise StoreError where the program is ending, and the server was silent before: it is asked no more."""
        if given_up():
            text = f"{action}: {self.address.server} is not asked any more: dumpty was asked to end, and had no answer"
            raise StoreError(text)

    @property
    def answers(self) -> int:
        """How many answers have come."""
        return self._state.answers

    async def connection(self) -> Connection:
        """Return a connection that lives, as far as is known; to be called in the loop."""
        return await self._state.connection()

    def drop_if_silent(self) -> None:
        """Drop the connection where nothing has come for so long that nothing will; from any thread."""
        state = self._state
        if given_up() or time.monotonic() - state.answered_at > _SILENT * self.address.timeout:
            state.drop_later()


class _State:
    """What the loop holds of a session. Only ``drop_later`` is called from elsewhere."""

    def __init__(self, address: Address) -> None:
        self.answers = 0
        self.answered_at = time.monotonic()
        self._address = address
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None

    def note_answer(self) -> None:
        self.answers += 1
        self.answered_at = time.monotonic()

    async def run(self, action: str, work: Callable[[Connection], Awaitable[_Result]], *, repeat: bool) -> _Result:
        connection = None
        try:
            if repeat:
                try:
                    connection = await self.connection()
                    return await work(connection)
                except Exception as error:
                    if not is_lost(error):
                        raise
                    self.forget(connection)
            connection = await self.connection()
            return await work(connection)
        except (StoreError, MissingFile):
            raise
        except Exception as error:
            if is_lost(error):
                self.forget(connection)
            raise failure(action, error) from error

    async def connection(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._connection is not None and self._connection.process != os.getpid():
            self._connection = None  # of the process that this one was forked off, which goes on using it
        elif self._connection is not None and self._connection.is_over:
            self.forget(self._connection)
        if self._connection is None:
            if self._connecting is None or self._connecting.done() or self._connecting.get_loop() is not loop:
                self._connecting = loop.create_task(self._connect())
                self._connecting.add_done_callback(_retrieve)
            connection = await asyncio.shield(self._connecting)  # others may wait for it, too
            if self._connection is None and not connection.is_over:
                self._connection = connection
            return connection
        return self._connection

    def forget(self, connection: Connection | None) -> None:
        """Use a connection no more; those who wait for something on it get an error."""
        if connection is not None:
            connection.abort()
            if self._connection is connection:
                self._connection = None

    def drop_later(self) -> None:
        """Drop the connection, if there is one, from any thread."""
        connection = self._connection
        if connection is not None and connection.process == os.getpid():
            connection.loop.call_soon_threadsafe(self.forget, connection)

    async def _connect(self) -> Connection:
        address = self._address
        self.note_answer()
        ssh = await open_ssh(address, self.note_answer)
        connection: Connection | None = None
        try:
            sftp = await within(address.timeout, address.server, _start_sftp(ssh, address))
            connection = Connection(ssh, sftp, self.note_answer)
            await within(address.timeout, address.server, _enter(connection, address))
        except BaseException as error:
            ssh.abort()
            if is_lost(error) or isinstance(error, asyncssh.SFTPError):
                text = f"cannot use {address.locate()}: the server or the network ended it: {describe(error)}"
                raise ConnectError(text) from error
            raise
        return connection


def _retrieve(task: asyncio.Task[Connection]) -> None:
    """Take note of an error that nobody may be left to be told of."""
    if not task.cancelled():
        task.exception()


async def _start_sftp(ssh: asyncssh.SSHClientConnection, address: Address) -> asyncssh.SFTPClient:
    try:
        return await ssh.start_sftp_client()
    except (asyncssh.Error, OSError, EOFError) as error:
        raise ConnectError(
            f"{address.server} lets this account in, but offers it no SFTP ({describe(error)}); its sshd_config needs "
            "a line like: Subsystem sftp internal-sftp"
        ) from error


async def _enter(connection: Connection, address: Address) -> None:
    """Find the store's directory, or make it, readable by its owner alone."""
    path = address.path.encode()
    if not path.startswith(b"/"):
        home = await connection.home()
        path = home.rstrip(b"/") + path.removeprefix(b"~")
    connection.top = path or b"/"
    try:
        attributes = await connection.stat(connection.top)
    except MISSING:
        attributes = await _make(connection, address)
    except DENIED as error:
        raise NotPermitted(
            f"cannot use {address.locate()}: this account may not look into it, or what leads to it"
        ) from error
    mode = attributes.permissions or 0
    if attributes.type not in {asyncssh.FILEXFER_TYPE_DIRECTORY, asyncssh.FILEXFER_TYPE_UNKNOWN}:
        raise StoreError(f"{address.locate()} is a file, not a backup directory; name another directory")
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        _log.warning(
            "every user of the server may write to the backup directory %s, and so plant or replace backups; take that "
            "right away: chmod o-w",
            address.locate(),
            extra={"event": "directory-exposed"},
        )


async def _make(connection: Connection, address: Address) -> asyncssh.SFTPAttrs:
    segments = connection.top.split(b"/")
    try:
        for end in range(2, len(segments) + 1):
            await connection.make_folder(b"/".join(segments[:end]))
        return await connection.stat(connection.top)
    except (*MISSING, *DENIED, asyncssh.SFTPFailure) as error:
        raise ConnectError(
            f"there is no directory {address.locate()}, and this account cannot make it ({describe(error)}); make it "
            "there, or name another"
        ) from error
