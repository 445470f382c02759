"""What servers and the network say, as dumpty's errors."""

from __future__ import annotations

import asyncio
import os
import socket

import asyncssh

from dumpty import DumptyError, MissingFile, NotPermitted, StoreError

MISSING = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory)
"""What says that there is nothing of a name: a file in the place of a folder says so, too."""

DENIED = (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect)
"""What says that the rights at hand do not suffice."""

FULL = (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)

UNSUPPORTED = (asyncssh.SFTPOpUnsupported,)
"""What says that a server does not have a request."""

MAKE_ROOM = "free some space there and run it again"


class ConnectError(StoreError):
    """The server cannot be reached, or not logged in to. It is not tried again."""


def is_lost(error: BaseException) -> bool:
    """Return whether an error is the end of a connection, and not the server's answer to a request."""
    if isinstance(error, DumptyError):
        return False
    if isinstance(error, asyncssh.SFTPError):
        return isinstance(error, (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection))
    return isinstance(error, (asyncssh.Error, OSError, EOFError, asyncio.IncompleteReadError))


def failure(action: str, error: BaseException, hint: str = "") -> StoreError | MissingFile:
    """Return the error to raise instead of ``error``, its cause.

    Args:
        action: begins the message: ``cannot write sftp://host/path``.
        error: what came up.
        hint: what is known beside it, and what to do.
    """
    own_error = _failure(action, error, f"; {hint}" if hint else "")
    own_error.__cause__ = error
    return own_error


def _failure(action: str, error: BaseException, hint: str) -> StoreError | MissingFile:
    if isinstance(error, MISSING):
        return MissingFile(f"{action}: it does not exist")
    if isinstance(error, DENIED):
        return NotPermitted(f"{action}: the server does not permit it to this account")
    if isinstance(error, FULL):
        return StoreError(f"{action}: the disk or the quota there is full; {MAKE_ROOM}")
    if is_lost(error):
        return StoreError(f"{action}: the connection was lost ({describe(error)}); run it again")
    if isinstance(error, asyncssh.SFTPError):
        return StoreError(f"{action}: the server says {describe(error)!r}{hint}")
    return StoreError(f"{action}: {describe(error)}")


def describe(error: BaseException) -> str:
    """Return the text of an error, in one line."""
    text = (error.strerror or "") if isinstance(error, OSError) else getattr(error, "reason", "")
    words = " ".join(str(text or error).split())  # a server's: what a terminal would act on is not passed on
    return "".join(letter if letter.isprintable() else "?" for letter in words) or type(error).__name__


def unreachable(server: str, error: OSError, timeout: float) -> ConnectError:
    """Return the error for a server that no connection can be made to."""
    if isinstance(error, socket.gaierror):
        reason = "no host of that name is known; check the name, or the alias in the ssh configuration"
    elif isinstance(error, ConnectionRefusedError):
        reason = "the connection was refused; check that an SSH server runs there, and the port"
    elif isinstance(error, TimeoutError):
        reason = f"no answer came within {timeout:g} s; check the address, and what filters packets on the way"
    elif error.errno is None and "Multiple exceptions" in str(error):  # one for each address of the host
        reason = "the connection was refused, or the host is not reached, by any of its addresses; check name and port"
    else:
        reason = describe(error) if error.errno is None else os.strerror(error.errno)
    return ConnectError(f"cannot connect to {server}: {reason}")
