"""Where backup directories lie in the tests, and what lies in one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MEMORY = "/dev/shm"
_ROOM_BYTES = 1 << 28


def memory() -> str | None:
    """Return a directory whose files are in memory, if there is room: hundreds of rounds need not wait for a disk."""
    roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    return _MEMORY if roomy else None


def stored_files(top) -> list[str]:
    """Return the names of the files in a repository, below ``top``, but those that are hidden."""
    top = Path(top)
    paths = (p.relative_to(top) for p in top.rglob("*") if not p.is_dir())
    return sorted(str(p) for p in paths if not any(part.startswith(".") for part in p.parts))


def left_over(top) -> list[str]:
    """Return the names of what a run that was ended has left: parts, intents and what announces a removal."""
    signs = (".part", ".intent", ".beat-", "/doom-", "/go-", ".pending")
    # What somebody removes meanwhile is passed over by os.walk, and an error of rglob.
    places = ((os.path.relpath(parent, top), [*folders, *files]) for parent, folders, files in os.walk(top))
    names = (os.path.normpath(os.path.join(parent, n)) for parent, found in places for n in found)
    return sorted(n for n in names if any(sign in n for sign in signs))
