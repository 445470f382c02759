"""One named backup on its way: marked, uploaded, and only then named by the manifest, under the lock.

Whatever ends it before that leaves the old backup of that name, and data that its mark tells the next recovery of;
afterwards the manifest decides.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Protocol, Self

from dumpty.errors import IntegrityError, MissingFile
from dumpty.process.call import commit_point
from dumpty.process.interruption import current_interruption
from dumpty.repository.named_marks import BACKUP, Marks, claim, give_up

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from dumpty.types import Store, Upload

__all__ = ["NamedTransaction", "Publisher"]

_log = logging.getLogger("dumpty")


class Publisher(Protocol):
    """Where the entry of a backup is written."""

    def prepare(self) -> None:
        """See to it that there is a manifest, before anything is marked: so one that is missing was lost."""
        ...

    def locked(self) -> AbstractContextManager[object]:
        """Hold the lock under which the manifest changes."""
        ...

    def publish(self, entry: Mapping[str, Any]) -> None:
        """Write an entry, in place of that of the same name, and read it back; asked for under the lock."""
        ...

    def is_listed(self, file: str) -> bool:
        """Return whether the manifest names ``file``."""
        ...


class NamedTransaction:
    """One backup on its way into a store, of one object whose name begins with ``stem``. A context manager."""

    def __init__(self, store: Store, publisher: Publisher, stem: str) -> None:
        self._store = store
        self._publisher = publisher
        self._marks = Marks(store)
        self._stem = stem
        self._file = ""
        self._upload: Upload | None = None
        self._may_be_listed = False
        self._committed = False
        self._interruption = current_interruption()
        self._pid = os.getpid()
        claim(stem, self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # First of all: an interrupt in what follows shall not keep a recovery in this process from doing it.
        give_up(self._stem)
        if not self._file or self._committed or self._pid != os.getpid():  # in a fork()ed child it is its parent's
            return
        try:
            self._withdraw(self._file)
        except Exception as error:  # noqa: BLE001 - the failure that led here is the one to report
            _log.warning(
                "what is left of %s could not be removed: %s; the next backup tries again",
                self._store.locate(self._file),
                error,
                extra={"event": "left-behind"},
            )

    def name(self, ending: str) -> str:
        """Return the name of the object that ``upload(ending)`` begins."""
        return self._stem + ending

    def upload(self, ending: str, expected: int | None = None) -> Upload:
        """Begin the one object, to be committed with the transaction; ``expected`` is about its size in bytes.

        Raises:
            Locked, ManifestError, StoreError: it cannot be begun.
        """
        if self._file:
            raise ValueError(f"a named backup is one object, and {self._file} was begun already")
        self._publisher.prepare()
        self._file = self.name(ending)
        self._marks.put(BACKUP, self._file)
        self._upload = self._store.upload(self._file, expected)
        return self._upload

    def commit(self, entry: Mapping[str, Any]) -> None:
        """Make the backup visible that ``entry`` describes, in place of the one of the same name.

        An interrupt that a plugin swallowed is raised again, and nothing is committed.

        Raises:
            IntegrityError: the object is not of the size that was written to it, or not the one that was uploaded.
            Locked, ManifestError, StoreError: it could not be made visible. Nothing of it stays, unless the manifest
                names it all the same.
        """
        self._interruption.check()
        if self._upload is None or entry["file"] != self._file:
            raise IntegrityError(f"an entry of {entry['file']} does not name what was uploaded, {self._file!r}")
        size = int(entry["size_bytes"])
        self._upload.commit()
        self._require_size(size)
        with self._publisher.locked():
            self._require_size(size)  # another machine, which cannot see this process, may have taken it for dead
            self._interruption.check()
            commit_point()
            self._may_be_listed = True
            self._publisher.publish(entry)
        self._committed = True

    def _withdraw(self, file: str) -> None:
        if self._upload is not None:
            self._upload.abort()
        if not self._may_be_listed or not self._publisher.is_listed(file):
            self._store.delete([file])
        self._marks.delete([file])

    def _require_size(self, size: int) -> None:
        address = self._store.locate(self._file)
        try:
            stored_size = self._store.stat(self._file).size
        except MissingFile as error:
            raise IntegrityError(
                f"{address} is gone before the manifest could name it; run the backup again"
            ) from error
        if stored_size != size:
            raise IntegrityError(f"{address} holds {stored_size} bytes after {size} were written to it")
