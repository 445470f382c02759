"""Removing backups: one by its id, or all that no rule protects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dumpty.errors import Pinned, UnknownBackup
from dumpty.operations.result import Pruning, log
from dumpty.repository.retention import decide
from dumpty.types import Removal

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dumpty.operations.listing import Lister
    from dumpty.repository.retention import Rules
    from dumpty.types import ListedBackup, Repository

__all__ = ["prune", "remove"]


def remove(repository: Repository, lister: Lister, backup_id: str) -> bool:
    """Remove a backup; the contract is that of ``BackupManager.remove``."""
    record = repository.get(backup_id)
    outcome = repository.remove(lambda listed: {b.record.id for b in listed if b.record.id == record.id})
    if backup_id in outcome.removed:
        return True
    if backup_id not in outcome.kept:
        raise UnknownBackup(f"backup {backup_id} is gone: another process has removed it meanwhile")
    if lister.backup(record).pinned:
        raise Pinned(f"backup {backup_id} is pinned, so it was not removed; dumpty unpin {backup_id} frees it")
    log.warning("backup %s is not removed: %s", backup_id, outcome.kept[backup_id], extra={"event": "backup-kept"})
    return False


def prune(
    repository: Repository, lister: Lister, rules: Rules, *, dry_run: bool, only: Collection[str] | None
) -> Pruning:
    """Remove what no rule protects; the contract is that of ``BackupManager.prune``."""
    listing = lister.listing()
    now = datetime.now(UTC)
    decisions = decide(listing.backups, rules, now)

    def choose(listed: Sequence[ListedBackup]) -> set[str]:
        ids = {d.backup.id for d in decide(map(lister.to_backup, listed), rules, now) if not d.keep}
        return ids if only is None else ids & set(only)

    outcome = Removal()
    if not dry_run and any(not d.keep for d in decisions):
        outcome = repository.remove(choose)
    return Pruning(decisions=decisions, removed=outcome.removed, kept=outcome.kept, listing=listing)
