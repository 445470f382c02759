"""dumpty's own repository, over any store: each backup's objects, and beside them its manifest and what is said of it.

What guards them is ``dumpty.repository.protocol``; here it is joined with what the objects say.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty.errors import DumptyError, ManifestError, MissingFile, StoreError, UnknownBackup
from dumpty.repository.duplicates import merge_duplicates
from dumpty.repository.objects import StoredObjects
from dumpty.repository.presence import presence_of
from dumpty.repository.protocol.alarms import Telling, claim_telling, read_told
from dumpty.repository.protocol.annotations import accept, annotate, pin, unpin
from dumpty.repository.protocol.dooms import GOES_AHEAD, read_decision, read_dooms
from dumpty.repository.protocol.layout import (
    INTENT,
    MANIFEST,
    Entry,
    belongs_to,
    folder_name,
    is_commit,
    new_stem,
    parse_listing,
    split_name,
    stem_parts,
)
from dumpty.repository.protocol.reader_pin import ReaderPin
from dumpty.repository.protocol.recovery import recover, recover_pins
from dumpty.repository.protocol.removal import remove
from dumpty.repository.protocol.runs import Run, claim, list_runs, read_key, read_result
from dumpty.repository.reading import SmallObjects, as_manifest_error, lasting_pins, read_all
from dumpty.repository.reserve import keep_reserve, with_reserve
from dumpty.repository.transaction import PlainTransaction
from dumpty.repository.verification import encode_proof, encode_remark
from dumpty.types import Candidate, Cap, ListedBackup, Removal, RepositoryListing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from dumpty.types import Proof, Record, Store, StoredRun

__all__ = ["PlainRepository"]

_log = logging.getLogger("dumpty")
_RETRIES = 3


class PlainRepository(StoredObjects):
    """The backups of ``BackupManager`` in one store; the contract is ``dumpty.types.Repository``."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._small_objects = SmallObjects(store)
        self._pins: dict[str, list[str]] = {}
        self.clearing_seconds = 0.0
        """How long a backup takes it for granted that what ended runs of other databases left is cleared."""
        self._cleared_at = -math.inf

    def transaction(self, *, record_id: str, database: str, identity: str, started: datetime) -> PlainTransaction:
        folder = folder_name(database, identity)
        self._recover(folder)
        keep_reserve(self._store)
        return PlainTransaction(self._store, new_stem(folder, started, record_id))

    def listing(self) -> RepositoryListing:
        entries = parse_listing(self._store.list()).entries.values()
        committed = [entry for entry in entries if entry.committed]
        listing = self._listing(committed)
        self._small_objects.remember(committed)
        orphans = (self._orphan(entry) for entry in entries if entry.data and not entry.manifest and not entry.intent)
        return RepositoryListing(
            backups=merge_duplicates(listing.backups),
            problems=(*listing.problems, *(error for error in orphans if error is not None)),
        )

    def candidates(self, *, database: str = "", identity: str = "") -> tuple[Candidate, ...]:
        folder = folder_name(database, identity) if identity else ""
        entries = parse_listing(self._store.list(folder)).entries.values()
        orphaned = (entry for entry in entries if entry.data and not entry.manifest and not entry.intent)
        candidates = (
            *(self._candidate(entry, self._load) for entry in entries if entry.committed),
            *(self._candidate(entry, self._load_orphan) for entry in orphaned),
        )
        return tuple(sorted(candidates, key=lambda candidate: candidate.started))

    def get(self, record_id: str) -> Record:
        known = self._small_objects.name_of(record_id)
        if known:
            with contextlib.suppress(MissingFile):
                return self._small_objects.fresh_record(known)
        problems = []
        committed = parse_listing(self._store.list()).committed
        for stem in sorted(committed, key=lambda stem: (not committed[stem].data, stem)):  # of two, one that has data
            if not record_id.startswith(stem_parts(stem)[2]):
                continue
            try:
                record = self._small_objects.fresh_record(stem + MANIFEST)
            except MissingFile:  # removed meanwhile
                continue
            except (ManifestError, StoreError) as error:
                problems.append(as_manifest_error(error))
                continue
            if record.id == record_id:
                return record
        damaged = f"; {len(problems)} manifests there are damaged: {problems[0]}" if problems else ""
        raise UnknownBackup(
            f"no backup has the id {record_id!r} in {self.locate('')}{damaged}; "
            "list_backups() or dumpty list shows what is there"
        )

    def look_up(self, record: Record) -> ListedBackup:
        stem = _stem(record)
        entry = parse_listing(self._store.list(stem.partition("/")[0])).entries.get(stem) or Entry(stem=stem)
        self._small_objects.prefetch([entry])
        listed = self._listed(record, entry)
        self._small_objects.remember()
        if listed is None or not self._is_there(stem):
            raise UnknownBackup(f"backup {record.id} was removed meanwhile")
        return listed

    @contextlib.contextmanager
    def reading(self, record: Record) -> Iterator[None]:
        stem = _stem(record)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(ReaderPin(self._store, stem))
            except UnknownBackup:
                if not self._is_there(stem):  # else it is being removed, and is read as long as it is there
                    raise
            except StoreError:
                pass  # who may not write here reads without it
            yield

    def clear(self) -> None:
        recover(self._store)

    def add_proof(self, record: Record, proof: Proof) -> Proof:
        try:
            annotate(self._store, _stem(record), encode_proof(record.id, proof))
        except UnknownBackup:
            raise UnknownBackup(f"backup {record.id} was removed meanwhile") from None
        except (DumptyError, OSError) as error:
            return replace(proof, unrecorded=str(error))
        return proof

    def pin(self, record: Record, reason: str = "") -> None:
        content = encode_remark(record.id, reason, datetime.now(UTC))
        self._pins.setdefault(_stem(record), []).append(pin(self._store, _stem(record), content))

    def unpin(self, record: Record) -> bool:
        own = self._pins.get(_stem(record), [])  # which a listing may not show yet
        had_one = bool(self.look_up(record).annotations.pinned or own)
        unpin(self._store, _stem(record), own)
        self._pins.pop(_stem(record), None)
        for stem, entry in parse_listing(self._store.list(_stem(record).partition("/")[0])).committed.items():
            if belongs_to(stem, record.started, record.id) and lasting_pins(entry):  # it lies here twice
                had_one = True
                unpin(self._store, stem)
        return had_one

    def accept(self, record: Record, reason: str = "") -> None:
        accept(self._store, _stem(record), encode_remark(record.id, reason, datetime.now(UTC)))

    def remove(self, choose: Callable[[Sequence[ListedBackup]], Collection[str]]) -> Removal:
        return with_reserve(self._store, lambda: self._remove(choose))

    def claim_run(self, job: str, slot: str) -> Run | None:
        return claim(self._store, job, slot, alone=True)

    def runs(self, job: str = "") -> Iterator[StoredRun]:
        return list_runs(self._store, job)

    def run_key(self, job: str, slot: str) -> str | None:
        return read_key(self._store, job, slot)

    def run_result(self, job: str, slot: str) -> bytes | None:
        return read_result(self._store, job, slot)

    def claim_telling(self, job: str, channel: str) -> Telling | None:
        return claim_telling(self._store, job, channel)

    def told(self, job: str, channel: str) -> tuple[bytes, ...]:
        return read_told(self._store, job, channel)

    def _recover(self, folder: str) -> None:
        due = time.monotonic() - self._cleared_at >= self.clearing_seconds
        if due and Cap.LOCAL in self._store.capabilities():
            # Where a listing costs little, what attempts left that are of other databases is cleared, too.
            self._cleared_at = time.monotonic()
            try:
                recover(self._store)
            except StoreError as error:  # another database's folder may be closed to whoever backs up this one
                text = "what other databases' backups left is not cleared: %s"
                _log.warning(text, error, extra={"event": "left-behind"})
            else:
                return
        recover(self._store, folder)

    def _remove(self, choose: Callable[[Sequence[ListedBackup]], Collection[str]]) -> Removal:
        ids: dict[str, str] = {}
        kept: dict[str, str] = {}
        superfluous: list[str] = []
        chosen: frozenset[str] = frozenset()

        def decide(live: Mapping[str, Entry]) -> Iterable[str]:
            nonlocal chosen
            listed = self._listing(live.values()).backups
            self._small_objects.remember()
            stems = {_stem(backup.record): backup for backup in listed}
            ids.update({stem: backup.record.id for stem, backup in stems.items()})
            chosen = frozenset(choose(merge_duplicates(listed)))
            pinned = [b for b in listed if b.annotations.pinned and b.record.id in chosen]
            kept.update({b.record.id: f"it is pinned {b.annotations.pinned}" for b in pinned})
            superfluous[:] = [
                name for stem, b in stems.items() for name in self._small_objects.superfluous(b.record, live[stem])
            ]
            return [stem for stem, backup in stems.items() if backup.record.id in chosen - kept.keys()]

        if Cap.LOCAL in self._store.capabilities():
            recover_pins(self._store)
        outcome = remove(self._store, decide)
        for _ in range(_RETRIES):
            if not outcome.kept:
                break
            # Somebody has pinned one of them, perhaps only to read it: what else may go still can.
            outcome = replace(outcome, kept=frozenset()).plus(remove(self._store, decide))
        for stems, why in (
            (outcome.retained, "the place keeps it until a moment of its own"),
            (outcome.announced, "listings of this place may lag, so it is announced: remove it once more in a day"),
            (outcome.kept, "meanwhile it was pinned, or others that it was to outlive are going"),
        ):
            kept |= {ids[stem]: why for stem in stems if stem in ids and ids[stem] not in kept}
        remaining = {backup_id for stem, backup_id in ids.items() if stem not in outcome.removed}
        removed = {ids[stem] for stem in outcome.removed if stem in ids} - remaining
        kept |= dict.fromkeys(chosen - removed - kept.keys(), "it is being read")
        if superfluous:
            with contextlib.suppress(StoreError):
                self._store.delete(superfluous)
        return Removal(removed=tuple(sorted(removed)), kept=kept)

    def _candidate(self, entry: Entry, load: Callable[[Entry], ListedBackup]) -> Candidate:
        folder, started, id_start = stem_parts(entry.stem)
        return Candidate(
            id_start=id_start,
            started=started or datetime.max.replace(tzinfo=UTC),
            group=folder,
            database=folder.rpartition("-")[0],
            load=lambda: load(entry),
        )

    def _load(self, entry: Entry) -> ListedBackup:
        begun = time.monotonic()
        listing = self._listing([entry])
        self._small_objects.remember()
        for problem in listing.problems:
            raise problem
        for backup in listing.backups:
            if self._small_objects.was_read_since(entry.manifest, begun) or self._is_there(entry.stem):
                return backup
        raise UnknownBackup(f"{self.locate(entry.stem)} was removed meanwhile")

    def _load_orphan(self, entry: Entry) -> ListedBackup:
        raise self._orphan(entry) or UnknownBackup(f"{self.locate(entry.stem)} was removed meanwhile")

    def _listing(self, entries: Collection[Entry]) -> RepositoryListing:
        self._small_objects.prefetch(entries)
        records, problems = read_all(self._small_objects, entries)
        listed = (self._listed(record, entry) for record, entry in records)
        return RepositoryListing(backups=tuple(b for b in listed if b is not None), problems=tuple(problems))

    def _listed(self, record: Record, entry: Entry) -> ListedBackup | None:
        """Return what is known of a backup; None where it was removed meanwhile, or a removal of it did not end."""
        presence = presence_of(self._store, record, {found.name: found.size for found in entry.data})
        if presence.state == "lost" and (not self._is_there(entry.stem) or self._is_going(entry.stem)):
            return None
        return ListedBackup(
            record=record, presence=presence, annotations=self._small_objects.annotations(record, entry)
        )

    def _orphan(self, entry: Entry) -> ManifestError | None:
        """Return what is to be said of data without a manifest; None where a listing, which is no snapshot, misled."""
        try:
            if any(self._exists(entry.stem + ending) for ending in (INTENT, MANIFEST)):
                return None
            remaining = [found.name for found in entry.data if self._exists(found.name)]
        except StoreError as error:
            return as_manifest_error(error)
        if not remaining:
            return None
        names = f"{self.locate(entry.stem + MANIFEST)} is gone, and {self.locate(remaining[0])}"
        return ManifestError(f"the manifest {names} is there, of which nothing is known; nothing touches it")

    def _exists(self, name: str) -> bool:
        try:
            self._store.stat(name)
        except MissingFile:
            return False
        return True

    def _is_going(self, stem: str) -> bool:
        with contextlib.suppress(StoreError):
            for doom, stems in read_dooms(self._store).items():
                if stem in stems and read_decision(self._store, doom) == GOES_AHEAD:
                    return True
        return False

    def _is_there(self, stem: str) -> bool:
        try:
            return is_commit(self._store.stat(stem + MANIFEST))
        except MissingFile:
            return False
        except StoreError:  # it was read a moment ago
            return True


def _stem(record: Record) -> str:
    parts = split_name(record.objects[0].name)
    if parts is None:
        raise UnknownBackup(f"backup {record.id} is none of this repository's")
    return parts[0]
