"""One object on its way into a directory, and one on its way out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from typing import TYPE_CHECKING

from dumpty_plugins.file.files import (
    as_store_error,
    discard,
    lock_part,
    open_owner_only,
    remove,
    store_error,
    sync_directory,
    sync_tree,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from io import FileIO
    from pathlib import Path

    from dumpty import Buffer

PART = ".part"


class FileUpload:
    """A part, locked by its writer, that ``commit`` renames into place.

    An interrupt can come up between any two steps. So whoever is to ``abort`` it has it before ``begin`` makes a file.
    """

    def __init__(self, path: Path, lock: Callable[[str], AbstractContextManager[None]]) -> None:
        self._path = path
        self._lock = lock
        self._part = path.with_name(f"{path.name}.dumpty-{uuid.uuid4().hex}{PART}")
        self._stream: FileIO | None = None
        self._descriptor = -1
        self._directory = False
        self._ended = False

    def begin(self) -> None:
        """Make the part, and lock it."""
        self._stream = open(self._part, "xb", buffering=0, opener=open_owner_only)  # noqa: SIM115 - lives as long as the upload
        self._descriptor = self._stream.fileno()
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def write(self, data: Buffer) -> int:
        view = memoryview(data).cast("B")
        written = 0
        with as_store_error(f"cannot write {self._path}"):
            while written < len(view):
                written += self._file.write(view[written:])
        return written

    def directory(self) -> Path:
        """Turn this upload into a directory of files, and return it."""
        if not self._directory:
            with self._lock("parts"), as_store_error(f"cannot create {self._part}"):
                directory = self._part.with_name(f"{self._path.name}.dumpty-{uuid.uuid4().hex}{PART}")
                try:
                    directory.mkdir(mode=0o700)
                    self._descriptor = lock_part(directory)
                    self._part.unlink()
                    self._file.close()
                    self._part = directory
                    self._directory = True
                except BaseException:
                    discard(directory)
                    raise
        return self._part

    def commit(self) -> None:
        with as_store_error(f"cannot write {self._path}"):
            if self._directory:
                sync_tree(self._part)
            else:
                os.fsync(self._descriptor)
            is_new = not os.path.lexists(self._path)
            self._part.replace(self._path)
            try:
                sync_directory(self._path.parent)
            except BaseException:
                if is_new:  # what is not there for good shall not be there at all
                    with contextlib.suppress(OSError):
                        remove(self._path)
                raise
            finally:
                self._close()

    def abort(self) -> None:
        if not self._ended:
            discard(self._part)
            self._close()

    def __del__(self) -> None:
        # Neither committed nor aborted: the part stays, and free, for the store's next `clean`.
        if not getattr(self, "_ended", True):
            self._close()

    def _close(self) -> None:
        self._ended = True
        # Every byte is on disk by now, or of no use: what closing has to say changes nothing.
        with contextlib.suppress(OSError):
            if self._directory:
                os.close(self._descriptor)
            elif self._stream is not None:
                self._stream.close()

    @property
    def _file(self) -> FileIO:
        if self._stream is None:
            raise ValueError(f"the part of {self._path} was not begun")
        return self._stream


class FileReader:
    """A file being read, whose errors are dumpty's."""

    def __init__(self, stream: object, path: str) -> None:
        self._stream = stream
        self._path = path

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)  # type: ignore[attr-defined,no-any-return]
        except OSError as error:
            raise store_error(f"cannot read {self._path}", error) from error

    def close(self) -> None:
        self._stream.close()  # type: ignore[attr-defined]
