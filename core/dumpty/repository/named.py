"""Backups under names that the caller chooses, all in one manifest: ``DatabaseBackup``'s, in a local directory.

The manifest is the one truth: what it names is a backup, and it changes under the directory's lock, all at once. Data
lies under a name that was never used before, and is removed only when the manifest does not name it. Whatever lies
between, ``named_marks`` tells; so this may be killed anywhere, and ``recover`` finishes it, or takes it back. There is
a manifest before there is a mark: where it is missing it was mislaid, and what it may have named is kept.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from dumpty.errors import ManifestError, MissingFile, NotPermitted, StoreError
from dumpty.repository.directory_lock import DirectoryLock
from dumpty.repository.named_manifest import NamedManifest, files_of
from dumpty.repository.named_marks import REMOVAL, Mark, Marks, new_stem
from dumpty.repository.named_reserve import NamedReserve
from dumpty.repository.named_transaction import NamedTransaction
from dumpty.repository.names import NAMED_MANIFEST
from dumpty.repository.objects import StoredObjects
from dumpty.types import PRESENT, Presence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dumpty.types import Found, State, Store

__all__ = ["NamedCatalog"]

_log = logging.getLogger("dumpty")
_UPLOAD_SILENCE = timedelta(days=1)
"""How old what an upload left must be where the file system cannot tell whether its writer lives."""


class NamedCatalog(StoredObjects):
    """The backups of ``DatabaseBackup``: entries (JSON objects) in ``backup_manifest.json``, in order of time.

    Args:
        store: where they are.
        directory: the store's, which is locked while the manifest changes.
        lock_timeout: how long the lock is waited for, in seconds.
    """

    MANIFEST = NAMED_MANIFEST

    def __init__(self, store: Store, directory: str, lock_timeout: float = 600.0) -> None:
        super().__init__(store)
        self._directory = directory
        self._lock_timeout = lock_timeout
        self._marks = Marks(store)
        self._manifest = NamedManifest(store)
        self._reserve = NamedReserve(directory)

    def transaction(self, name: str) -> NamedTransaction:
        """Begin the backup ``name``; what is committed is its entry, which names one object."""
        return NamedTransaction(self._store, self, new_stem(name))

    def locked(self) -> DirectoryLock:
        """Hold the lock under which the manifest changes."""
        return DirectoryLock(self._directory, self._lock_timeout)

    def entries(self) -> list[dict[str, Any]]:
        """Return the manifest's entries; none where there is no manifest yet.

        Raises:
            ManifestError: it is damaged, or written by a newer dumpty.
            StoreError: it cannot be read.
        """
        return self._manifest.read() or []

    def is_listed(self, file: str) -> bool:
        return file in files_of(self.entries())

    def presence(self, entry: Mapping[str, Any]) -> Presence:
        """Return whether the data of an entry is there, and whole by its size; the store is asked, not the manifest."""
        size, address = entry["size_bytes"], self._store.locate(entry["file"])
        try:
            actual_size = self._store.stat(entry["file"]).size
        except MissingFile:
            return Presence(state="lost", reason=f"its data {address} is gone")
        except StoreError as error:
            return Presence(state="lost", reason=f"its data cannot be had: {error}")
        if actual_size == size:
            return PRESENT
        state: State = "lost" if actual_size < size else "damaged"
        return Presence(state=state, reason=f"its data {address} has {actual_size:,} bytes, and {size:,} were stored")

    def prepare(self) -> None:
        """See to it that there is a manifest.

        Raises:
            StoreError, ManifestError, Locked: there is none, and none can be written.
        """
        if self._manifest.read() is None:
            with self.locked():
                if self._manifest.read() is None:
                    self._keep_unlisted()
                    self._manifest.write([])

    def publish(self, entry: Mapping[str, Any]) -> None:
        """Add an entry in place of the one of the same name, whose data goes. Call it under the lock.

        Raises:
            StoreError, ManifestError: it failed, and the old entry stands; unless the new one is read back.
        """
        entries = self._manifest.read()
        if entries is None:
            self._keep_unlisted(besides=entry["file"])
            entries = []
        replaced = [e["file"] for e in entries if e["name"] == entry["name"]]
        size = self._switch([e for e in entries if e["name"] != entry["name"]] + [dict(entry)], dropped=replaced)
        # The switch is made: what cannot be removed now is only space.
        self._clear([entry["file"]], doomed=replaced)
        self._reserve.keep(size)

    def remove(self, choose: Callable[[list[dict[str, Any]]], Sequence[dict[str, Any]]]) -> int:
        """Remove the entries that ``choose`` picks, with their data; return how many. A full disk does not prevent it.

        Raises:
            StoreError: some data could not be removed; those entries, and no others, are still there. Or a power
                failure may bring them back, as the message says.
            ManifestError: it is damaged, or written by a newer dumpty.
        """
        with self.locked():
            chosen = files_of(choose(self.entries()))
            if chosen:
                try:
                    self._reserve.use(lambda: self._remove(chosen), again=lambda: self._remove_each(chosen))
                except StoreError as error:
                    self._raise_removal_error(chosen, error)
        return len(chosen)

    def recover(self) -> None:
        """Finish, or take back, what ended processes left. What cannot be removed now is logged.

        Raises:
            ManifestError: the manifest is damaged, or written by a newer dumpty. Nothing was touched.
            StoreError, Locked: the directory cannot be listed, or changed.
        """
        self.entries()
        with _left_for_later(self._store.locate("")):
            self._store.sweep(_UPLOAD_SILENCE)
        found_marks = self._marks.find()
        if found_marks:
            with self.locked():
                if self._manifest.read() is None:
                    self._keep_unlisted()
                settle = functools.partial(self._settle, found_marks)
                self._reserve.use(settle, again=settle)

    def _keep_unlisted(self, besides: str = "") -> None:
        """Keep for good, where the manifest is missing, what it may have named: it has no mark any more.

        Where that cannot be done no new manifest may be written, by which it would look like data of no use.

        Args:
            besides: what is under way here, and was never named.
        """
        marks = [self._marks.read(found) for found in self._marks.find()]
        kept = [mark.file for mark in marks if mark and mark.file != besides and self._is_there(mark.file)]
        if kept:
            self._marks.delete(kept)
        for file in kept:
            text = (
                "the manifest %s is missing; %s, which it may have listed, is kept, and no backup until it is put back"
            )
            manifest, data = self._store.locate(self.MANIFEST), self._store.locate(file)
            _log.warning(text, manifest, data, extra={"event": "manifest-missing"})

    def _is_there(self, file: str) -> bool:
        try:
            self._store.stat(file)
        except MissingFile:
            return False
        return True

    def _settle(self, found_marks: Iterable[Found]) -> None:
        entries = self._manifest.read()
        listed = set(files_of(entries or []))
        settled: list[str] = []
        doomed: list[Mark] = []
        for found in found_marks:
            with _left_for_later(self._store.locate(found.name)):
                mark = self._marks.read(found)
                if mark is None:
                    continue
                if mark.file in listed:
                    settled.append(mark.file)
                elif mark.is_abandoned(self._store.now):
                    doomed.append(mark)
        if entries is not None and any(mark.kind == REMOVAL for mark in doomed):
            # The failure that ended the removal may be that of making the manifest durable.
            self._manifest.write(entries)
        self._clear(settled, doomed=[mark.file for mark in doomed])

    def _remove(self, files: Sequence[str]) -> None:
        """Remove entries with their data; raise what prevented that of some, which are still there."""
        entries = self.entries()
        self._switch([e for e in entries if e["file"] not in files], dropped=files)
        problems = self._delete_data(files)
        gone = [file for file in files if file not in problems]
        put_back = not problems or self._try_to_write([e for e in entries if e["file"] not in gone])
        self._delete_marks(files if put_back else gone)
        if problems:
            raise next(iter(problems.values()))

    def _remove_each(self, files: Sequence[str]) -> None:
        """Do that in little room, which each that is gone leaves to the next; raise what came up first."""
        problems: list[StoreError] = []
        for file in files:
            try:
                if self.is_listed(file):
                    self._remove([file])
            except StoreError as error:
                problems.append(error)
        self._settle(self._marks.find())  # what the manifest did not name any more when the room gave out
        if problems:
            raise problems[0]

    def _switch(self, entries: Sequence[Mapping[str, Any]], *, dropped: Sequence[str]) -> int:
        """Write the manifest, which names the data ``dropped`` no more, and is marked first; return its size."""
        try:
            for file in dropped:
                self._marks.put(REMOVAL, file)
            return self._manifest.write(entries)
        except BaseException:
            with contextlib.suppress(Exception):  # the failure that led here is the one to report
                listed = set(files_of(self.entries()))
                self._marks.delete([file for file in dropped if file in listed])
            raise

    def _clear(self, files: Sequence[str], *, doomed: Sequence[str]) -> None:
        """Delete the data ``doomed`` with its marks, and the marks of ``files``; what stays is logged."""
        problems = self._delete_data(doomed)
        for file, problem in problems.items():
            _log_left_behind(self._store.locate(file), problem)
        self._delete_marks([*files, *(file for file in doomed if file not in problems)])

    def _delete_data(self, files: Sequence[str]) -> dict[str, StoreError]:
        """Delete data that the manifest does not name; return, for all that is still there, why."""
        problems: dict[str, StoreError] = {}
        for file in files:
            try:
                self._store.delete([file])
            except StoreError as error:
                with contextlib.suppress(MissingFile):
                    with contextlib.suppress(StoreError):
                        self._store.stat(file)
                    problems[file] = error
        return problems

    def _delete_marks(self, files: Sequence[str]) -> None:
        if files:
            with _left_for_later(f"the mark of {self._store.locate(files[0])}"):
                self._marks.delete(files)

    def _raise_removal_error(self, chosen: Sequence[str], problem: StoreError) -> NoReturn:
        try:
            listed = set(files_of(self.entries()))
            left = [file for file in chosen if file in listed]
            orphans = [file for file in chosen if file not in listed and self._is_there(file)]
        except (StoreError, ManifestError):
            raise problem from problem.__cause__
        if left:
            text = f"removed {len(chosen) - len(left)} backups, but {len(left)} could not be removed: {problem}"
        elif orphans:
            text = f"removed {len(chosen)} backups, but the data of {len(orphans)} is still there, and a power failure "
            text += f"may bring them back: {problem}"
        else:
            text = f"removed {len(chosen)} backups, but a power failure may bring that back: {problem}"
        kind = NotPermitted if isinstance(problem, NotPermitted) else StoreError
        raise kind(text) from problem

    def _try_to_write(self, entries: Sequence[Mapping[str, Any]]) -> bool:
        with contextlib.suppress(StoreError, ManifestError):
            self._manifest.write(entries)
            return True
        return False


@contextlib.contextmanager
def _left_for_later(address: str) -> Iterator[None]:
    try:
        yield
    except (MissingFile, StoreError) as error:
        _log_left_behind(address, error)


def _log_left_behind(address: str, error: Exception) -> None:
    text = "what is of no use any more at %s could not be removed: %s; the next backup tries again"
    _log.warning(text, address, error, extra={"event": "left-behind"})
