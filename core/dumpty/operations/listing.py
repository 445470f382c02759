"""The backups in a store as people see them: manifests, what became of their data, proofs and pins, joined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.errors import UnknownBackup
from dumpty.operations.result import Backup, Listing, log, to_backup
from dumpty.repository.presence import presence_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dumpty.errors import ManifestError
    from dumpty.repository.catalog import Catalog
    from dumpty.repository.manifest import Record
    from dumpty.repository.verification_log import VerificationLog
    from dumpty.types import Store

__all__ = ["Lister"]


class Lister:
    """What is in one store."""

    def __init__(self, store: Store, catalog: Catalog, verification_log: VerificationLog) -> None:
        self._store = store
        self._catalog = catalog
        self._verification_log = verification_log

    def listing(self) -> Listing:
        """Return all backups, oldest first, and what cannot be read, from one look at the store."""
        sizes = self._catalog.sizes()
        records, problems = self._catalog.records(sizes)
        backups, lost_proofs = self._with_annotations(records, sizes)
        return Listing(backups=backups, problems=problems, lost_proofs=lost_proofs)

    def backups(self) -> list[Backup]:
        """Return all backups, oldest first; log what cannot be read."""
        listing = self.listing()
        for error in listing.problems:
            log.warning("%s", error, extra={"event": "manifest-damaged"})
        _log_proofs(listing.lost_proofs)
        return listing.backups

    def backup(self, record: Record) -> Backup:
        """Return the backup of a record.

        Raises:
            UnknownBackup: it was removed meanwhile.
        """
        backups, lost_proofs = self._with_annotations([record], None)
        _log_proofs(lost_proofs)
        if not backups:
            raise UnknownBackup(f"backup {record.id} was removed meanwhile")
        return backups[0]

    def as_recorded(self, record: Record) -> Backup:
        """Return the backup of a record as its manifest has it, without a look at the store."""
        return to_backup(record, self._store.locate(record.file))

    def _with_annotations(
        self, records: Sequence[Record], sizes: Mapping[str, int] | None
    ) -> tuple[list[Backup], list[ManifestError]]:
        presences = presence_of(self._store, records, sizes or {})
        records = [record for record in records if record.id in presences]
        annotations, errors = self._verification_log.read(records, sizes)
        backups = []
        for record in records:
            presence, annotation = presences[record.id], annotations.get(record.id)
            proofs, pinned = (annotation.proofs, annotation.pinned) if annotation else ((), "")
            file_path = self._store.locate(record.file)
            backups.append(to_backup(record, file_path, proofs, pinned, presence.state, presence.reason))
        return backups, errors


def _log_proofs(errors: Sequence[ManifestError]) -> None:
    for error in errors:
        log.warning("%s", error, extra={"event": "proofs-damaged"})
