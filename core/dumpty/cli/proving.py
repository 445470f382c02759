"""What ``verify`` and ``drill`` have in common: proving backups one after another, and telling how it went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dumpty.cli import description
from dumpty.cli.arguments import short_ids
from dumpty.cli.output import Line, count, seconds
from dumpty.cli.progress import progress_bar
from dumpty.cli.status import error_type
from dumpty.cli.urls import redacted
from dumpty.errors import DumptyError, IntegrityError, ManifestError, MissingFile, NotProvable, UnknownBackup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dumpty.backup_manager import BackupManager
    from dumpty.operations.result import Backup
    from dumpty.types import Level, Proof

__all__ = ["Verdicts", "prove_each"]


@dataclass
class Verdicts:
    """How the proofs of some backups went: for programs, for people, and for the exit status."""

    fields: list[dict[str, Any]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failures: list[DumptyError] = field(default_factory=list)

    @property
    def proved_count(self) -> int:
        """How many proofs held."""
        return sum(bool(verdict["success"]) for verdict in self.fields)

    @property
    def unprovable(self) -> list[DumptyError]:
        """What this machine lacks, which says nothing of a backup."""
        return [f for f in self.failures if isinstance(f, NotProvable)]

    def worst(self, total: int) -> DumptyError | None:
        """Return the error that decides the exit status.

        Damage comes before what kept a backup from being looked at, and that before what this machine lacks.
        """
        damage = [f for f in self.failures if isinstance(f, (IntegrityError, ManifestError))]
        lacking, failed = self.unprovable, len(self.failures) - len(self.unprovable)
        if damage:
            first_text = str(damage[0])
            return IntegrityError(
                first_text if total == 1 else f"{failed} of {total} backups failed, the first: {first_text}"
            )
        if failed:
            return next(f for f in self.failures if not isinstance(f, NotProvable))
        if len(lacking) > 1:
            return NotProvable(f"{len(lacking)} of {total} backups are not provable here, the first: {lacking[0]}")
        return lacking[0] if lacking else None


def prove_each(
    manager: BackupManager,
    backups: Sequence[Backup],
    level: Level,
    *,
    several: bool,
    quiet: bool,
    **options: Any,
) -> Verdicts:
    """Prove ``backups``; of ``several``, what is removed meanwhile by somebody else is left out."""
    verdicts = Verdicts()
    short = short_ids(backups)
    open_questions: dict[str, None] = {}
    for backup in backups:
        head = f"{short[backup.id]}  {backup.database_name}, {description.form(backup)}: "
        try:
            with progress_bar(
                f"{'drill' if level == 'restore' else 'verify'} {backup.id[:8]}", quiet=quiet
            ) as progress:
                proof = manager.prove(backup.id, level=level, progress=progress, **options)
        except UnknownBackup as error:
            if not several:
                raise
            verdicts.warnings.append(f"left out: {error}")
        except DumptyError as error:
            verdicts.failures.append(error)
            verdicts.fields.append({"id": backup.id, "level": level, **_failure_fields(error)})
            sign = "NOT PROVED" if isinstance(error, NotProvable) else "FAILED"
            verdicts.lines.append(f"{head}{sign}: {error}")
        else:
            failure = _damage_of(backup, proof)
            verdicts.fields.append({"id": backup.id, **description.proof_fields(proof), **_failure_fields(failure)})
            if failure is not None:
                verdicts.failures.append(failure)
            if proof.unrecorded:
                verdicts.warnings.append(f"the proof of {backup.id} could not be written down: {proof.unrecorded}")
            verdict = f"FAILED: {failure}" if failure else f"ok, by {proof.level} in {seconds(proof.seconds)}"
            verdicts.lines.append(head + verdict)
            if not several:
                verdicts.lines += description.proof_lines(proof)
            open_questions |= dict.fromkeys(proof.not_proved)
    if several:
        verdicts.lines += [f"not proved: {question}" for question in open_questions]
    return verdicts


def summary(verdicts: Verdicts, verb: str) -> str:
    """Return how many proofs held, how many did not, and how many this machine could not try."""
    lacking = len(verdicts.unprovable)
    failed = len(verdicts.failures) - lacking
    parts = [f"{count(verdicts.proved_count, 'backup')} {verb}"]
    parts += [f"{failed} FAILED"] * bool(failed) + [f"{lacking} not provable here"] * bool(lacking)
    return ", ".join(parts)


def _damage_of(backup: Backup, proof: Proof) -> DumptyError | None:
    error = proof.exception
    if isinstance(error, MissingFile):
        return IntegrityError(f"the file of backup {backup.id} is gone: {error}")
    if isinstance(error, DumptyError) and not isinstance(error, IntegrityError):
        return IntegrityError(str(error))  # the database's own client refused the dump
    return error if error is None or isinstance(error, DumptyError) else IntegrityError(proof.error)


def _failure_fields(error: DumptyError | None) -> Mapping[str, Any]:
    if error is None:
        return {"success": True}
    return {"success": False, "error": redacted(str(error)), "error_type": error_type(error)}
