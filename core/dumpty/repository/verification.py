"""What was proved of a backup, by whom and when, kept beside it; pins, which protect one; and that one was accepted.

Each of them is an object of its own beside the backup, sealed JSON like the manifest, that goes when the
backup goes. A proof only ever says what was seen: one that cannot be read counts as none, and one that cannot be
written down is no failure of the backup.
"""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dumpty.errors import ManifestError
from dumpty.repository import sealed
from dumpty.types import LEVELS, Proof, Proved

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dumpty.types import Level

__all__ = [
    "MAX_PROOFS",
    "VerificationStatus",
    "current_user",
    "decode_proof",
    "decode_remark",
    "encode_proof",
    "encode_remark",
    "superfluous",
    "verification_status",
]

MAX_PROOFS = 50
"""Proofs kept for one backup, beside the newest success and failure of each level, which are what counts."""


@dataclass(frozen=True, kw_only=True)
class VerificationStatus:
    """What all proofs of a backup say together.

    ``failed`` is the proof that failed and that no later one as strong has refuted. ``proven`` is the newest of the
    strongest proofs that hold: none after it failed at its level or below. It is None while anything has failed.
    """

    proven: Proof | None = None
    failed: Proof | None = None


_UNPROVEN = VerificationStatus()


def verification_status(proofs: Sequence[Proof]) -> VerificationStatus:
    """Return what ``proofs``, in the order in which they were made, say together."""
    if not proofs:
        return _UNPROVEN
    last: dict[tuple[Level, bool], int] = {(p.level, p.ok): position for position, p in enumerate(proofs)}

    def newest(levels: Iterable[Level], *, ok: bool) -> int:
        return max((last.get((level, ok), -1) for level in levels), default=-1)

    for level in reversed(LEVELS):
        failure = last.get((level, False), -1)
        if failure > newest(LEVELS[LEVELS.index(level) :], ok=True):
            return VerificationStatus(failed=proofs[failure])
    for level in reversed(LEVELS):
        success = last.get((level, True), -1)
        if success > newest(LEVELS[: LEVELS.index(level) + 1], ok=False):
            return VerificationStatus(proven=proofs[success])
    return VerificationStatus()


def superfluous(proofs: Sequence[Proof]) -> list[int]:
    """Return the positions of those of many ``proofs`` that neither count nor are among the newest."""
    newest = {(p.level, p.ok): position for position, p in enumerate(proofs)}.values()
    return [position for position in range(max(0, len(proofs) - MAX_PROOFS)) if position not in newest]


def current_user() -> str:
    """Return who runs this program, and where: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name, as containers have them
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def encode_proof(record_id: str, proof: Proof) -> bytes:
    """Return the content of a proof's object."""
    return sealed.seal({"backup": record_id, "proof": _proof_to_json(proof)})


def decode_proof(data: bytes, record_id: str, label: str) -> Proof:
    """Return what a proof's object says.

    Raises:
        ManifestError: it is damaged, of another backup, or written by a newer dumpty.
    """
    content = sealed.unseal(data, label)
    try:
        _require_backup(content, record_id, label)
        return _proof_from_json(content["proof"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ManifestError(f"{label} is damaged: {type(error).__name__} at {error}") from error


def encode_remark(record_id: str, reason: str, moment: datetime) -> bytes:
    """Return the content of a pin's object, or an acceptance's; ``reason`` is made one line."""
    text = " ".join(reason.split())
    return sealed.seal({"backup": record_id, "by": current_user(), "at": moment.isoformat(), "reason": text})


def decode_remark(data: bytes, record_id: str, label: str) -> str:
    """Return what a pin or an acceptance says, in one line: by whom, since when, and why.

    Raises:
        ManifestError: it is damaged, of another backup, or written by a newer dumpty.
    """
    content = sealed.unseal(data, label)
    try:
        _require_backup(content, record_id, label)
        since = sealed.utc(content["at"])
        return f"by {content['by']} on {since:%Y-%m-%d}" + (f": {content['reason']}" if content["reason"] else "")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ManifestError(f"{label} is damaged: {type(error).__name__} at {error}") from error


def _require_backup(content: Mapping[str, Any], record_id: str, label: str) -> None:
    if content["backup"] != record_id:
        raise ManifestError(f"{label} is damaged: it belongs to the backup {content['backup']}")


def _proof_to_json(proof: Proof) -> dict[str, Any]:
    return {
        "level": proof.level,
        "ok": proof.ok,
        "at": proof.at.astimezone(UTC).isoformat(),
        "by": proof.by,
        "seconds": proof.seconds,
        "versions": dict(proof.versions),
        "proved": [[step.what, step.seconds] for step in proof.proved],
        "not_proved": list(proof.not_proved),
        "differs": list(proof.differs),
        "error": proof.error,
    }


def _proof_from_json(values: Mapping[str, Any]) -> Proof:
    if values["level"] not in LEVELS or type(values["ok"]) is not bool:
        raise ValueError(f"level {values['level']!r}, ok {values['ok']!r}")
    return Proof(
        level=values["level"],
        ok=values["ok"],
        at=sealed.utc(values["at"]),
        by=str(values["by"]),
        seconds=float(values["seconds"]),
        versions={str(k): str(v) for k, v in values["versions"].items()},
        proved=tuple(Proved(what=str(text), seconds=float(seconds)) for text, seconds in values["proved"]),
        not_proved=tuple(map(str, values["not_proved"])),
        differs=tuple(map(str, values.get("differs", ()))),
        error=str(values["error"]),
    )
