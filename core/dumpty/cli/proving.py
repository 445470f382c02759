"""What ``verify`` and ``drill`` have in common: proving backups one after another, and telling how it went."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumpty.cli import description
from dumpty.cli.arguments import open_existing, short_ids
from dumpty.cli.output import Line, Report, count, seconds
from dumpty.cli.progress import progress_bar
from dumpty.cli.status import UsageError, error_type
from dumpty.cli.urls import redacted
from dumpty.errors import (
    DumptyError,
    IntegrityError,
    ManifestError,
    MissingFile,
    NotProvable,
    OptionError,
    SignatureError,
    UnknownBackup,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from dumpty.backup_manager import BackupManager
    from dumpty.operations.result import Backup
    from dumpty.operations.selection import Filter
    from dumpty.replies import values
    from dumpty.types import Level, Proof, VerificationKey

__all__ = ["Choice", "OlderThan", "decided", "parse_level", "parse_older_than", "prove"]

OlderThan = Annotated[
    str | None,
    typer.Option(
        "--older-than",
        metavar="AGE",
        help="Those last proved at this level or a further one, or never and made, longer ago: 12h, 7d.",
    ),
]


class Verdicts:
    """How the proofs of some backups went: for programs, for people, and for the exit status."""

    def __init__(self) -> None:
        self.proofs: list[values.Proof] = []
        self.lines: list[Line] = []
        self.warnings: list[str] = []
        self.failures: list[DumptyError] = []

    @property
    def proved_count(self) -> int:
        """How many proofs held."""
        return sum(bool(proof.ok) for proof in self.proofs)

    @property
    def unprovable(self) -> list[DumptyError]:
        """What this machine lacks, which says nothing of a backup."""
        return [f for f in self.failures if isinstance(f, NotProvable)]

    @property
    def mistakes(self) -> list[DumptyError]:
        """What was asked wrongly, which says nothing of a backup either."""
        return [f for f in self.failures if isinstance(f, OptionError)]

    def worst(self, total: int) -> DumptyError | None:
        """Return the error that decides the exit status.

        Damage comes before what kept a backup from being looked at, and that before what this machine lacks.
        """
        damage = [f for f in self.failures if isinstance(f, (IntegrityError, ManifestError))]
        lacking = self.unprovable
        failed = len(self.failures) - len(lacking) - len(self.mistakes)
        if damage:
            first_text = str(damage[0])
            kind = SignatureError if all(isinstance(f, SignatureError) for f in damage) else IntegrityError
            return kind(first_text if total == 1 else f"{failed} of {total} backups failed, the first: {first_text}")
        if len(self.failures) > len(lacking):
            return next(f for f in self.failures if not isinstance(f, NotProvable))
        if len(lacking) > 1:
            return NotProvable(f"{len(lacking)} of {total} backups are not provable here, the first: {lacking[0]}")
        return lacking[0] if lacking else None


class Choice:
    """Which backups to prove: that of an id, or all in question, or those of them that are due after an age."""

    def __init__(self, *, backup_id: str | None, everything: bool, older_than: str | None, scope: Filter) -> None:
        if (backup_id is not None) + everything + (older_than is not None) > 1:
            raise UsageError("name one backup by its id, or all with --all, or those of some age with --older-than AGE")
        parse_older_than(older_than)
        self.backup_id = backup_id
        self.everything = everything
        self.older_than = older_than
        self.scope = scope

    @property
    def several(self) -> bool:
        """Whether more than one backup may be meant."""
        return self.backup_id is None

    def find(
        self, manager: BackupManager, level: Level, require_signature: Iterable[VerificationKey] | None
    ) -> tuple[list[Backup], Sequence[DumptyError], str]:
        """Return the backups, the manifests among them that cannot be read, and which database may be meant instead."""
        scope = self.scope
        if self.backup_id is not None:
            found = manager.find(
                self.backup_id, database=scope.database, source=scope.source, require_signature=require_signature
            )
            return [found], [], ""
        listing, age = manager.listing(), parse_older_than(self.older_than)
        backups = scope.filter(listing.backups)
        if age is not None:
            from dumpty.operations.proving import due

            backups = due(backups, level, age, datetime.now(UTC))
        return backups, listing.problems, scope.suggestion(listing.backups)

    def __str__(self) -> str:
        return f"{self.scope}{'' if self.older_than is None else f' older than {self.older_than}'}"


def prove(
    directory: str, choice: Choice, level: Level, options: Mapping[str, Any], *, deed: str, json: bool, quiet: bool
) -> Report:
    """Prove the chosen backups; ``deed`` is the word for what was done to them: verified, or drilled."""
    from dumpty.replies.verbs import ProofsReply

    manager = open_existing(directory)
    backups, problems, suggestion = choice.find(manager, level, options.get("require_signature"))
    verdicts = _prove_each(manager, backups, level, options, several=choice.several, quiet=quiet)
    verdicts.failures[:0] = problems
    verdicts.proofs += [_undecided(None, level, problem) for problem in problems]
    verdicts.lines.append(
        _summary(verdicts, "proven by restoring" if deed == "drilled" else deed)
        if verdicts.proofs
        else f"no backups{choice} in {os.path.abspath(directory)}: nothing was {deed}{suggestion}"
    )
    return Report(
        reply=ProofsReply(level=level, proofs=verdicts.proofs),
        lines=verdicts.lines,
        warnings=[*map(str, problems), *verdicts.warnings],
        error=verdicts.worst(len(verdicts.proofs)),
        json=json,
        quiet=quiet,
    )


def parse_level(text: str) -> Level:
    """Return the level that is meant.

    Raises:
        UsageError: there is no such level.
    """
    from dumpty.registry.suggestions import did_you_mean
    from dumpty.types import LEVELS

    for level in LEVELS:
        if level == text:
            return level
    raise UsageError(f"there is no level {text!r}; the levels are {', '.join(LEVELS)}.{did_you_mean(text, LEVELS)}")


def parse_older_than(text: str | None) -> timedelta | None:
    """Return the age that ``--older-than`` says; None for None.

    Raises:
        UsageError: it says none.
    """
    from dumpty.repository.quantities import parse_age

    try:
        return None if text is None else parse_age(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _prove_each(
    manager: BackupManager,
    backups: Sequence[Backup],
    level: Level,
    options: Mapping[str, Any],
    *,
    several: bool,
    quiet: bool,
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
            verdicts.proofs.append(_undecided(backup, level, error))
            sign = "NOT PROVED" if isinstance(error, (NotProvable, OptionError)) else "FAILED"
            verdicts.lines.append(f"{head}{sign}: {error}")
        else:
            failure = _damage_of(backup, proof)
            verdicts.proofs.append(decided(backup, proof, failure))
            if failure is not None:
                verdicts.failures.append(failure)
            if proof.unrecorded:
                verdicts.warnings.append(f"the proof of {backup.id} is not written down: {proof.unrecorded}")
            verdict = f"FAILED: {failure}" if failure else f"ok, by {proof.level} in {seconds(proof.seconds)}"
            verdicts.lines.append(head + verdict)
            if not several:
                verdicts.lines += description.proof_lines(proof)
            else:
                verdicts.lines += [f"  differs  {difference}" for difference in proof.differs]
            open_questions |= dict.fromkeys(proof.not_proved)
    if several:
        verdicts.lines += [f"not proved: {question}" for question in open_questions]
    return verdicts


def _summary(verdicts: Verdicts, deed: str) -> str:
    """Return how many proofs held, how many did not, and how many could not be tried."""
    lacking, mistaken = len(verdicts.unprovable), len(verdicts.mistakes)
    failed = len(verdicts.failures) - lacking - mistaken
    parts = [f"{count(verdicts.proved_count, 'backup')} {deed}"]
    parts += [f"{failed} FAILED"] * bool(failed) + [f"{lacking} not provable here"] * bool(lacking)
    parts += [f"{mistaken} not asked"] * bool(mistaken)
    return ", ".join(parts)


def _damage_of(backup: Backup, proof: Proof) -> DumptyError | None:
    error = proof.exception
    if isinstance(error, MissingFile):
        return IntegrityError(f"the file of backup {backup.id} is gone: {error}")
    if isinstance(error, DumptyError) and not isinstance(error, IntegrityError):
        return IntegrityError(str(error))  # the database's own client refused the dump
    return error if error is None or isinstance(error, DumptyError) else IntegrityError(proof.error)


def decided(backup: Backup, proof: Proof, failure: DumptyError | None = None) -> values.Proof:
    """Return a proof for ``--json``; ``failure`` is why it does not hold."""
    from dumpty.replies import values
    from dumpty.replies.backups import steps

    return values.Proof(
        id=backup.id,
        database=backup.database_name,
        level=proof.level,
        ok=failure is None,
        at=proof.at,
        by=proof.by,
        duration_seconds=proof.seconds,
        versions=dict(proof.versions),
        proved=steps(proof),
        not_proved=list(proof.not_proved),
        differs=list(proof.differs),
        recorded=not proof.unrecorded,
        **_error_keys(failure),
    )


def _undecided(backup: Backup | None, level: Level, error: DumptyError) -> values.Proof:
    """Return what is known of a backup that was not proved; None is one whose manifest cannot be read."""
    from dumpty.replies import values

    refused = backup is None or isinstance(error, SignatureError)
    return values.Proof(
        id=backup.id if backup else None,
        database=backup.database_name if backup else None,
        level=level,
        ok=False if refused else None,
        at=None,
        by=None,
        duration_seconds=None,
        versions={},
        proved=[],
        not_proved=[],
        differs=[],
        recorded=False,
        **_error_keys(error),
    )


def _error_keys(error: DumptyError | None) -> dict[str, Any]:
    if error is None:
        return {"error": None, "error_type": None}
    return {"error": redacted(str(error)), "error_type": error_type(error)}
