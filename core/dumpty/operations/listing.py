"""The backups in a repository as people see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.operations.result import Backup, Listing, log, to_backup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.types import Candidate, ListedBackup, Record, Repository

__all__ = ["Lister"]


class Lister:
    """What is in one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def listing(self) -> Listing:
        """Return all backups, oldest first, and what cannot be read, from one look at the repository."""
        found = self._repository.listing()
        return Listing(
            backups=[self.to_backup(listed) for listed in found.backups],
            problems=list(found.problems),
            lost_proofs=[error for listed in found.backups for error in listed.annotations.unreadable],
        )

    def backups(self) -> list[Backup]:
        """Return all backups, oldest first; log what cannot be read."""
        listing = self.listing()
        for error in listing.problems:
            log.warning("%s", error, extra={"event": "manifest-damaged"})
        for error in listing.lost_proofs:
            log.warning("%s", error, extra={"event": "proofs-damaged"})
        return listing.backups

    def candidates(self) -> Sequence[Candidate]:
        """Return what may be meant by an id, or as the latest, oldest first."""
        return self._repository.candidates()

    def load(self, candidate: Candidate) -> Backup:
        """Return the backup of a candidate.

        Raises:
            UnknownBackup: it was removed meanwhile.
            ManifestError: it cannot be read.
        """
        return self._logged(candidate.load())

    def backup(self, record: Record) -> Backup:
        """Return the backup of a record.

        Raises:
            UnknownBackup: it was removed meanwhile.
        """
        return self._logged(self._repository.look_up(record))

    def as_recorded(self, record: Record) -> Backup:
        """Return the backup of a record as its manifest has it, without a look at the repository."""
        return to_backup(record, self._repository.locate)

    def to_backup(self, listed: ListedBackup) -> Backup:
        """Return a backup as people see it."""
        return to_backup(listed.record, self._repository.locate, listed.presence, listed.annotations)

    def _logged(self, listed: ListedBackup) -> Backup:
        for error in listed.annotations.unreadable:
            log.warning("%s", error, extra={"event": "proofs-damaged"})
        return self.to_backup(listed)
