"""The objects of a backup on this machine, where nobody else writes: compared with their digests before they are read.

Whoever may write where a backup lies could put other bytes there between the moment in which they are checked and that
in which they are used; and a driver is given what it loads while the digest of the whole is not known yet. Both is well
against damage, for nothing is committed before the end. It is not enough where somebody means harm: then a database has
executed what was forged before it is found out.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Self

from dumpty.errors import DumptyError, StoreError
from dumpty.process.call import raise_if_cancelled
from dumpty.streaming.streams import BLOCK, ReadAheadReader, VerifyingReader
from dumpty.streaming.workspace import workspace_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dumpty.streaming.reporter import ReportBytes
    from dumpty.types import ObjectSource, Reader, Record, StoredObject

__all__ = ["VerifiedCopy"]


class VerifiedCopy:
    """The objects of one backup, each copied when it is asked for first; ``dumpty.types.ObjectSource``.

    A context manager: at its end the copies are removed.

    Args:
        origin: where they lie.
        record: the backup's, of which sizes and digests can be trusted.
        progress: called with how many bytes were copied.
    """

    def __init__(self, origin: ObjectSource, record: Record, progress: ReportBytes) -> None:
        self._origin = origin
        self._progress = progress
        self._objects = {stored.name: stored for stored in record.objects}
        self._copies: dict[str, Path] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, name: str, offset: int = 0) -> Reader:
        """Read an object.

        Raises:
            MissingFile: it is gone.
            IntegrityError: it is not what was stored.
            StoreError: it cannot be read, or not be copied.
        """
        file = open(self._copy_of(name), "rb", buffering=0)  # noqa: SIM115 - the caller closes it
        file.seek(offset)
        return file

    def local_path(self, name: str) -> Path | None:
        """Return the path of an object's copy; the errors are those of ``open``."""
        return self._copy_of(name)

    def locate(self, name: str) -> str:
        """Return where a person finds the object itself."""
        return self._origin.locate(name)

    def workspace(self) -> AbstractContextManager[Path]:
        """Return a private directory of this machine, and never one beside the object."""
        return workspace_of(self._origin, encrypted=True)

    def _copy_of(self, name: str) -> Path:
        if name not in self._copies:
            path = self._stack.enter_context(self.workspace()) / "object"
            self._write(self._objects[name], path)
            self._copies[name] = path
        return self._copies[name]

    def _write(self, stored: StoredObject, path: Path) -> None:
        label = f"the backup file {stored.name}"
        copied = sum(self._objects[name].size for name in self._copies)
        with contextlib.closing(ReadAheadReader(self._origin.open(stored.name), label)) as stream:
            reader = VerifyingReader(stream, stored.size, stored.sha256, label)
            try:
                with path.open("xb") as file:
                    size = 0
                    while block := reader.read(BLOCK * 4):
                        raise_if_cancelled()
                        size += file.write(block)
                        self._progress(copied + size, None)
            except DumptyError:
                raise
            except OSError as error:
                raise StoreError(
                    f"{label} cannot be copied to {os.path.dirname(path)} (TMPDIR), as a backup is whose signature is "
                    f"required: {error.strerror or error}"
                ) from error
        if size != stored.size:
            raise StoreError(f"{path} could not be written whole")
