"""``dumpty verify``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumpty.cli import description
from dumpty.cli.arguments import DIRECTORY, Directory, Json, MaybeId, Quiet, existing, short_ids
from dumpty.cli.output import Report, count
from dumpty.cli.progress import progress_bar
from dumpty.cli.status import UsageError, error_type
from dumpty.cli.urls import redacted
from dumpty.errors import DumptyError, IntegrityError, ManifestError, MissingFile, UnknownBackup

if TYPE_CHECKING:
    from dumpty.backup_manager import BackupManager
    from dumpty.results import Backup

EXAMPLES = """
dumpty verify latest
dumpty verify --all
"""


def verify(
    backup_id: MaybeId = None,
    everything: Annotated[bool, typer.Option("--all", help="Verify every backup in the directory.")] = False,
    directory: Directory = DIRECTORY,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Read backups to their end and check their digests.

    Compares size and digest of the stored file with those recorded when it was made, then decompresses it and
    compares size and digest of the dump. That proves that the bytes are those which the driver wrote. It does not
    prove that a database can load them: only a restore does.
    """
    if everything == (backup_id is not None):
        raise UsageError("name one backup by its id, or all of them with --all")
    manager = existing(directory)
    backups = manager.list_backups() if backup_id is None else [manager.find(backup_id)]
    problems = manager.problems() if backup_id is None else []
    short = short_ids(backups)
    failures: list[DumptyError] = [*problems]
    verdicts: list[dict[str, Any]] = []
    lines: list[str] = []
    for backup in backups:
        failure = _failure(manager, backup, quiet=quiet)
        if everything and isinstance(failure, UnknownBackup):
            continue  # pruned meanwhile
        verdict: dict[str, Any] = {"id": backup.id, "success": failure is None}
        if failure is not None:
            failures.append(failure)
            verdict |= {"error": redacted(str(failure)), "error_type": error_type(failure)}
        verdicts.append(verdict)
        told = f"FAILED: {failure}" if failure else "ok"
        lines.append(f"{short[backup.id]}  {backup.database_name}, {description.form(backup)}: {told}")
    good = sum(v["success"] for v in verdicts)
    if verdicts or problems:
        lines.append(f"{count(good, 'backup')} verified" + (f", {len(failures)} FAILED" if failures else ""))
    else:
        lines.append(f"no backups in {os.path.abspath(directory)}: nothing was verified")
    return Report(
        fields={"verified": verdicts, "problems": [str(p) for p in problems]},
        lines=lines,
        warnings=[str(p) for p in problems],
        error=_worst(failures, len(verdicts) + len(problems)),
        json=json,
        quiet=quiet,
    )


def _failure(manager: BackupManager, backup: Backup, *, quiet: bool) -> DumptyError | None:
    try:
        with progress_bar(f"verify {backup.id[:8]}", quiet=quiet) as progress:
            manager.verify(backup.id, progress=progress)
    except MissingFile as error:
        return IntegrityError(f"the file of backup {backup.id} is gone: {error}")
    except DumptyError as error:
        return error
    return None


def _worst(failures: list[DumptyError], total: int) -> DumptyError | None:
    """Return the error that decides the exit status: damage comes before what could not be looked at."""
    damage = [f for f in failures if isinstance(f, (IntegrityError, ManifestError))]
    if not failures:
        return None
    if not damage:
        return failures[0]
    first = str(damage[0])
    return IntegrityError(first if total == 1 else f"{len(failures)} of {total} backups failed, the first: {first}")
