"""What is in the directory of a store ``file``, looked at past the store."""

from __future__ import annotations

import contextlib
import glob
import os
from datetime import timedelta
from pathlib import Path

from dumpty.repository.protocol.layout import TOMBSTONE

NOW = timedelta(0)
PART = r"~dumpty-[0-9a-f]{32}\.part"


def write(store, name, data=b"data"):
    """Write an object as one that is large."""
    upload = store.upload(name)
    upload.write(data)
    upload.commit()
    upload.abort()


def read(store, name, offset=0):
    """Read an object in blocks."""
    reader = store.open(name, offset)
    blocks = []
    while block := reader.read(3):
        blocks.append(block)
    reader.close()
    return b"".join(blocks)


def names(store, folder=""):
    """Return the names of all objects."""
    return sorted(found.name for found in store.list(folder))


def files(top):
    """Return what is under a directory, however it is called, folders only where nothing is in them."""
    return sorted(
        os.path.relpath(os.path.join(folder, name), top)
        for folder, folders, here in os.walk(top)
        for name in (*here, *(f for f in folders if not os.listdir(os.path.join(folder, f))))
    )


def matching(top, pattern):
    """Return the paths under a directory that match, while others change it: what goes meanwhile is in it or is not."""
    return [Path(path) for path in glob.glob(os.path.join(glob.escape(str(top)), pattern))]


def committed(top):
    """Return the names of manifests that are no tombstones, also of a backup that is there twice, of any database."""
    found = []
    for path in matching(top, "*/*.manifest.json"):
        with contextlib.suppress(FileNotFoundError):
            found += [path.name] if path.read_bytes() != TOMBSTONE else []
    return sorted(found)


def begun(top):
    """Return the intents of backups that are being made, of any database."""
    return matching(top, "*/*.intent")


def parts(top):
    """Return the parts under a directory, whatever is in them."""
    return sorted(
        {path.partition(".part")[0] + ".part" for path in files(top) if "~dumpty-" in path and ".part" in path}
    )
