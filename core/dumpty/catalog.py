"""What is in a backup directory: manifests, written last and read back, from which every listing is rebuilt.

``Catalog`` is ``BackupManager``'s: one manifest beside each backup. ``NamedCatalog`` is ``DatabaseBackup``'s: one
manifest for all. Neither lists or removes the other's files.

Both can be killed anywhere, and ``dumpty.cleaning`` finishes or takes back what was left. A file is only ever removed
on proof that it is dumpty's to remove, never for want of a manifest, which may have been lost:

- while data and manifest become visible, a mark stands for the doubt (``dumpty.marks``): if its writer is dead, or let
  it stay after a failure, and no manifest names the file, the file is an orphan;
- removal renames the data to ``FILE.removed``, then takes it out of the manifest, then removes it.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from typing import TYPE_CHECKING, Any

from dumpty import manifest
from dumpty.errors import DumptyError, ManifestError, MissingFile, Pinned, StoreError, UnknownBackup
from dumpty.marks import committing, marked
from dumpty.names import NAMED_MANIFEST, slug
from dumpty.objects import is_there, read_object, write_object
from dumpty.proofs import PIN, PROOFS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from dumpty.manifest import Record
    from dumpty.types import Store

MANIFEST = ".manifest.json"
REMOVED = ".removed"
# Never a name that NamedCatalog gives: those have 32 hexadecimal digits before their last suffix.
OWN_NAME = re.compile(r"^(?P<stem>.+-\d{8}T\d{6}Z-[0-9a-f]{12})\.(?!(.*\.)?[0-9a-f]{32}\.)")


class Catalog:
    """The backups of ``BackupManager`` in one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def file_name(self, record_id: str, database: str, moment: datetime, suffix: str) -> str:
        """Return the fresh, bare name of a backup's data."""
        return f"{slug(database)}-{moment:%Y%m%dT%H%M%SZ}-{record_id.replace('-', '')[:12]}{suffix}"

    def committing(self, file: str) -> AbstractContextManager[Callable[[], None]]:
        """Hold the lock, and the mark, under which ``file`` and its manifest become visible.

        Whoever has removed the data again, before a manifest could name it, calls what this gives.
        """
        return committing(self._store, self._names, file)

    def commit(self, record: Record) -> None:
        """Write the manifest of a backup whose data is there, and read it back. Call it under ``committing``.

        Raises:
            StoreError, ManifestError: it failed; data and manifest were removed.
        """
        name = name_beside(record.file, MANIFEST)
        try:
            write_object(self._store, name, manifest.encode(record))
            if self._read(name) != record:
                raise ManifestError(f"{self._store.locate(name)} reads back otherwise than it was written")
        except BaseException:
            with contextlib.suppress(Exception):  # the failure that led here is the one to report
                with contextlib.suppress(MissingFile, StoreError):
                    self._store.delete(name)
                if not self.is_there(name):  # while a manifest names it, the data stays
                    self._store.delete(record.file)
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
            if self.is_there(name_beside(record.file, PIN)):
                raise Pinned(f"backup {record.id} is pinned, so it was not removed; dumpty unpin {record.id} frees it")
            gone, listed_by = record.file + REMOVED, name_beside(record.file, MANIFEST)
            if not self.is_there(listed_by):
                raise UnknownBackup(f"backup {record.id} is gone: another process has removed it meanwhile")
            listed = True
            try:
                with contextlib.suppress(MissingFile):
                    self._store.rename(record.file, gone)
                self._store.delete(listed_by)
            except BaseException as error:
                with contextlib.suppress(Exception):  # the failure that led here is the one to report
                    # A manifest that went in spite of the error leaves its data to the next `clean`.
                    listed = self.is_there(listed_by)
                    if listed:
                        self._store.rename(gone, record.file)
                if not listed and isinstance(error, StoreError):
                    raise StoreError(f"backup {record.id} is removed, but {_UNSURE}: {error}") from error
                raise
            with contextlib.suppress(StoreError, MissingFile):
                self._store.delete(name_beside(record.file, PROOFS))
            return _delete_for_good(self._store, gone)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock under which what is listed changes."""
        return _locked(self._store)

    def is_there(self, name: str) -> bool:
        """Return whether the store has an object of this name."""
        return is_there(self._store, name)

    def _names(self, file: str) -> bool:
        return self.is_there(name_beside(file, MANIFEST))

    def _read(self, name: str) -> Record:
        record = manifest.decode(read_object(self._store, name), f"the manifest {self._store.locate(name)}")
        if name_beside(record.file, MANIFEST) != name:
            raise ManifestError(f"the manifest {self._store.locate(name)} is damaged: it belongs to {record.file}")
        return record


class NamedCatalog:
    """The backups of ``DatabaseBackup``: entries (JSON objects) in ``backup_manifest.json``, in order of time."""

    MANIFEST = NAMED_MANIFEST

    def __init__(self, store: Store) -> None:
        self._store = store

    def file_name(self, name: str, suffix: str) -> str:
        """Return a fresh, bare name for the data of the backup ``name``."""
        return f"{slug(name)}.{uuid.uuid4().hex}{suffix}"

    def committing(self, *files: str) -> AbstractContextManager[Callable[[], None]]:
        """Hold the lock, and the marks, under which files and the manifest change; gives what ``Catalog``'s does."""
        return committing(self._store, self._names, *files)

    def entries(self) -> list[dict[str, Any]]:
        """Return the manifest's entries; none where there is no manifest yet.

        Raises:
            ManifestError: it is damaged, or written by a newer dumpty.
        """
        what = f"the manifest {self._store.locate(self.MANIFEST)}"
        try:
            data = read_object(self._store, self.MANIFEST)
        except MissingFile:
            return []
        entries = manifest.unseal(data, what).get("backups")
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise ManifestError(f"{what} is damaged: it lists no backups")
        for entry in entries:
            manifest.bare(entry.get("file"), what)
            manifest.check_entry(entry, what)
        return entries

    def put(self, entry: Mapping[str, Any]) -> None:
        """Add an entry in place of the one of the same name, whose data goes. Call it under ``committing``.

        Raises:
            StoreError, ManifestError: it failed; the old entry stands, and the new data was removed.
        """
        with contextlib.ExitStack() as stack:
            replaced: list[str] = []
            try:
                old = self.entries()
                replaced = [e["file"] for e in old if e["name"] == entry["name"]]
                stack.enter_context(marked(self._store, self._names, *replaced))
                self._write([e for e in old if e["name"] != entry["name"]] + [dict(entry)])
            except BaseException:
                with contextlib.suppress(Exception):  # the failure that led here is the one to report
                    named = {e["file"] for e in self.entries()}
                    if entry["file"] not in named:
                        self._store.delete(str(entry["file"]))
                    # A switch that was made in spite of the error leaves the old data to the next `clean`.
                    for file in set(replaced) - named:
                        self._store.rename(file, file + REMOVED)
                raise
            for file in replaced:
                # The switch is made: what cannot be removed now is only space, and under that name goes with a `clean`.
                removed = file + REMOVED
                try:
                    self._store.rename(file, removed)
                except DumptyError:
                    removed = file
                with contextlib.suppress(DumptyError):
                    self._store.delete(removed)

    def remove(self, choose: Callable[[list[dict[str, Any]]], Sequence[dict[str, Any]]]) -> int:
        """Remove the entries that ``choose`` picks, with their data; return how many.

        Raises:
            StoreError: some data could not be removed; those entries, and no others, are still there.
        """
        with _locked(self._store):
            entries = self.entries()
            chosen = choose(entries)
            gone: list[dict[str, Any]] = []
            problems: list[str] = []
            try:
                for entry in chosen:
                    try:
                        with contextlib.suppress(MissingFile):
                            self._store.rename(entry["file"], entry["file"] + REMOVED)
                        gone.append(entry)
                    except StoreError as error:
                        problems.append(str(error))
                if gone:
                    self._write([e for e in entries if e not in gone])
            except BaseException as error:
                if self._put_back(chosen) and isinstance(error, StoreError):
                    raise StoreError(f"removed {len(gone)} backups, but {_UNSURE}: {error}") from error
                raise
            stay = [e for e in gone if self._stays(e, problems)]
            if stay:
                gone = [e for e in gone if e not in stay]
                with contextlib.suppress(StoreError, ManifestError):  # what stays unlisted goes with the next `clean`
                    self._write([e for e in entries if e not in gone])
                self._put_back(stay)
        if problems:
            raise StoreError(f"removed {len(gone)} backups, but {len(problems)} could not be removed: {problems[0]}")
        return len(gone)

    def _stays(self, entry: Mapping[str, Any], problems: list[str]) -> bool:
        """Delete the data of an entry that is not listed any more; return whether that failed, and add why."""
        problem = _delete_for_good(self._store, entry["file"] + REMOVED)
        problems += [problem] if problem else []
        return bool(problem)

    def _put_back(self, entries: Sequence[Mapping[str, Any]]) -> bool:
        """Give the data of entries that are still listed their names back; return whether none is, and that is sure.

        What the manifest names no more, in spite of an error, is left to the next `clean`.
        """
        try:
            named = {e["file"] for e in self.entries()}
        except (StoreError, ManifestError):
            return False
        listed = [e["file"] for e in entries if e["file"] in named]
        for file in listed:
            with contextlib.suppress(StoreError, MissingFile):
                self._store.rename(file + REMOVED, file)
        return not listed

    def _names(self, file: str) -> bool:
        return any(e["file"] == file for e in self.entries())

    def _write(self, entries: Sequence[Mapping[str, Any]]) -> None:
        data = manifest.seal({"backups": list(entries)})
        write_object(self._store, self.MANIFEST, data)
        if read_object(self._store, self.MANIFEST) != data:
            raise ManifestError(f"{self._store.locate(self.MANIFEST)} reads back otherwise than it was written")


_UNSURE = "a power failure may bring that back"


def _delete_for_good(store: Store, name: str) -> str:
    """Delete what is not listed any more; return why it is still there, or "" where it is gone."""
    try:
        store.delete(name)
    except MissingFile:
        return ""
    except StoreError as error:
        with contextlib.suppress(MissingFile, StoreError):
            store.stat(name)
            return str(error)
    return ""


def sizes_in(store: Store) -> dict[str, int]:
    """Return the size of every object in a store, in bytes, by name."""
    return {found.name: found.size for found in store.list()}


def _locked(store: Store) -> AbstractContextManager[None]:
    return store.lock("catalog")


def name_beside(file: str, ending: str) -> str:
    """Return the name of what belongs to the backup whose data is ``file``: its manifest, proofs or pin.

    Raises:
        ManifestError: dumpty never gave this name to a backup's data.
    """
    match = OWN_NAME.match(file)
    if match is None:
        raise ManifestError(f"{file!r} is not a name that dumpty gives to backups")
    return match["stem"] + ending
