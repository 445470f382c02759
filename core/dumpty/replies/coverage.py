"""What is proven of the backups of each database, as JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from dumpty.replies.reply import Reply
from dumpty.replies.values import Backup, Count, LastProof, Moment, Object
from dumpty.types import Level  # noqa: TC001 - msgspec reads it at run time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dumpty.operations import coverage, result

__all__ = [
    "CoverageReply",
    "DatabaseCoverage",
    "Excluded",
    "NewestProof",
    "NextProof",
    "coverage_as_json",
    "next_as_json",
]


class NewestProof(LastProof, kw_only=True):
    """The newest proof that holds of a whole backup of a database, and that backup's ``id``."""

    id: str


class Excluded(Object, kw_only=True):
    """A backup that counts for nothing, because it is lost or damaged, and what was seen of it."""

    id: str
    timestamp: Moment
    state: Literal["lost", "damaged"]
    reason: str


class DatabaseCoverage(Object, kw_only=True):
    """How many whole backups of a database there are, and how many of them are proven."""

    database: str
    source: str
    whole: Count
    proven: Count
    newest_proof: NewestProof | None
    excluded: list[Excluded]


class NextProof(Object, kw_only=True):
    """A backup that is to be proven now, and the command that does it."""

    id: str
    database: str
    source: str
    timestamp: Moment
    command: str


class CoverageReply(Reply, kw_only=True):
    """``drill --coverage``; ``backups`` have no proof of ``level``, or none ``since`` then (null: ever)."""

    level: Level
    since: Moment | None
    databases: list[DatabaseCoverage]
    backups: list[Backup]
    next: list[NextProof]


def coverage_as_json(found: coverage.DatabaseCoverage) -> DatabaseCoverage:
    """Return what is proven of a database's backups, as a JSON value."""
    proof, backup = found.newest_proof, found.newest_proven
    return DatabaseCoverage(
        database=found.database,
        source=found.source,
        whole=len(found.proven) + len(found.unproven),
        proven=len(found.proven),
        newest_proof=NewestProof(id=backup.id, level=proof.level, ok=proof.ok, at=proof.at)
        if proof is not None and backup is not None
        else None,
        excluded=[
            Excluded(id=b.id, timestamp=b.timestamp, state=cast("Any", b.state), reason=b.state_reason)
            for b in found.excluded
        ],
    )


def next_as_json(backups: Iterable[result.Backup], command: Callable[[result.Backup], str]) -> list[NextProof]:
    """Return backups that are to be proven now, as JSON values; ``command`` returns what proves one."""
    return [
        NextProof(id=b.id, database=b.database_name, source=b.source, timestamp=b.timestamp, command=command(b))
        for b in backups
    ]
