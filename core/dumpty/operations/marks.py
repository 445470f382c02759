"""Pins and acceptances: what people say of backups, as ``BackupManager`` takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dumpty.operations.place import Place
    from dumpty.operations.result import Backup

__all__ = ["Marks"]


class Marks:
    """The part of ``BackupManager`` that protects backups, and accepts them."""

    _place: Place

    def pin(self, backup_id: str, reason: str = "") -> Backup:
        """Protect a backup from ``remove``, until it is unpinned.

        Raises:
            UnknownBackup: there is no such backup.
            StoreError: the pin cannot be written.
        """
        repository, lister, _ = self._place
        repository.pin(record := repository.get(backup_id), reason)
        return lister.backup(record)

    def unpin(self, backup_id: str) -> bool:
        """Take the pin of a backup away; False where it had none.

        Raises:
            UnknownBackup, StoreError: there is no such backup, or the pin cannot be removed.
        """
        return self._place.repository.unpin(self._place.repository.get(backup_id))

    def accept(self, backup_id: str, reason: str = "") -> Backup:
        """Take a suspicious backup as good, from now on; one that is not suspicious is left as it is.

        Raises:
            UnknownBackup: there is no such backup.
            StoreError: that cannot be written down.
        """
        repository, lister, _ = self._place
        backup = lister.backup(record := repository.get(backup_id))
        if not backup.suspicious:
            return backup
        repository.accept(record, reason)
        return lister.backup(record)
