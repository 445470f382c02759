"""dumpty's own repository, over any store: each backup's objects, and beside them its manifest, proofs and pin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.errors import UnknownBackup
from dumpty.repository.catalog import Catalog
from dumpty.repository.objects import StoredObjects
from dumpty.repository.presence import presence_of, undo_removal
from dumpty.repository.recovery import clean
from dumpty.repository.transaction import StoreTransaction
from dumpty.repository.verification import PIN, PROOFS
from dumpty.repository.verification_log import VerificationLog
from dumpty.types import NO_ANNOTATIONS, ListedBackup, RepositoryListing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from dumpty.types import Proof, Record, Store

__all__ = ["PlainRepository"]


class PlainRepository(StoredObjects):
    """The backups of ``BackupManager`` in one store; the contract is ``dumpty.types.Repository``."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._catalog = Catalog(store)
        self._verification_log = VerificationLog(store, self._catalog)

    def transaction(
        self,
        *,
        record_id: str,
        database: str,
        identity: str,  # noqa: ARG002 - a stem says less
        started: datetime,
    ) -> StoreTransaction[Record]:
        self.clear()
        return StoreTransaction(self._store, self._catalog, self._catalog.stem(record_id, database, started))

    def listing(self) -> RepositoryListing:
        sizes = self._catalog.sizes()
        records, problems = self._catalog.records(sizes)
        return RepositoryListing(backups=self._join(records, sizes), problems=tuple(problems))

    def get(self, record_id: str) -> Record:
        return self._catalog.get(record_id)

    def look_up(self, record: Record) -> ListedBackup:
        for backup in self._join([record], self._catalog.sizes()):
            return backup
        raise UnknownBackup(f"backup {record.id} was removed meanwhile")

    def prepare(self, record: Record) -> None:
        for entry in record.objects:
            undo_removal(self._store, entry.name)

    def clear(self) -> None:
        clean(self._store)

    def add_proof(self, record: Record, proof: Proof) -> Proof:
        return self._verification_log.add(record, proof)

    def pin(self, record: Record, reason: str = "") -> None:
        self._verification_log.pin(record, reason)

    def unpin(self, record: Record) -> bool:
        return self._verification_log.unpin(record)

    def remove(self, record: Record) -> str:
        return self._catalog.remove(record)

    def _join(self, records: Sequence[Record], sizes: Mapping[str, int]) -> tuple[ListedBackup, ...]:
        presences = presence_of(self._store, records, sizes)
        sidecars = {name for name in sizes if name.endswith((PROOFS, PIN))}
        annotations_of = self._verification_log.read if sidecars else lambda *_: NO_ANNOTATIONS
        return tuple(
            ListedBackup(record=r, presence=presences[r.id], annotations=annotations_of(r, sidecars))
            for r in records
            if r.id in presences
        )
