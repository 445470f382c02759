"""Dumps that are directories of plain files: their size and digest."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING

from dumpty.errors import IntegrityError
from dumpty.process.call import raise_if_cancelled
from dumpty.process.owned_directory import open_regular

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["tree_digest"]

_BLOCK = 1 << 18


def tree_digest(top: str) -> tuple[int, str]:
    r"""Return total size and SHA-256 of a directory of plain files.

    The digest is of the lines ``sha256sum`` prints for the files in byte order of their relative paths, so that
    ``cd DIR && find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum`` agrees.

    Raises:
        IntegrityError: something in it is neither a file nor a directory.
    """
    total = 0
    listing = hashlib.sha256()
    names: list[str] = []
    for folder, folders, files in os.walk(top):
        if any(os.path.islink(os.path.join(folder, f)) for f in (*folders, *files)):
            raise IntegrityError(f"{folder} holds a symbolic link, which no dump has")
        names += [os.path.relpath(os.path.join(folder, f), top) for f in files]
    for name in sorted(names, key=os.fsencode):
        digest = hashlib.sha256()
        with _plain_file(os.path.join(top, name)) as stream:
            while block := stream.read(_BLOCK):
                raise_if_cancelled()
                digest.update(block)
                total += len(block)
        listing.update(f"{digest.hexdigest()}  ".encode() + os.fsencode(name) + b"\n")
    return total, listing.hexdigest()


def _plain_file(path: str) -> BinaryIO:
    try:
        return open(open_regular(path), "rb")
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ELOOP}:
            raise
        raise IntegrityError(f"{path} cannot be in a dump: {error.strerror}") from error
