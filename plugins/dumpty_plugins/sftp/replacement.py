"""How an object is replaced on a server that has no request for it, so that the old or the new can always be read.

Such a server renames onto nothing (``posix-rename@openssh.com`` is missing). So the object gets a name beside its own,
``NAME~dumpty-former``, and the new one follows. Between the two nothing has its own name: for a moment or, where
whoever replaced it was killed there, until it is replaced again. What has the other name is the object then; where
there are both, it is what was left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import asyncssh

from dumpty_plugins.sftp.errors import MISSING, is_lost
from dumpty_plugins.sftp.names import FORMER, new_part

if TYPE_CHECKING:
    from asyncssh import SFTPAttrs

    from dumpty_plugins.sftp.connection import Connection

_TRIES = 20
_PAUSE = 0.01
"""Seconds, times how often it was tried: where a name is refused, others may be replacing it, too."""


async def look(connection: Connection, name: str) -> SFTPAttrs:
    """Return what is known of an object, under the name that it has this moment.

    Raises:
        asyncssh.SFTPNoSuchFile: there is none (or another of ``MISSING``).
    """
    path = connection.path(name)
    try:
        return await connection.lstat(path)
    except MISSING:
        # Whoever replaces it may have come to an end meanwhile: so after the other name its own is looked at again;
        # and the other one once more, for the next may have begun. The server gets all three at once.
        former = connection.path(name + FORMER)
        looks = (connection.lstat(each) for each in (former, path, former))
        before, found, after = await asyncio.gather(*looks, return_exceptions=True)
    for other in (before, after):
        if isinstance(found, MISSING):
            found = other
    if isinstance(found, BaseException):
        raise found
    return found


async def is_taken(connection: Connection, name: str) -> bool:
    """Return whether anything has an object's name, or had it and is being replaced."""
    try:
        await look(connection, name)
    except MISSING:
        return False
    return True


async def replace(connection: Connection, part: str, name: str) -> None:
    """Give a part an object's name, whoever has it.

    Raises:
        asyncssh.Error: it cannot be done, or the connection was lost, and it may have been.
    """
    own, path, former = (connection.path(text) for text in (part, name, name + FORMER))
    refusal = asyncssh.SFTPFailure("")
    for tries in range(_TRIES):
        await asyncio.sleep(tries * _PAUSE)
        try:
            await connection.rename(path, former)
        except MISSING:  # there is none; or the former one is all there is, since somebody was killed
            pass
        except asyncssh.SFTPFailure as error:
            refusal = error
            if await connection.exists(path):  # then somebody was killed after the second step, or is about to clear
                await clear(connection, name)
                continue
        try:
            await connection.rename(own, path)
        except asyncssh.SFTPError as error:
            if not is_lost(error):
                with contextlib.suppress(asyncssh.SFTPFailure, *MISSING):  # where others put theirs there, it stays
                    await connection.rename(former, path)
            if not isinstance(error, asyncssh.SFTPFailure):
                raise
            refusal = error
            continue
        with contextlib.suppress(asyncssh.SFTPError):  # it is replaced: what stays is swept one day
            await clear(connection, name)
        return
    raise refusal


async def clear(connection: Connection, name: str) -> None:
    """Remove what was replaced, and nothing that is being replaced this moment.

    Raises:
        asyncssh.Error: it cannot be removed.
    """
    path, former, taken = (connection.path(text) for text in (name, name + FORMER, new_part(name)))
    try:
        await connection.rename(former, taken)  # from now on it is nobody else's
    except MISSING:
        return
    if not await connection.exists(path):
        try:
            await connection.rename(taken, former)
        except asyncssh.SFTPFailure:
            if not await is_taken(connection, name):
                raise
        else:
            return
    await connection.remove(taken)
