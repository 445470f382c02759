"""Removing backups: one by its id, or all that no rule protects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dumpty.errors import DumptyError, Pinned, UnknownBackup
from dumpty.operations.result import Pruning, log
from dumpty.process.call import raise_if_cancelled
from dumpty.process.cancellation import cancellable, require_token
from dumpty.streaming.reporter import Reporter
from dumpty.types import Phase, Removal

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dumpty.operations.listing import Lister
    from dumpty.operations.observation import Observers
    from dumpty.process.cancellation import Cancellation
    from dumpty.repository.retention import Rules
    from dumpty.types import ListedBackup, ProgressCallback, Record, Repository

__all__ = ["Remover"]


class Remover:
    """Removes backups from one repository, and tells observers of it."""

    def __init__(self, repository: Repository, lister: Lister, observers: Observers) -> None:
        self._repository = repository
        self._lister = lister
        self._observers = observers

    def remove(self, backup_id: str) -> bool:
        """Remove a backup; the contract is that of ``BackupManager.remove``."""
        what = f"the removal of backup {backup_id}"
        with self._observers.observation("remove") as observation, cancellable(None, what):
            record = self._repository.get(backup_id)
            observation.about(record)
            reason = self._remove(record)
            if reason:
                observation.fail(reason, "Retained")
            else:
                observation.removes(backup_id)
        return not reason

    def prune(
        self,
        rules: Rules,
        only: Collection[str] | None,
        *,
        dry_run: bool,
        progress: ProgressCallback | None,
        cancel: Cancellation | None,
    ) -> Pruning:
        """Remove what no rule protects; the contract is that of ``BackupManager.prune``."""
        from dumpty.repository.retention import decide

        reporter = Reporter(progress)
        if dry_run:
            with cancellable(cancel, "the plan of a prune"):
                reporter.begin(Phase.INSPECTING)
                listing = self._lister.listing()
                return Pruning(decisions=decide(listing.backups, rules, datetime.now(UTC)), listing=listing)
        require_token(cancel)
        with self._observers.observation("prune") as observation, cancellable(cancel, "the prune") as call:
            reporter.begin(Phase.INSPECTING)
            listing = self._lister.listing()
            now = datetime.now(UTC)
            decisions = decide(listing.backups, rules, now)

            def choose(listed: Sequence[ListedBackup]) -> set[str]:
                raise_if_cancelled()
                backups = map(self._lister.to_backup, listed)
                ids = {d.backup.id for d in decide(backups, rules, now) if not d.keep}
                return ids if only is None else ids & set(only)

            outcome = Removal()
            going = {d.backup.id for d in decisions if not d.keep}
            if going:
                reporter.begin(Phase.REMOVING, items_total=len(going if only is None else going & set(only)))
                outcome = self._repository.remove(choose)
                if outcome.removed:
                    call.settle()  # a repository of a plugin's may not have told its commit point
                reporter.items(len(outcome.removed))
            observation.removes(*outcome.removed)
            self._clear()
        return Pruning(decisions=decisions, removed=outcome.removed, kept=outcome.kept, listing=listing)

    def _clear(self) -> None:
        """Put in order what ended runs left, and remove what is too old to be of use."""
        try:
            self._repository.clear()
        except DumptyError as error:  # what was to be removed is all the same
            log.warning("what ended runs left is not cleared: %s", error, extra={"event": "left-behind"})

    def _remove(self, record: Record) -> str:
        """Remove a backup, and return why it stays, or "" where it is gone."""
        outcome = self._repository.remove(lambda listed: {b.record.id for b in listed if b.record.id == record.id})
        if record.id in outcome.removed:
            return ""
        if record.id not in outcome.kept:
            raise UnknownBackup(f"backup {record.id} is gone: another process has removed it meanwhile")
        if self._lister.backup(record).pinned:
            raise Pinned(f"backup {record.id} is pinned, so it was not removed; dumpty unpin {record.id} frees it")
        reason = outcome.kept[record.id]
        log.warning("backup %s is not removed: %s", record.id, reason, extra={"event": "backup-kept"})
        return reason
