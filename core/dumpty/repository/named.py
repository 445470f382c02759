"""Backups under names that the caller chooses, all in one manifest: ``DatabaseBackup``'s.

It may be killed anywhere, as ``Catalog`` may, and keeps to the same rules, which stand in ``catalog``.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any

from dumpty.errors import DumptyError, ManifestError, MissingFile, StoreError
from dumpty.repository import manifest, sealed
from dumpty.repository.journal import committing, mark_pending
from dumpty.repository.names import NAMED_MANIFEST, REMOVED, slug
from dumpty.repository.objects import NOT_DURABLE, StoredObjects, delete_for_good, locked, read_object, write_object
from dumpty.repository.transaction import StoreTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager


class NamedCatalog(StoredObjects):
    """The backups of ``DatabaseBackup``: entries (JSON objects) in ``backup_manifest.json``, in order of time."""

    MANIFEST = NAMED_MANIFEST

    def transaction(self, name: str) -> StoreTransaction[Mapping[str, Any]]:
        """Begin the backup ``name``; what is committed is its entry, which names one object."""
        return StoreTransaction(self._store, self, f"{slug(name)}.{uuid.uuid4().hex}")

    def sizes_of(self, content: Mapping[str, Any]) -> dict[str, int]:
        return {str(content["file"]): int(content["size_bytes"])}

    def committing(self, *files: str) -> AbstractContextManager[Callable[[], None]]:
        """Hold the lock, and the marks, under which files and the manifest change; gives what ``Catalog``'s does."""
        return committing(self._store, self._is_listed, *files)

    def entries(self) -> list[dict[str, Any]]:
        """Return the manifest's entries; none where there is no manifest yet.

        Raises:
            ManifestError: it is damaged, or written by a newer dumpty.
        """
        label = f"the manifest {self._store.locate(self.MANIFEST)}"
        try:
            data = read_object(self._store, self.MANIFEST)
        except MissingFile:
            return []
        entries = sealed.unseal(data, label).get("backups")
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise ManifestError(f"{label} is damaged: it lists no backups")
        for entry in entries:
            manifest.bare_name(entry.get("file"), label)
            manifest.check_entry(entry, label)
        return entries

    def publish(self, content: Mapping[str, Any]) -> None:
        """Add an entry in place of the one of the same name, whose data goes. Call it under ``committing``.

        Raises:
            StoreError, ManifestError: it failed; the old entry stands, and the new data was removed.
        """
        with contextlib.ExitStack() as stack:
            replaced: list[str] = []
            try:
                old = self.entries()
                replaced = [e["file"] for e in old if e["name"] == content["name"]]
                stack.enter_context(mark_pending(self._store, self._is_listed, *replaced))
                self._write([e for e in old if e["name"] != content["name"]] + [dict(content)])
            except BaseException:
                with contextlib.suppress(Exception):  # the failure that led here is the one to report
                    listed_files = {e["file"] for e in self.entries()}
                    if content["file"] not in listed_files:
                        self._store.delete(str(content["file"]))
                    # A switch that was made in spite of the error leaves the old data to the next `clean`.
                    for file in set(replaced) - listed_files:
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
        with locked(self._store):
            entries = self.entries()
            chosen = choose(entries)
            removed: list[dict[str, Any]] = []
            problems: list[str] = []
            try:
                for entry in chosen:
                    try:
                        with contextlib.suppress(MissingFile):
                            self._store.rename(entry["file"], entry["file"] + REMOVED)
                        removed.append(entry)
                    except StoreError as error:
                        problems.append(str(error))
                if removed:
                    self._write([e for e in entries if e not in removed])
            except BaseException as error:
                if self._undo_removal(chosen) and isinstance(error, StoreError):
                    raise StoreError(f"removed {len(removed)} backups, but {NOT_DURABLE}: {error}") from error
                raise
            failed = [e for e in removed if self._deletion_failed(e, problems)]
            if failed:
                removed = [e for e in removed if e not in failed]
                with contextlib.suppress(StoreError, ManifestError):  # what stays unlisted goes with the next `clean`
                    self._write([e for e in entries if e not in removed])
                self._undo_removal(failed)
        if problems:
            raise StoreError(f"removed {len(removed)} backups, but {len(problems)} could not be removed: {problems[0]}")
        return len(removed)

    def _deletion_failed(self, entry: Mapping[str, Any], problems: list[str]) -> bool:
        """Delete the data of an entry that is not listed any more; return whether that failed, and append why."""
        problem = delete_for_good(self._store, entry["file"] + REMOVED)
        problems += [problem] if problem else []
        return bool(problem)

    def _undo_removal(self, entries: Sequence[Mapping[str, Any]]) -> bool:
        """Give the data of entries that are still listed their names back; return whether none is, and that is sure.

        What the manifest names no more, in spite of an error, is left to the next `clean`.
        """
        try:
            listed_files = {e["file"] for e in self.entries()}
        except (StoreError, ManifestError):
            return False
        listed = [e["file"] for e in entries if e["file"] in listed_files]
        for file in listed:
            with contextlib.suppress(StoreError, MissingFile):
                self._store.rename(file + REMOVED, file)
        return not listed

    def _is_listed(self, file: str) -> bool:
        return any(e["file"] == file for e in self.entries())

    def _write(self, entries: Sequence[Mapping[str, Any]]) -> None:
        data = sealed.seal({"backups": list(entries)})
        write_object(self._store, self.MANIFEST, data)
        if read_object(self._store, self.MANIFEST) != data:
            raise ManifestError(f"{self._store.locate(self.MANIFEST)} reads back otherwise than it was written")
