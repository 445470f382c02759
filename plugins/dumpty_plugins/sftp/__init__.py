"""The store ``sftp``: a directory of a server that SSH leads to.

An object ``FOLDER/NAME`` is the file of that path. It is written to ``NAME~dumpty-<uuid>.part`` beside it, flushed to
the server's disk, and given its name as a second one (``hardlink@openssh.com``), which fails where somebody has it;
then the first name goes. Where a server or its file system has no hard links, a probe decides (``probing``).

All that speaks with servers runs in one event loop, in a thread of its own; the methods of the store wait for it, and
never longer than the server may be silent (``waiting``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import PluginInfo, hookimpl

if TYPE_CHECKING:
    from dumpty import Store

__all__ = ["describe", "open_store"]


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(
        kind="store", summary="a directory of an SSH server, over SFTP", schemes=("sftp",), requires="dumpty[sftp]"
    )


@hookimpl
def open_store(url: str) -> Store:
    """Open the directory that ``sftp://[user@]host[:port]/path`` names; nothing is connected before it is used.

    Raises:
        MalformedURL: it is no such URL.
    """
    from dumpty_plugins.sftp.address import parse_address
    from dumpty_plugins.sftp.store import SFTPStore

    return SFTPStore(parse_address(url))
