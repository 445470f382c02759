"""What a server does with names, and what this account may do: found out by trying, with whatever it left removed.

A new object must come into being by one step that fails where its name is taken. ``hardlink@openssh.com`` is that
step, unless a file system knows no links; so is the RENAME of SFTP on many servers, while others replace, or look first
and rename then. So the probe gives a file a name that is taken; and lets several SFTP sessions, each a process of its
own on the server, give theirs the same fresh name at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, auto
from typing import TYPE_CHECKING

import asyncssh
from msgspec import Struct

from dumpty import Cap
from dumpty_plugins.sftp.errors import DENIED, MISSING, UNSUPPORTED, is_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from dumpty_plugins.sftp.connection import Connection

    _Request = Callable[[bytes, bytes], Coroutine[object, object, None]]

_CONTENDERS = 4
_ROUNDS = 4


class Method(Enum):
    """How a part gets its object's name, where that is to be new."""

    LINK = auto()
    """By a second name, which is refused where it is taken."""
    RENAME = auto()
    """By a rename, which was seen to be refused where the name is taken."""
    LOOK = auto()
    """By a rename, after a look whether the name is taken: two at once may both find that it is not."""


class Abilities(Struct, frozen=True, kw_only=True):
    """What was found out."""

    caps: Cap
    method: Method


_READ_ONLY = Abilities(caps=Cap.STRONG_LIST, method=Method.LOOK)


async def probe(connection: Connection, new_name: Callable[[], str]) -> Abilities:
    """Try what this server and this account can do.

    Args:
        connection: to the server.
        new_name: makes names that nobody else has, and no object can have.

    Raises:
        asyncssh.Error: it cannot be found out.
    """
    return await _Probe(connection, new_name).run()


class _Probe:
    def __init__(self, connection: Connection, new_name: Callable[[], str]) -> None:
        self._connection = connection
        self._new_name = new_name
        self._names: list[bytes] = []

    async def run(self) -> Abilities:
        # An account that may add but not remove is asked no more: all that is tried would stay there.
        if not await self._may_remove():
            return _READ_ONLY
        deletes = True
        try:
            parts = await self._make_parts()
            method = await self._find_method(*parts[:2]) if parts else None
            if method in {Method.LINK, Method.RENAME} and not await self._has_one_winner(method, parts):
                method = Method.LOOK
        finally:
            deletes = await self._clean_up()
        if not parts or method is None:
            return _READ_ONLY
        claimed = Cap(0) if method is Method.LOOK else Cap.CREATE_NEW
        return Abilities(caps=Cap.STRONG_LIST | claimed | (Cap.DELETE if deletes else Cap(0)), method=method)

    async def _may_remove(self) -> bool:
        """Return whether a removal is at least not refused as such; there is nothing to remove."""
        try:
            await self._connection.remove(self._connection.path(self._new_name()))
        except DENIED:
            return False
        except asyncssh.SFTPError as error:
            if is_lost(error):
                raise
            return isinstance(error, MISSING) or not await self._connection.is_read_only(self._connection.top)
        return True

    async def _make_parts(self) -> list[bytes]:
        """Make an empty file for each contender; none where this account may not, or the disk is read-only."""
        parts = [self._fresh() for _ in range(_CONTENDERS)]
        made = await asyncio.gather(*(self._make(part) for part in parts), return_exceptions=True)
        for outcome in made:
            if isinstance(outcome, DENIED):
                return []
            if isinstance(outcome, asyncssh.SFTPFailure) and await self._connection.is_read_only(self._connection.top):
                return []
            if isinstance(outcome, BaseException):
                raise outcome
        return parts

    async def _make(self, path: bytes) -> None:
        file = await self._connection.create(path)
        await file.close()

    async def _find_method(self, part: bytes, other: bytes) -> Method:
        name = self._fresh()
        try:
            await self._connection.link(part, name)
        except UNSUPPORTED:  # as a server says it that has no such request
            return Method.RENAME if await self._is_refused(self._connection.rename, part, other) else Method.LOOK
        except asyncssh.SFTPError as error:
            if is_lost(error):
                raise
            # It has the request, and its file system no links: then OpenSSH's RENAME looks first, and renames then.
            return Method.LOOK
        return Method.LINK if await self._is_refused(self._connection.link, other, name) else Method.LOOK

    async def _is_refused(self, request: _Request, part: bytes, taken: bytes) -> bool:
        try:
            await request(part, taken)
        except asyncssh.SFTPError as error:
            if is_lost(error):
                raise
            return await self._connection.exists(part) and await self._connection.exists(taken)
        return False

    async def _has_one_winner(self, method: Method, parts: list[bytes]) -> bool:
        """Return whether of all that give one fresh name at once, one wins and the others are refused."""
        branches = [self._connection, *await self._branches(len(parts) - 1)]
        if method is Method.RENAME and len(branches) == 1:
            return False  # one session does one thing after the other, and nobody would be seen to look first
        sessions = [branches[position % len(branches)] for position in range(len(parts))]
        try:
            if method is Method.LINK:
                rounds = (self._race([session.link for session in sessions], parts) for _ in range(_ROUNDS))
                return None not in await asyncio.gather(*rounds)
            for _ in range(_ROUNDS):
                name = await self._race([session.rename for session in sessions], parts)
                if name is None:
                    return False
                (winner,) = [part for part in parts if not await self._connection.exists(part)]
                await self._connection.rename(name, winner)
        finally:
            for branch in branches[1:]:
                branch.leave()
        return True

    async def _race(self, requests: list[_Request], parts: list[bytes]) -> bytes | None:
        """Return the name that all gave their part at once; None where more than one won, or nobody."""
        name = self._fresh()
        racing = (request(part, name) for request, part in zip(requests, parts, strict=True))
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None and (not isinstance(outcome, asyncssh.SFTPError) or is_lost(outcome)):
                raise outcome
        has_winner = sum(outcome is None for outcome in outcomes) == 1 and await self._connection.exists(name)
        return name if has_winner else None

    async def _branches(self, number: int) -> list[Connection]:
        """Return further sessions, as many as the server allows."""
        opened = await asyncio.gather(*(self._connection.branch() for _ in range(number)), return_exceptions=True)
        return [branch for branch in opened if not isinstance(branch, BaseException)]

    async def _clean_up(self) -> bool:
        """Remove whatever was made; return whether that was permitted."""
        paths, self._names = self._names, []
        removals = (self._connection.remove(path) for path in paths)
        outcomes = await asyncio.gather(*removals, return_exceptions=True)
        return not any(isinstance(outcome, DENIED) for outcome in outcomes)

    def _fresh(self) -> bytes:
        path = self._connection.path(self._new_name())
        self._names.append(path)
        return path


async def clock(connection: Connection, path: bytes) -> int:
    """Return the time by the server's clock, in seconds since 1970: that of a file just made, which is removed again.

    Raises:
        asyncssh.Error: none can be made there.
    """
    file = await connection.create(path)
    try:
        attributes = await file.stat()
    finally:
        file.close_later()
        with contextlib.suppress(*MISSING):
            await connection.remove(path)
    return attributes.mtime or 0
