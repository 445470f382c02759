"""What ``backup`` does: one database, or each of several, and telling what came of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from dumpty.cli import description
from dumpty.cli.copying import copy_to_each
from dumpty.cli.output import Line, Report, count, seconds, size, warn
from dumpty.cli.progress import progress_bar
from dumpty.cli.status import TABLE, CopyMissing, SuspiciousBackup, error_type, require_success
from dumpty.cli.urls import redacted
from dumpty.errors import DumptyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dumpty.backup_manager import BackupManager
    from dumpty.cli.copying import CopiesMade
    from dumpty.operations.result import Backup, BackupResult
    from dumpty.replies import values
    from dumpty.types import ListedDatabase

__all__ = ["Work", "back_up", "back_up_each"]


class Work(NamedTuple):
    """How to back up: ``how`` are the arguments of ``create_backup``, ``copy_to`` further repositories."""

    manager: BackupManager
    how: Mapping[str, Any]
    copy_to: Sequence[str]
    json: bool
    quiet: bool

    def run(self, database: ListedDatabase, position: str = "") -> BackupResult:
        """Back a database up; ``position`` says which of several it is."""
        with progress_bar(f"backup of {database.source.url}{position}", quiet=self.quiet) as progress:
            return self.manager.create_backup(database.url, progress=progress, **self.how)

    def copy(self, backup: Backup) -> CopiesMade:
        """Copy a backup into the further repositories."""
        return copy_to_each(self.manager, backup, self.copy_to, quiet=self.quiet)


def back_up(work: Work, database: ListedDatabase) -> Report:
    """Back up one database.

    Raises:
        Exception: it failed.
    """
    from dumpty.replies.backups import as_json
    from dumpty.replies.verbs import BackupReply

    result = work.run(database)
    stored = require_success(result)
    copies = work.copy(stored)
    suspicious = _suspicion(stored) if stored.suspicious else None
    return Report(
        reply=BackupReply(backups=[as_json(stored, copies.places)], duration_seconds=result.duration_seconds),
        lines=(
            f"backup {stored.id} of {stored.database_name} is done: {_sizes(stored, result.duration_seconds)}",
            f"  holds {description.contents(stored)}, as {description.form(stored)}",
            f"  in {description.location(stored)}",
            *([f"  encrypted to {description.recipients(stored)}"] if stored.recipient_kinds else []),
            *(f"  signed by {signer}" for signer in stored.claimed_signers),
            *(f"  copied to {place}" for place in copies.places),
        ),
        error=suspicious or copies.error,
        warnings=[*description.warnings(stored), *([str(copies.error)] if suspicious and copies.error else [])],
        json=work.json,
        quiet=work.quiet,
    )


def _suspicion(backup: Backup) -> SuspiciousBackup:
    text = f"backup {backup.id} is done and kept, but it is suspicious: {'; '.join(backup.suspicions)}"
    advice = f"look at it, then: dumpty accept {backup.id}, or: dumpty remove {backup.id}"
    return SuspiciousBackup(f"{text}. Until then no older backup goes for it; {advice}")


class _Outcome(NamedTuple):
    """What came of one database of several."""

    database: ListedDatabase
    result: BackupResult
    copies: CopiesMade | None

    @property
    def name(self) -> str:
        return str(self.database.source.database)

    @property
    def failure(self) -> Exception | None:
        if self.result.backup is not None:
            return None
        return self.result.exception or DumptyError(self.result.error)

    @property
    def reason(self) -> str:
        """Why it is not backed up, and what could not be removed then."""
        return redacted(self.result.error or str(self.failure))

    @property
    def line(self) -> str:
        stored = self.result.backup
        if stored is None:
            return f"{self.name}: NOT BACKED UP: {self.reason}"
        return f"{self.name}: backup {stored.id} is done: {_sizes(stored, self.result.duration_seconds)}"

    @property
    def warnings(self) -> list[str]:
        notes = [] if self.result.backup is None else description.warnings(self.result.backup)
        return [f"{self.name}: {note}" for note in notes]


def back_up_each(work: Work, databases: Sequence[ListedDatabase]) -> Report:
    """Back up several databases, one after another; the failure of one stops no other."""
    from dumpty.replies.backups import as_json
    from dumpty.replies.verbs import BackupReply

    begun = time.monotonic()
    outcomes = _outcomes(work, databases)
    duration = time.monotonic() - begun
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    without_copy = [outcome.copies.error for outcome in outcomes if outcome.copies and outcome.copies.error]
    suspicious = [_suspicion(o.result.backup) for o in outcomes if o.result.backup and o.result.backup.suspicious]
    backups = [
        as_json(o.result.backup, o.copies.places if o.copies else ()) for o in outcomes if o.result.backup is not None
    ]
    summary = f"{count(len(backups), 'database')} backed up"
    lines: list[Line] = [outcome.line for outcome in outcomes]
    lines.append(f"{summary}{f', {len(failed):,} NOT' if failed else ''}, in {seconds(duration)}")
    warnings = [warning for outcome in outcomes for warning in outcome.warnings]
    warnings += [str(error) for error in (*suspicious, *without_copy)]
    if work.quiet and not work.json and len(outcomes) > 1:  # where only warnings are told, each failure is one
        warnings += [outcome.line for outcome in failed]
    return Report(
        reply=BackupReply(backups=backups, failures=[_to_json(o) for o in failed], duration_seconds=duration),
        lines=lines,
        warnings=warnings,
        error=_failure(failed, len(outcomes)) or _to_look_at(suspicious, without_copy, len(backups)),
        json=work.json,
        quiet=work.quiet,
    )


def _outcomes(work: Work, databases: Sequence[ListedDatabase]) -> list[_Outcome]:
    outcomes: list[_Outcome] = []
    try:
        for number, database in enumerate(databases, 1):
            result = work.run(database, f" ({number} of {len(databases)})")
            copies = None if result.backup is None else work.copy(result.backup)
            outcomes.append(_Outcome(database, result, copies))
    except KeyboardInterrupt:
        for outcome in outcomes:  # no report follows, and what is done is done
            warn(outcome.line)
        warn(f"{len(outcomes):,} of {len(databases):,} databases were finished before the interruption")
        raise
    return outcomes


def _failure(failed: Sequence[_Outcome], total: int) -> Exception | None:
    """Return the error that decides the exit status: where all failed alike it is theirs."""
    errors = [outcome.failure for outcome in failed if outcome.failure is not None]
    if not errors or total == 1:
        return errors[0] if errors else None
    kinds = {next((kind for kind, _ in TABLE if isinstance(error, kind)), DumptyError) for error in errors}
    kind: Any = kinds.pop() if len(kinds) == 1 and len(errors) == total else DumptyError
    error: Exception = kind(
        f"{len(errors):,} of {total:,} databases are not backed up, the first: {failed[0].name}: {failed[0].reason}"
    )
    return error


def _to_look_at(
    suspicious: Sequence[SuspiciousBackup], copies: Sequence[CopyMissing], total: int
) -> SuspiciousBackup | CopyMissing | None:
    if suspicious:
        more = f"{len(suspicious):,} of {total:,} backups are suspicious, the first: {suspicious[0]}"
        return suspicious[0] if total == 1 else SuspiciousBackup(more)
    if not copies or total == 1:
        return copies[0] if copies else None
    return CopyMissing(f"{len(copies):,} of {total:,} backups lack a copy, the first: {copies[0]}")


def _to_json(outcome: _Outcome) -> values.BackupFailure:
    from dumpty.replies import values
    from dumpty.url import database_name

    source, error = outcome.database.source, outcome.failure or DumptyError("it failed")
    return values.BackupFailure(
        database=database_name(source),
        url=source.url,
        error=outcome.reason,
        error_type=error_type(error),
    )


def _sizes(stored: Backup, duration: float) -> str:
    plain_size = stored.plain_size_bytes
    saved = f", {size(plain_size)} before {'+'.join(stored.stages)}" if stored.stages and plain_size is not None else ""
    return f"{size(stored.size_bytes)}{saved}, in {seconds(duration)}"
