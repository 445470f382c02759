"""Database files: looked at without opening them, and copied to and from dumps."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from typing import TYPE_CHECKING

from dumpty.errors import MissingFile, SourceError
from dumpty.process.owned_directory import open_regular

if TYPE_CHECKING:
    from dumpty.types import Dump, Sink

__all__ = ["require_file", "save_dump", "send_file"]

_BLOCK = 1 << 20


def require_file(*, path: str) -> None:
    """Check, without opening it, that ``path`` is a file with something in it that we may read.

    Opening a database's file behind its library's back can drop locks that the library holds on it::

        require_file(path=path)
        database = newdb.connect(path, read_only=True)

    Raises:
        MissingFile: there is nothing.
        SourceError: it is no regular file, is empty, or may not be read.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFile(f"there is no database file {path}") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be reached: {error.strerror}") from error
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"{path} is a directory, not a database file")
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{path} is not a regular file, so it is no database")
    if status.st_size == 0:
        raise SourceError(f"{path} is an empty file (0 bytes), not a database; nothing was ever stored in it")
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise SourceError(f"no permission to read {path}; run as its owner, or grant read permission")


def send_file(*, path: str, sink: Sink) -> int:
    """Write a file of your own, such as a copy in ``sink.workspace()``, into the sink; return its size in bytes.

    ::

        database.backup(copy := str(sink.workspace() / "copy"))
        send_file(path=copy, sink=sink)

    Raises:
        OSError: it cannot be read; or whatever the sink raises.
    """
    block = memoryview(bytearray(_BLOCK))
    total = 0
    with open(open_regular(path), "rb", buffering=0) as stream:
        sink.expect(os.fstat(stream.fileno()).st_size)
        while count := stream.readinto(block):
            sink.write(block[:count])
            total += count
    return total


def save_dump(*, dump: Dump, path: str) -> int:
    """Write a dump, to its verified end, into a file of your own; return its size in bytes.

    The file is made, its owner's alone, or, where there is one, written from its beginning; a link is not followed::

        with Replacement(target=path) as replacement:
            save_dump(dump=dump, path=replacement.path)

    Raises:
        IntegrityError: the dump is damaged.
        SourceError: the file cannot be written, most often for want of room.
    """
    total = 0
    with closing(dump.open()) as reader, open(_open_empty(path), "wb", buffering=0) as stream:
        while block := reader.read(_BLOCK):
            view = memoryview(block)
            total += len(view)
            try:
                while view:
                    view = view[stream.write(view) :]
            except OSError as error:
                raise SourceError(
                    f"{path} cannot be written: {error.strerror}; what is restored is built there: free some space "
                    "on its file system, or restore elsewhere"
                ) from error
    return total


def _open_empty(path: str) -> int:
    try:
        descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT)
        try:
            # Not by O_TRUNC: a file that was cut, from nothing to nothing too, ext4 writes to the disk as it is closed.
            if os.fstat(descriptor).st_size:
                os.ftruncate(descriptor, 0)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}") from error
    return descriptor
