"""The store ``file``: a local directory, on POSIX systems.

An object ``FOLDER/NAME`` is the file of that path. It is written to ``NAME~dumpty-<uuid>.part`` beside it (created
exclusively, readable by its owner alone), flushed to the disk, and given its name as a second one (``link``), which
fails where somebody has it; then the directories are flushed, too, and the first name goes. The writer holds an
advisory lock (``flock``) on its part, so a part whose lock can be had belongs to nobody alive.

Once it has its name it keeps it, whatever comes up before the last flush. Where the file system is not known to be this
machine's alone, a mark in the directory says so to the machine whose disk it is (``sharing``).

Whoever may write to the directory can put anything under any name there; so only regular files are read, no link is
followed, and what another user owns is no abandoned part.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
from typing import TYPE_CHECKING
from urllib.parse import unquote

from dumpty import PluginInfo, StoreError, hookimpl

if sys.platform == "win32":
    raise ImportError("the file store needs flock and POSIX renames; Windows is not supported yet")

from dumpty_plugins.file.files import as_store_error, closing, flush_directory
from dumpty_plugins.file.store import FileStore

if TYPE_CHECKING:
    from dumpty import Store

__all__ = ["FileStore", "describe", "open_store"]


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(kind="store", summary="a local directory", schemes=("file",))


@hookimpl
def open_store(url: str) -> Store:
    """Open the directory ``url`` (a path, or ``file:///path``), creating it, readable by its owner alone.

    Raises:
        StoreError: it cannot be created, or is no directory.
    """
    path = unquote(url[len("file://") :]) if url.startswith("file://") else url
    top = os.path.abspath(path)
    if os.path.exists(top) and not os.path.isdir(top):
        raise StoreError(f"{top} is a file, not a backup directory; name another directory")
    with as_store_error(f"cannot create the backup directory {top}"):
        _make(top)
    _warn_if_exposed(top)
    return FileStore(top)


def _make(top: str) -> None:
    """Make a directory with those that lead to it, each flushed to the disk by its name."""
    if os.path.isdir(top):
        return
    parent = os.path.dirname(top)
    _make(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(top, 0o700)
    with closing(os.open(parent, os.O_RDONLY)) as descriptor:
        flush_directory(descriptor)


def _warn_if_exposed(top: str) -> None:
    with contextlib.suppress(OSError):
        if os.stat(top).st_mode & stat.S_IWOTH:
            logging.getLogger("dumpty").warning(
                "every user of this machine may write to the backup directory %s, and so plant or replace backups; "
                "take that right away: chmod o-w %s",
                top,
                top,
                extra={"event": "directory-exposed"},
            )
