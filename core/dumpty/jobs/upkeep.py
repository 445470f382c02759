"""What follows a job's backups, for those that succeeded: copies, proofs, and what is to go."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from dumpty.errors import DumptyError
from dumpty.indirection import indirect_line
from dumpty.jobs.database_run import HOST_TAG, host_tag, job_tag
from dumpty.jobs.events import JobEventKind
from dumpty.jobs.outcomes import CopyRun, DrillRun
from dumpty.operations.coverage import BAD_STATES, next_to_prove, reaches
from dumpty.operations.given_keys import given_identities
from dumpty.process.cancellation import cancellable
from dumpty.repository.retention import decide
from dumpty.url import parse_url, secrets_in, shown_address

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from collections.abc import Set as AbstractSet
    from threading import Lock

    from dumpty.backup_manager import BackupManager
    from dumpty.jobs.events import EventSource
    from dumpty.jobs.outcomes import DatabaseRun
    from dumpty.jobs.settings import CopySettings, DrillSettings, JobSettings
    from dumpty.jobs.stop import Stop
    from dumpty.operations.result import Backup
    from dumpty.repository.retention import Decision, Rules
    from dumpty.types import Level

__all__ = ["Place", "Upkeep", "read_address", "removable"]


def read_address(written: str, remember: Callable[[Iterable[str]], None]) -> str:
    """Return the address of a repository as it is written, or where it is to be read; its secrets are remembered.

    Raises:
        OptionError, CommandError: there is nothing to read.
    """
    address = indirect_line(written, "repository")
    remember(secrets_in(address))
    return address


class Place(NamedTuple):
    """A repository: its address, how to open it, and the lock under which backups are removed from it."""

    address: str
    open: Callable[[], BackupManager]
    lock: Lock


class Upkeep:
    """Copies, proofs and removals, after the backups of one run of a job.

    A proof comes before a removal: a new backup that is not what it should be takes no older one's place.

    Args:
        job: whose they are.
        made: the backups that succeeded; nothing is done for others, and none of theirs is removed.
        repository: the job's.
        place: returns another repository, by its address.
        stop: ends it.
        tell: is told of what fails.
        remember: is told of every secret that is read.
        events: tells of all that happens.
        others: the names of jobs whose backups are not this one's to remove.
    """

    def __init__(
        self,
        job: JobSettings,
        made: Sequence[DatabaseRun],
        repository: Place,
        place: Callable[[str], Place],
        stop: Stop,
        tell: Callable[[str], None],
        remember: Callable[[Iterable[str]], None],
        events: EventSource,
        others: Iterable[str] = (),
    ) -> None:
        self._foreign = {job_tag(name) for name in others}
        self._job, self._made = job, made
        self._repository, self._place = repository, place
        self._stop, self._tell, self._remember, self._events = stop, tell, remember, events
        self._identities = {run.identity: run.source for run in made}
        self.copies: list[CopyRun] = []
        self.drills: list[DrillRun] = []
        self.removed: list[str] = []
        self.warnings: list[str] = []

    def run(self) -> None:
        """Do all of it; what fails stops nothing else."""
        copied = [(place, settings) for settings in self._job.copies if (place := self._copy(settings)) is not None]
        try:
            self._drill()
        except DumptyError as error:
            self._warn(f"nothing was proved: {error}")
        self._prune(self._repository, self._job.rules)
        for place, settings in copied:
            self._prune(place, settings.rules)

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self._tell(text)

    def _is_own(self, backup: Backup) -> bool:
        """Return whether a backup is of a database that was backed up now, and of no other job."""
        return _is_own(backup, self._identities.keys(), self._foreign)

    # -- copies ----------------------------------------------------------------------------------------------------

    def _copy(self, settings: CopySettings) -> Place | None:
        """Copy the backups into another repository, older ones that lack a copy there, too; return it where all are."""
        ids = [run.backup for run in self._made if run.backup is not None]
        shown = shown_address(settings.repository)
        copies, place = [], None
        try:
            with cancellable(self._stop.token, f"the copies of the job {self._job.name}"):
                address = read_address(settings.repository, self._remember)
            shown, place = shown_address(address), self._place(address)
            self._events.tell(JobEventKind.COPIES_BEGUN, repository=shown)
            destination = place.open()
            ids = list(dict.fromkeys([*ids, *self._lacking(destination, settings.rules)]))
            progress = self._events.progress(repository=shown)
            outcomes = self._repository.open().copy(ids, to=destination, progress=progress, cancel=self._stop.token)
        except DumptyError as error:
            copies = [_copied(backup_id, shown, error) for backup_id in ids]
        else:
            made = {outcome.backup_id: outcome for outcome in outcomes}
            ended = DumptyError(f"it was ended before: {self._stop.reason}")
            copies = [_copied(i, shown, made[i].exception if i in made else ended) for i in ids]
        self.copies += copies
        for copy in copies:
            self._events.tell(JobEventKind.COPIED, repository=shown, result=copy)
            if not copy.ok:
                self._tell(f"backup {copy.backup} has no copy in {shown}: {copy.error}")
        return place if all(copy.ok for copy in copies) else None

    def _lacking(self, destination: BackupManager, rules: Rules | None) -> list[str]:
        """Return the backups without a copy that the rules would keep there: an earlier run could not copy them."""
        copied = destination.list_backups()
        present = {backup.id for backup in copied}
        own = self._repository.open().list_backups()
        missing = [b for b in own if b.id not in present and self._is_own(b) and b.state not in BAD_STATES]
        if rules is None or not missing:
            return [backup.id for backup in missing]
        kept = {d.backup.id for d in decide([*copied, *missing], rules, datetime.now(UTC)) if d.keep}
        return [backup.id for backup in missing if backup.id in kept]

    # -- proofs ----------------------------------------------------------------------------------------------------

    def _drill(self) -> None:
        drill = self._job.drill
        if drill is None:
            return
        with cancellable(self._stop.token, f"the drills of the job {self._job.name}"):
            keys = given_identities(drill.identities)
            self._remember(secret for key in keys for secret in key.secrets)
            on = None if drill.on is None else indirect_line(drill.on, "database URL")
        if on is not None:
            self._remember(parse_url(on).secrets)
        manager = self._repository.open()
        for backup in _chosen(manager, self._identities, drill, self._job.rules):
            if self._stop.asked:
                break
            what: dict[str, Any] = {"database": self._identities[backup.source], "backup": backup.id}
            self._events.tell(JobEventKind.DRILL_BEGUN, **what)
            how = {"identities": keys, "on": on, "cancel": self._stop.token, "progress": self._events.progress(**what)}
            done = _drill(manager, backup, drill.level, how)
            self.drills.append(done)
            self._events.tell(JobEventKind.DRILL_ENDED, **what, result=done)
            if done.ok is not True:
                sign = "NOT PROVED" if done.ok is None else "FAILED"
                self._tell(f"drill of backup {done.backup} of {done.database} {sign}: {done.error}")

    # -- what is to go ---------------------------------------------------------------------------------------------

    def _prune(self, place: Place, rules: Rules | None) -> None:
        if rules is None or self._stop.asked:
            return
        shown = shown_address(place.address)
        self._events.tell(JobEventKind.PRUNE_BEGUN, repository=shown)
        try:
            with place.lock:
                manager = place.open()
                decisions = manager.prune(rules, dry_run=True).decisions
                going, shared = removable(decisions, self._identities.keys(), self._foreign, host_tag())
                if going:
                    self._remove(manager, rules, [decision.backup.id for decision in going], shown)
            if shared:
                self._warn(
                    f"{shown} has backups of the same paths of another machine, so nothing is "
                    f"removed there of {', '.join(sorted(shared))}: give each machine a repository of its own"
                )
        except DumptyError as error:
            self._warn(f"not all was removed from {shown} that is to go: {error}")

    def _remove(self, manager: BackupManager, rules: Rules, going: Sequence[str], shown: str) -> None:
        progress = self._events.progress(repository=shown)
        removed = tuple(manager.prune(rules, only=going, progress=progress, cancel=self._stop.token).removed)
        self.removed += removed
        if removed:
            self._events.tell(JobEventKind.REMOVED, repository=shown, removed=removed)


def removable(
    decisions: Sequence[Decision[Backup]], identities: AbstractSet[str], foreign: AbstractSet[str], host: str
) -> tuple[list[Decision[Backup]], set[str]]:
    """Return what a job may remove of what its rules let go, and the databases of which it may remove nothing.

    Args:
        decisions: what its rules say of all backups of a repository.
        identities: its databases.
        foreign: the tags of other jobs, whose backups are not its to remove.
        host: the tag of the machine that runs it.

    Of a path that is a database on another machine, too, nothing goes: rules would mix the two.
    """
    backups = [decision.backup for decision in decisions]
    shared = {b.source for b in backups if b.source in identities and _host_tags(b) - {host}}
    going = [d for d in decisions if not d.keep and _is_own(d.backup, identities, foreign)]
    return [decision for decision in going if decision.backup.source not in shared], shared


def _is_own(backup: Backup, identities: AbstractSet[str], foreign: AbstractSet[str]) -> bool:
    return backup.source in identities and foreign.isdisjoint(backup.tags)


def _host_tags(backup: Backup) -> set[str]:
    return {tag for tag in backup.tags if tag.startswith(HOST_TAG)}


def _copied(backup_id: str, shown: str, error: BaseException | None) -> CopyRun:
    if error is None:
        return CopyRun(backup=backup_id, repository=shown, ok=True)
    text = " ".join(str(error).split())
    return CopyRun(backup=backup_id, repository=shown, ok=False, error=text, error_type=type(error).__name__)


def _chosen(
    manager: BackupManager, identities: Collection[str], drill: DrillSettings, rules: Rules | None
) -> list[Backup]:
    """Return, of each database whose last proof is too long ago, the newest backup and the oldest never proven.

    So every backup that is kept is proven in the end, and the newest is never long without. What is to go is left out.
    """
    now = datetime.now(UTC)
    whole: dict[str, list[Backup]] = {identity: [] for identity in sorted(identities)}
    for backup in _kept(manager, rules):
        if backup.source in whole and backup.state == "ok":
            whole[backup.source].append(backup)
    chosen: dict[str, Backup] = {}
    for backups in whole.values():
        if backups and not _any_recent(backups, drill, now):
            chosen |= {backup.id: backup for backup in reversed(next_to_prove(backups, drill.level))}
    return [*chosen.values()]


def _any_recent(backups: Sequence[Backup], drill: DrillSettings, now: datetime) -> bool:
    """Return whether a proof of one of them is not older than it may be."""
    return any(
        proof.ok and reaches(proof.level, drill.level) and now - drill.every < proof.at <= now
        for backup in backups
        for proof in backup.proofs
    )


def _kept(manager: BackupManager, rules: Rules | None) -> list[Backup]:
    """Return the backups that are to be kept, oldest first."""
    if rules is None:
        return manager.list_backups()
    kept = [decision.backup for decision in manager.prune(rules, dry_run=True).decisions if decision.keep]
    return sorted(kept, key=lambda backup: (backup.timestamp, backup.id))


def _drill(manager: BackupManager, backup: Backup, level: Level, how: dict[str, Any]) -> DrillRun:
    start = time.monotonic()
    ok: bool | None = None
    error: str | None = None
    kind: str | None = None
    try:
        proof = manager.prove(backup.id, level=level, **how)
    except DumptyError as problem:
        error, kind = " ".join(str(problem).split()), type(problem).__name__
    else:
        ok = proof.ok
        if not proof.ok:
            error = proof.error
            kind = type(proof.exception).__name__ if proof.exception is not None else "IntegrityError"
    return DrillRun(
        backup=backup.id,
        database=backup.database_name,
        level=level,
        ok=ok,
        duration_seconds=round(time.monotonic() - start, 3),
        error=error,
        error_type=kind,
    )
