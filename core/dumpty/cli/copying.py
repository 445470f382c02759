"""What ``copy`` and ``backup --copy-to`` have in common: copying backups, and telling what came of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dumpty.cli import description
from dumpty.cli.arguments import short_ids
from dumpty.cli.output import Line, Report, count, size, warn
from dumpty.cli.progress import progress_bar
from dumpty.cli.status import CopyMissing, UsageError, error_type
from dumpty.cli.urls import redacted
from dumpty.errors import DumptyError, IntegrityError, ManifestError, UnknownBackup
from dumpty.url import shown_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dumpty.backup_manager import BackupManager
    from dumpty.operations.copying import CopyOutcome
    from dumpty.operations.result import Backup
    from dumpty.replies import values

__all__ = ["Chosen", "CopiesMade", "Ends", "check_places", "copy", "copy_to_each"]


class Chosen(NamedTuple):
    """Backups to copy, newest first, what cannot be read, and the sentence that says which database may be meant."""

    backups: Sequence[Backup]
    problems: Sequence[DumptyError]
    suggestion: str


class Ends(NamedTuple):
    """From where, and where to: as it was said, and opened."""

    origin: str
    to: str
    destination: BackupManager

    def __str__(self) -> str:
        return f"from {shown_address(self.origin)} to {shown_address(self.to)}"


def copy(
    manager: BackupManager,
    backups: Sequence[Backup],
    problems: Sequence[DumptyError],
    ends: Ends,
    nothing: str,
    keys: Mapping[str, Any],
    *,
    json: bool,
    quiet: bool,
) -> Report:
    """Copy ``backups``; ``nothing`` is what to say where there are none, ``keys`` whom to encrypt them to."""
    from dumpty.replies.backups import as_json
    from dumpty.replies.verbs import CopyReply

    with progress_bar("copy", quiet=quiet) as progress:
        outcomes = manager.copy([b.id for b in backups], to=ends.destination, progress=progress, **keys)
    names, short = {b.id: b for b in backups}, short_ids(backups)
    failures: list[Exception] = list(problems)
    warnings = [str(problem) for problem in problems]
    lines: list[Line] = []
    told = []
    for outcome in outcomes:
        if isinstance(outcome.exception, UnknownBackup) and len(outcomes) > 1:
            warnings.append(f"left out: {outcome.exception}")
            continue
        told.append(outcome)
        backup = names[outcome.backup_id]
        head = f"{short[backup.id]}  {backup.database_name}, {description.form(backup)}: "
        if outcome.warning:
            warnings.append(outcome.warning)
        if outcome.exception is not None:
            failures.append(outcome.exception)
            lines.append(f"{head}NOT COPIED: {outcome.exception}")
        elif outcome.copied:
            lines.append(f"{head}copied, {size(backup.size_bytes)}")
    total = len(told) + len(problems)
    lines.append(_summary(told, len(failures), ends) if total else nothing)
    return Report(
        reply=CopyReply(
            backups=[as_json(o.backup, [shown_address(ends.origin)]) for o in told if o.backup is not None],
            copies=[_to_json(o, names[o.backup_id], ends) for o in told] + [_unreadable(p, ends) for p in problems],
        ),
        lines=lines,
        warnings=warnings,
        error=_worst(failures, total),
        json=json,
        quiet=quiet,
    )


def _summary(outcomes: Sequence[CopyOutcome], failed: int, ends: Ends) -> str:
    copied = sum(outcome.copied for outcome in outcomes)
    there = sum(outcome.ok for outcome in outcomes) - copied
    parts = [f"{count(copied, 'backup')} copied {ends}"]
    parts += [f"{there} there already"] * bool(there) + [f"{failed} NOT COPIED"] * bool(failed)
    return ", ".join(parts)


def _worst(failures: Sequence[Exception], total: int) -> Exception | None:
    """Return the error that decides the exit status: damage comes before what kept a backup from being copied."""
    if not failures:
        return None
    damage = next((f for f in failures if isinstance(f, (IntegrityError, ManifestError))), None)
    first = damage or failures[0]
    if total == 1:
        return IntegrityError(str(first)) if isinstance(first, ManifestError) else first
    text = f"{len(failures)} of {total} backups are not copied, the first: {first}"
    return IntegrityError(text) if damage is not None else DumptyError(text)


def _to_json(outcome: CopyOutcome, backup: Backup, ends: Ends) -> values.Copy:
    from dumpty.replies import values

    error = outcome.exception
    return values.Copy(
        id=backup.id,
        database=backup.database_name,
        repository=shown_address(ends.to),
        ok=outcome.ok,
        copied=outcome.copied,
        error=None if error is None else redacted(str(error)),
        error_type=None if error is None else error_type(error),
    )


def _unreadable(problem: DumptyError, ends: Ends) -> values.Copy:
    from dumpty.replies import values

    return values.Copy(
        id=None,
        database=None,
        repository=shown_address(ends.to),
        ok=False,
        copied=False,
        error=redacted(str(problem)),
        error_type=error_type(problem),
    )


class CopiesMade(NamedTuple):
    """The repositories that a new backup was copied into, as they may be shown, and why others have no copy."""

    places: Sequence[str]
    error: CopyMissing | None


def check_places(directory: str, copy_to: Sequence[str]) -> None:
    """See, before a backup is made, that its copies can be asked for like this.

    Raises:
        UsageError: one of them is the repository itself, or named twice.
        PluginNotFound: no plugin answers one's URL.
    """
    from dumpty.registry.host import default_host

    if len({directory, *copy_to}) <= len(copy_to):
        raise UsageError("--copy-to names other repositories than --dir, each once")
    for address in copy_to:
        default_host().store(address)


def copy_to_each(manager: BackupManager, backup: Backup, copy_to: Sequence[str], *, quiet: bool) -> CopiesMade:
    """Copy a backup that was just made; whatever comes of that, it is made."""
    from dumpty.backup_manager import BackupManager

    made: list[str] = []
    failures: list[str] = []
    for address in copy_to:
        shown = shown_address(address)
        try:
            with progress_bar(f"copy to {shown}", quiet=quiet) as progress:
                [outcome] = manager.copy([backup.id], to=BackupManager(address), progress=progress)
        except KeyboardInterrupt:
            warn(f"backup {backup.id} is done; the copy of it to {shown} was interrupted")
            raise
        except DumptyError as error:
            failures.append(f"{shown}: {error}")
            continue
        if outcome.exception is None:
            made.append(shown)
        else:
            failures.append(f"{shown}: {outcome.exception}")
    if not failures:
        return CopiesMade(made, None)
    text = f"backup {backup.id} is done, and has no copy in {'; nor in '.join(failures)}"
    return CopiesMade(made, CopyMissing(f"{text}; dumpty copy makes what is missing"))
