"""Ports of the loopback that let in only the user who opened them.

Whoever is logged in to a machine can connect to its loopback, and a server at the end of a way may trust whatever comes
from there. So each connection is asked whose it is, of the system's own list, before a byte of it is passed on.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct

__all__ = ["is_own_connection", "listen_on_loopback"]

_TABLES = ("/proc/self/net/tcp", "/proc/self/net/tcp6")
_MAPPED = "0000000000000000FFFF0000"
"""What stands before an address of the fourth version in the list of the sixth's, whose clients may come by both."""
_OWNER, _INODE, _NONE = 7, 9, "0"
_TRIES = 20
_READINGS = 3
_BACKLOG = 64


def listen_on_loopback(port: int) -> socket.socket:
    """Return a listener on an address of the loopback: at ``port`` where one is free there, else at any port.

    Linux has 16 million such addresses; on others there is one, whose port may be taken.

    Raises:
        OSError: nothing can be opened.
    """
    for _attempt in range(_TRIES):
        address = f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
        try:
            return _listen(address, port)
        except OSError:  # taken, of this machine's system, or such an address is none here
            continue
    return _listen("127.0.0.1", 0)


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def is_own_connection(connection: socket.socket) -> bool:
    """Return whether the other end of a connection over the loopback is this user's; False where not told.

    Raises:
        OSError: this system does not tell whose connections are.
    """
    peer, own = _as_listed(connection.getpeername()), _as_listed(connection.getsockname())
    wanted = {f"{peer} {own}", f"{_MAPPED}{peer} {_MAPPED}{own}"}
    for _attempt in range(_READINGS):  # while others come and go a list may lack one
        for table in _TABLES:
            if (owner := _owner(table, wanted)) is not None:
                return owner == os.geteuid()
    return False


def _owner(table: str, wanted: set[str]) -> int | None:
    """Return whose the connection between two ends is, None where it is not in a list."""
    try:
        with open(table, encoding="ascii", errors="replace") as lines:
            for line in lines:
                fields = line.split()
                # What its owner has closed already has no inode, and seems to be root's.
                if " ".join(fields[1:3]) in wanted and fields[_INODE] != _NONE:
                    return int(fields[_OWNER])
    except FileNotFoundError:
        if table == _TABLES[0]:  # the other one is not there where there is no such version
            raise
    return None


def _as_listed(address: tuple[str, int]) -> str:
    """Return an address as the system's list has it: its four bytes as one number of this machine's, then the port."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"
