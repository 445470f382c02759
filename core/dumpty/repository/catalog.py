"""What is in a backup directory: a manifest beside each backup, written last, from which every listing is rebuilt.

``Catalog`` is ``BackupManager``'s, ``named.NamedCatalog`` is ``DatabaseBackup``'s. Neither lists or removes the
other's files.

Both can be killed anywhere, and ``recovery`` finishes or takes back what was left. A file is only ever removed
on proof that it is dumpty's to remove, never for want of a manifest, which may have been lost:

- while data and manifest become visible, a mark stands for the doubt (``journal``): if its writer is dead, or let
  it stay after a failure, and no manifest names the file, the file is an orphan;
- removal renames the data to ``FILE.removed``, then takes it out of the manifest, then removes it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty.errors import ManifestError, MissingFile, Pinned, StoreError, UnknownBackup
from dumpty.repository import manifest
from dumpty.repository.journal import committing
from dumpty.repository.names import MANIFEST, REMOVED, sidecar_name, slug
from dumpty.repository.objects import NOT_DURABLE, delete_for_good, exists, locked, read_object, sizes_in, write_object
from dumpty.repository.verification import PIN, PROOFS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from dumpty.types import Record, Store


class Catalog:
    """The backups of ``BackupManager`` in one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def stem(self, record_id: str, database: str, moment: datetime) -> str:
        """Return the fresh, bare name that all of a backup's begins with."""
        return f"{slug(database)}-{moment:%Y%m%dT%H%M%SZ}-{record_id.replace('-', '')[:12]}"

    def committing(self, *files: str) -> AbstractContextManager[Callable[[], None]]:
        return committing(self._store, self._is_listed, *files)

    def sizes_of(self, content: Record) -> dict[str, int]:
        return {entry.name: entry.size for entry in content.objects}

    def publish(self, content: Record) -> None:
        """Write the manifest of a backup whose data is there, and read it back. Call it under ``committing``.

        Raises:
            StoreError, ManifestError: it failed; data and manifest were removed.
        """
        try:
            name = sidecar_name(content.file, MANIFEST)
            write_object(self._store, name, manifest.encode(content))
            if self._read(name) != content:
                raise ManifestError(f"{self._store.locate(name)} reads back otherwise than it was written")
        except BaseException:
            with contextlib.suppress(Exception):  # the failure that led here is the one to report
                name = sidecar_name(content.file, MANIFEST)
                with contextlib.suppress(MissingFile, StoreError):
                    self._store.delete(name)
                if not self.exists(name):  # while a manifest names it, the data stays
                    for entry in content.objects:
                        self._store.delete(entry.name)
            raise

    def names(self) -> list[str]:
        """Return the name of every object in the store."""
        return list(self.sizes())

    def sizes(self) -> dict[str, int]:
        """Return the size of every object in the store, in bytes, by name."""
        return sizes_in(self._store)

    def records(self, names: Iterable[str] | None = None) -> tuple[list[Record], list[ManifestError]]:
        """Return every backup, oldest first, and an error for each manifest that cannot be read.

        ``names``: those of the store's objects, where they are known already.
        """
        records, errors = [], []
        for name in self.names() if names is None else names:
            if name.endswith(MANIFEST):
                try:
                    records.append(self._read(name))
                except MissingFile:
                    continue  # removed by somebody else meanwhile
                except (ManifestError, StoreError) as error:
                    errors.append(error if isinstance(error, ManifestError) else ManifestError(str(error)))
        return sorted(records, key=lambda r: (r.started, r.id)), errors

    def get(self, record_id: str) -> Record:
        """Return the backup whose whole id is ``record_id``.

        Raises:
            UnknownBackup: there is none.
        """
        records, errors = self.records()
        for record in records:
            if record.id == record_id:
                return record
        damaged = f"; {len(errors)} manifests there are damaged: {errors[0]}" if errors else ""
        raise UnknownBackup(
            f"no backup has the id {record_id!r} in {self._store.locate('')}{damaged}; "
            "list_backups() or dumpty list shows what is there"
        )

    def remove(self, record: Record) -> str:
        """Remove a backup for good.

        Returns:
            "", or why its data is still there: then it is not listed any more, and goes with the next ``clean``.

        Raises:
            Pinned: it is pinned.
            UnknownBackup: another process has removed it meanwhile.
            StoreError: it could not be removed, and is still listed; or a power failure may bring it back, as the
                message says.
        """
        with self.locked():
            if self.exists(sidecar_name(record.file, PIN)):
                raise Pinned(f"backup {record.id} is pinned, so it was not removed; dumpty unpin {record.id} frees it")
            manifest_name = sidecar_name(record.file, MANIFEST)
            if not self.exists(manifest_name):
                raise UnknownBackup(f"backup {record.id} is gone: another process has removed it meanwhile")
            listed = True
            try:
                for entry in record.objects:
                    with contextlib.suppress(MissingFile):
                        self._store.rename(entry.name, entry.name + REMOVED)
                self._store.delete(manifest_name)
            except BaseException as error:
                with contextlib.suppress(Exception):  # the failure that led here is the one to report
                    # A manifest that went in spite of the error leaves its data to the next `clean`.
                    listed = self.exists(manifest_name)
                    for entry in record.objects if listed else ():
                        with contextlib.suppress(MissingFile):
                            self._store.rename(entry.name + REMOVED, entry.name)
                if not listed and isinstance(error, StoreError):
                    raise StoreError(f"backup {record.id} is removed, but {NOT_DURABLE}: {error}") from error
                raise
            with contextlib.suppress(StoreError, MissingFile):
                self._store.delete(sidecar_name(record.file, PROOFS))
            problems = [delete_for_good(self._store, entry.name + REMOVED) for entry in record.objects]
            return next(filter(None, problems), "")

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock under which what is listed changes."""
        return locked(self._store)

    def exists(self, name: str) -> bool:
        """Return whether the store has an object of this name."""
        return exists(self._store, name)

    def _is_listed(self, file: str) -> bool:
        return self.exists(sidecar_name(file, MANIFEST))

    def _read(self, name: str) -> Record:
        record = manifest.decode(read_object(self._store, name), f"the manifest {self._store.locate(name)}")
        for entry in record.objects:
            if sidecar_name(entry.name, MANIFEST) != name:
                raise ManifestError(f"the manifest {self._store.locate(name)} is damaged: it belongs to {entry.name}")
        return record
