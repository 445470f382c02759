"""Whether this machine has a directory for itself, and how one that has not says so to the others.

The machine whose disk it is sees a file system of its own, whoever mounts that over a network. So each of the others
leaves a mark there before it writes anything else.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dumpty_plugins.file import filesystem
from dumpty_plugins.file.files import DENIED, closing, flush, flush_directory, give
from dumpty_plugins.file.folders import is_there

if TYPE_CHECKING:
    from dumpty_plugins.file.folders import Folder

SHARED = ".dumpty~shared"
"""A file in a store's own directory; `~` is in no object's name."""

_TEXT = b"""\
Machines that mount this directory over a network keep backups in it. While this file is here, none relies on seeing
at once what another one did. Remove it when only the machine whose disk this is uses the directory.
"""


def is_alone(folder: Folder) -> bool:
    """Return whether no other machine writes to the store that ``folder`` is in, as far as is known."""
    return filesystem.is_local(folder.top) and not is_there(folder.top, SHARED)


def announce(folder: Folder) -> None:
    """Leave the mark, if this is not the machine whose disk it is; durable when this returns.

    Who has no right to write to the store's own directory leaves none.

    Raises:
        OSError: it cannot be left for another reason.
    """
    if filesystem.is_local(folder.top) or is_there(folder.top, SHARED):
        return
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with closing(os.open(SHARED, flags, 0o600, dir_fd=folder.top)) as descriptor:
            give(descriptor, folder.owner)
            os.write(descriptor, _TEXT)
            flush(descriptor)
    except FileExistsError:  # another one left it this moment
        pass
    except OSError as error:
        if error.errno in DENIED:
            return
        raise
    flush_directory(folder.top)
