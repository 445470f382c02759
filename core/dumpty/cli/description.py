"""Backups in words: what ``backup``, ``list`` and ``show`` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.cli.output import Line, Table, count, moment, seconds, size
from dumpty.url import is_of_server

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty.operations.result import Backup
    from dumpty.types import Evidence, Proof

__all__ = [
    "contents",
    "details",
    "form",
    "last_proven",
    "lost_warnings",
    "proof_lines",
    "recipients",
    "signers",
    "warnings",
]


def proof_lines(proof: Proof) -> list[Line]:
    """Return what a proof proved, what was not as it had been, and what it did not prove, line by line."""
    lines: list[Line] = [f"  proved      {seconds(step.seconds).rjust(7)}  {step.what}" for step in proof.proved]
    lines += [f"  differs              {difference}" for difference in proof.differs]
    return lines + [f"  not proved           {question}" for question in proof.not_proved]


def last_proven(backup: Backup) -> str:
    """Return what the proofs of a backup say, in a few words: ``restore 2026-02-03``, ``never``; ``LOST`` if it is."""
    verification_status = backup.verification_status
    if verification_status.failed and backup.state != "lost":
        return f"FAILED {verification_status.failed.level} {verification_status.failed.at:%Y-%m-%d}"
    if backup.state != "ok":
        return backup.state.upper()
    return (
        f"{verification_status.proven.level} {verification_status.proven.at:%Y-%m-%d}"
        if verification_status.proven
        else "never"
    )


def lost_warnings(backups: Iterable[Backup]) -> list[str]:
    """Return a warning for each backup whose data is not there any more."""
    return [
        f"backup {b.id} of {b.database_name}, taken {moment(b.timestamp)}, is lost: {b.state_reason}"
        for b in backups
        if b.state == "lost"
    ]


def form(backup: Backup) -> str:
    """Return format and stages: ``native+gzip``."""
    return "+".join((backup.format, *backup.stages))


def contents(backup: Backup) -> str:
    """Return how much was counted: ``12 objects, 3,456 rows``; of a whole server ``roles: 5, memberships: 3``."""
    objects = backup.evidence.objects
    if objects and is_of_server(backup.source, backup.format):
        return ", ".join(f"{o.path}: {o.rows:,}" for o in objects if o.rows) or "nothing"
    if backup.sealed and backup.tables:
        return f"{count(backup.tables, 'object')}, {count(backup.rows, 'row')}"
    if not objects:
        return "nothing that was counted"
    counted = [o.rows for o in objects if o.rows is not None]
    uncounted = len(objects) - len(counted)
    text = count(len(objects), "object")
    if counted:
        text += f", {count(sum(counted), 'row')}"
    return text + (f" ({uncounted} not counted)" if uncounted and counted else "")


def recipients(backup: Backup) -> str:
    """Return whom a backup is encrypted to, as far as it is known: ``2 recipients (X25519, ssh-ed25519)``."""
    kinds = backup.recipient_kinds
    return f"{count(len(kinds), 'recipient')} ({', '.join(kinds)})" if kinds else "nobody: it is not encrypted"


def signers(backup: Backup) -> str:
    """Return by whom a backup says that it is signed, which proves nothing."""
    if not backup.claimed_signers:
        return "no"
    return (
        f"as it says, by {', '.join(backup.claimed_signers)}; unchecked: --require-signature KEY of a restore checks it"
    )


def warnings(backup: Backup) -> list[str]:
    """Return what whoever relies on this backup should know."""
    messages = [] if backup.evidence.consistent else [f"the backup of {backup.database_name} is not of one moment"]
    return messages + list(backup.evidence.notes)


def location(backup: Backup, path: str | None = None) -> str:
    """Return where the files of a backup are; ``path`` stands for what their paths begin with.

    Of several a shell finds them by what is returned: what else is kept of a backup has names that begin alike.
    """
    path = backup.file_path if path is None else path
    return path if len(backup.files) <= 1 else f"{path}[0-9]* ({len(backup.files)} files)"


def details(backup: Backup) -> list[Line]:
    """Return everything that is known of a backup, line by line."""
    evidence, plain_size = backup.evidence, backup.plain_size_bytes
    duration = f" (took {seconds(backup.ended - backup.timestamp)})" if backup.ended else ""
    pairs = [
        ("id", backup.id),
        ("database", backup.database_name),
        ("url", backup.database_url),
        ("source", backup.source),
        ("taken", moment(backup.timestamp) + duration),
        ("driver", backup.driver),
        ("format", form(backup)),
        ("file" if len(backup.files) <= 1 else "files", location(backup)),
        (
            "size",
            f"{backup.size_bytes:,} bytes stored ({size(backup.size_bytes)})"
            + ("" if plain_size is None else f", {plain_size:,} as dumped"),
        ),
        (
            "sha256",
            backup.checksum + ("" if len(backup.files) <= 1 else ", of the lines that sha256sum prints of them"),
        ),
        *backup.digests.items(),
        *([("encrypted", f"to {recipients(backup)}")] if backup.recipient_kinds else []),
        *(("recipient", recipient) for recipient in backup.recipients),
        ("signed", signers(backup)),
        *(_evidence_pairs(evidence) if not backup.sealed else [("sealed", _SEALED)]),
        ("contents", contents(backup)),
        ("last proven", _proven_at_length(backup)),
        *_state_pairs(backup),
        *([("pinned", backup.pinned)] if backup.pinned else []),
    ]
    width = max(len(label) for label, _ in pairs)
    lines: list[Line] = [f"{label.ljust(width)}  {value}" for label, value in pairs]
    decisive = _decisive_proof(backup)
    lines += proof_lines(decisive) if decisive else []
    if evidence.objects:
        lines += ["", _table_of_objects(backup)]
    return lines


def _table_of_objects(backup: Backup) -> Table:
    """Return what a backup holds, object by object, with what is known of each."""
    objects, sizes = backup.evidence.objects, backup.table_sizes
    columns = {
        "OBJECT": [o.path for o in objects],
        "ROWS": ["not counted" if o.rows is None else f"{o.rows:,}" for o in objects],
    }
    if sizes:
        columns["STORED"] = [size(sizes[o.path]) if o.path in sizes else "with others" for o in objects]
    if any(o.fingerprint for o in objects):
        columns["FINGERPRINT"] = [o.fingerprint or "" for o in objects]
    return Table(tuple(columns), list(zip(*columns.values(), strict=True)), frozenset({1, 2} if sizes else {1}))


_SEALED = "tables, versions, notes, options, plain size and digest: --identity FILE shows them"


def _state_pairs(backup: Backup) -> list[tuple[str, str]]:
    pairs = [("state", f"{backup.state.upper()}: {backup.state_reason}")] if backup.state not in _TOLD_APART else []
    if backup.suspicious:
        pairs += [("SUSPICIOUS", reason) for reason in backup.suspicions or (backup.state_reason,)]
        pairs.append(("to be done", f"look at it, then: dumpty accept {backup.id}, or: dumpty remove {backup.id}"))
    elif backup.accepted:
        pairs += [("was suspicious", reason) for reason in backup.suspicions]
        pairs.append(("accepted", backup.accepted))
    return pairs


_TOLD_APART = ("ok", "suspicious")


def _evidence_pairs(evidence: Evidence) -> list[tuple[str, str]]:
    return [
        *((f"{name} version", version) for name, version in evidence.versions.items()),
        ("snapshot", evidence.snapshot or "(has no name)"),
        ("consistent", "yes, of one moment" if evidence.consistent else "NO: not of one moment"),
        *(("note", note) for note in evidence.notes),
    ]


def _decisive_proof(backup: Backup) -> Proof | None:
    """Return the proof that decides: the one that failed, else the strongest that holds."""
    return backup.verification_status.failed or backup.verification_status.proven


def _proven_at_length(backup: Backup) -> str:
    proof = _decisive_proof(backup)
    if proof is None:
        return "never; dumpty drill restores it into a scratch database"
    verdict = f"by {proof.level}" if proof.ok else f"FAILED by {proof.level}"
    return f"{verdict}, {moment(proof.at)}, {proof.by}" + (f": {proof.error}" if proof.error else "")
