"""Backups, their proofs, and what rules decide of them, as JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from dumpty.replies import values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.operations.result import Backup
    from dumpty.repository.retention import Decision
    from dumpty.types import Proof

__all__ = ["as_json", "decision_as_json", "steps", "with_details", "with_tables"]


def as_json(backup: Backup, copies: Sequence[str] = ()) -> values.Backup:
    """Return a backup as its JSON value; ``copies`` are the other repositories that it is known to be in."""
    return values.Backup(**_keys(backup, copies))


def with_tables(backup: Backup, copies: Sequence[str] = ()) -> values.BackupWithTables:
    """Return a backup with its tables, as a JSON value; ``copies`` as above."""
    return values.BackupWithTables(**_keys(backup, copies), objects=_tables(backup))


def with_details(backup: Backup) -> values.ShownBackup:
    """Return all that is known of a backup, as a JSON value."""
    evidence, proof = backup.evidence, _decisive_proof(backup)
    details = values.Details(
        database_url=backup.database_url,
        file_path=backup.file_path,
        stages=list(backup.stages),
        digests=dict(backup.digests),
        recipient_kinds=list(backup.recipient_kinds),
        recipients=None if backup.sealed else list(backup.recipients),
        tables=backup.tables,
        rows=backup.rows,
        sealed=backup.sealed,
        claimed_signers=list(backup.claimed_signers),
        state_reason=backup.state_reason or None,
        suspicions=list(backup.suspicions),
        accepted=backup.accepted or None,
        consistent=None if backup.sealed else evidence.consistent,
        snapshot=evidence.snapshot,
        versions=dict(evidence.versions),
        notes=list(evidence.notes),
        properties=dict(evidence.properties),
        proof=_full_proof(proof) if proof else None,
    )
    return values.ShownBackup(**_keys(backup), objects=_tables(backup), details=details)


def steps(proof: Proof) -> list[values.Step]:
    """Return what a proof proved, as JSON values."""
    return [values.Step(what=step.what, duration_seconds=step.seconds) for step in proof.proved]


def decision_as_json(decision: Decision[Backup], removed: bool) -> values.Decision:
    """Return what becomes of a backup, as a JSON value; ``removed`` is whether it is gone."""
    backup = decision.backup
    return values.Decision(
        id=backup.id,
        database=backup.database_name,
        source=backup.source,
        timestamp=backup.timestamp,
        size_bytes=backup.size_bytes,
        state=cast("Any", backup.state),
        keep=decision.keep,
        removed=removed,
        reason=decision.reason,
    )


def _keys(backup: Backup, copies: Sequence[str] = ()) -> dict[str, Any]:
    """Return what every JSON value of a backup has."""
    proof = _decisive_proof(backup)
    return {
        "id": backup.id,
        "database": backup.database_name,
        "source": backup.source,
        "driver": backup.driver,
        "format": backup.format,
        "timestamp": backup.timestamp,
        "ended": backup.ended,
        "size_bytes": backup.size_bytes,
        "plain_size_bytes": backup.plain_size_bytes,
        "files": list(backup.files),
        "checksum": backup.checksum,
        "tags": list(backup.tags),
        "encrypted": bool(backup.recipient_kinds),
        "pinned": backup.pinned or None,
        "state": backup.state,
        "proof": values.LastProof(level=proof.level, ok=proof.ok, at=proof.at) if proof else None,
        "copies": list(copies),
    }


def _tables(backup: Backup) -> list[values.Table]:
    sizes = backup.table_sizes
    return [
        values.Table(path=o.path, rows=o.rows, fingerprint=o.fingerprint, stored_bytes=sizes.get(o.path))
        for o in backup.evidence.objects
    ]


def _full_proof(proof: Proof) -> values.FullProof:
    return values.FullProof(
        level=proof.level,
        ok=proof.ok,
        at=proof.at,
        by=proof.by,
        duration_seconds=proof.seconds,
        versions=dict(proof.versions),
        proved=steps(proof),
        not_proved=list(proof.not_proved),
        differs=list(proof.differs),
        error=proof.error or None,
    )


def _decisive_proof(backup: Backup) -> Proof | None:
    """Return the proof that decides: the one that failed, else the strongest that holds."""
    return backup.verification_status.failed or backup.verification_status.proven
