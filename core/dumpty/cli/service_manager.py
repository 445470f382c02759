"""What a service tells the manager that started it (https://man7.org/linux/man-pages/man3/sd_notify.3.html)."""

from __future__ import annotations

import contextlib
import os
import socket

__all__ = ["notify"]


def notify(*assignments: str) -> None:
    """Send assignments, ``READY=1`` say, to the manager that ``$NOTIFY_SOCKET`` names; where none does, to nobody."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto("\n".join(assignments).encode(), name)
