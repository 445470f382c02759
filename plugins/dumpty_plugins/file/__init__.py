"""The store ``file``: a local directory, on POSIX systems.

An object is written to ``NAME.dumpty-<uuid>.part`` (created exclusively, readable by its owner alone), flushed to the
disk, and renamed into place; then the directory is flushed, too. The writer holds an advisory lock (``flock``) on its
part, so a part whose lock can be had belongs to nobody alive.

Whoever may write to the directory can put anything under any name there; so only regular files are read, no link is
followed, and what another user owns is no abandoned part.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from dumpty import Option, PluginInfo, StoreError, hookimpl

if sys.platform == "win32":
    raise ImportError("the file store needs flock and POSIX renames; Windows is not supported yet")

from dumpty_plugins.file.files import as_store_error, sync_directory
from dumpty_plugins.file.store import FileStore

if TYPE_CHECKING:
    from dumpty import Options, Store

__all__ = ["FileStore", "describe", "open_store"]


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(
        kind="store",
        summary="a local directory",
        schemes=("file",),
        options=(
            Option(
                name="lock_timeout",
                default=600.0,
                help="seconds to wait for another process that changes the directory",
                verbs=("open_store",),
            ),
        ),
    )


@hookimpl
def open_store(url: str, options: Options) -> Store:
    """Open the directory ``url`` (a path, or ``file:///path``), creating it, readable by its owner alone.

    Raises:
        StoreError: it cannot be created, or is no directory.
    """
    path = unquote(url[len("file://") :]) if url.startswith("file://") else url
    top = Path(os.path.abspath(path))
    if top.exists() and not top.is_dir():
        raise StoreError(f"{top} is a file, not a backup directory; name another directory")
    if not top.is_dir():
        with as_store_error(f"cannot create the backup directory {top}"):
            top.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(top.parent)
    _warn_if_exposed(top)
    return FileStore(top, float(options["lock_timeout"]))  # type: ignore[arg-type]


def _warn_if_exposed(top: Path) -> None:
    with contextlib.suppress(OSError):
        if top.stat().st_mode & stat.S_IWOTH:
            logging.getLogger("dumpty").warning(
                "every user of this machine may write to the backup directory %s, and so plant or replace backups; "
                "take that right away: chmod o-w %s",
                top,
                top,
                extra={"event": "directory-exposed"},
            )
