"""What is protected: every database that a repository knows of, with its backups, what is proved, and what is wrong."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from dumpty.repository.retention import total_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from dumpty.jobs.conditions import Condition
    from dumpty.jobs.health import JobHealth
    from dumpty.jobs.settings import JobSettings
    from dumpty.operations.result import Backup
    from dumpty.repository.retention import Decision
    from dumpty.types import Level, Proof

__all__ = ["Measured", "Protected", "Protection", "Status", "Unknown"]

Status = Literal[
    "damaged", "failed", "overdue", "none", "suspicious", "copy-missing", "not-proved", "warning", "unknown", "ok"
]
"""How a database stands, in one word: the first of these that applies.

``none``: there is no good backup of it. ``unknown``: its repository cannot be looked at.
"""


class Measured(NamedTuple):
    """A proof, and the backup that it is of."""

    backup: Backup
    proof: Proof


class Protected(NamedTuple):
    """One database, and what is known of its backups.

    ``key`` is the same whenever it is looked. ``job`` is the one that backs it up, None where none does, or nobody
    knows. ``database`` is its name, ``source`` its URL without secrets; ``repository`` where its backups are, as may be
    shown. ``backups`` are oldest first, ``good`` is the newest that can be relied on. ``repositories`` is in how many
    that is known to be whole, ``repositories_wanted`` in how many it should be. ``problems`` are what is wrong.
    """

    key: str
    job: JobSettings | None
    repository: str
    database: str
    source: str
    driver: str
    backups: tuple[Backup, ...]
    good: Backup | None
    repositories: int
    repositories_wanted: int
    next_run: datetime | None
    status: Status
    problems: tuple[Condition, ...]

    @property
    def since(self) -> datetime | None:
        """When the oldest good backup was made."""
        return next((backup.timestamp for backup in self.backups if backup.state == "ok"), None)

    @property
    def last_proof(self) -> Measured | None:
        """The newest proof that holds, of any level, of a backup that is there."""
        return self._newest(("digest", "structure", "restore"))

    @property
    def last_restore(self) -> Measured | None:
        """The newest proof by restoring that holds: what a restore takes was measured then."""
        return self._newest(("restore",))

    @property
    def size_bytes(self) -> int:
        """How much all its backups take in the store."""
        return total_size(self.backups)

    @property
    def longest_gap(self) -> timedelta | None:
        """The longest time between two good ones that are kept; None where there are not two. Rules make it longer."""
        made = [backup.timestamp for backup in self.backups if backup.state == "ok"]
        return max((later - earlier for earlier, later in pairwise(made)), default=None)

    def _newest(self, levels: Sequence[Level]) -> Measured | None:
        found = [
            Measured(backup, proof)
            for backup in self.backups
            if backup.state not in {"lost", "damaged"}
            for proof in backup.proofs
            if proof.ok and proof.level in levels
        ]
        return max(found, key=lambda measured: measured.proof.at, default=None)


class Unknown(NamedTuple):
    """A job of which nothing can be said, and why."""

    job: JobSettings
    error: str


class Protection(NamedTuple):
    """What is protected, at one look (``at``, aware).

    ``jobs`` are how jobs are, ``unknown`` of which it cannot be said. ``going`` is what each job would remove if it was
    run now, by its name. ``unreadable`` is what nobody can read, a line each. ``repositories`` are those that were
    looked at, as they may be shown.
    """

    at: datetime
    databases: tuple[Protected, ...]
    jobs: tuple[JobHealth, ...]
    unknown: tuple[Unknown, ...]
    going: Mapping[str, tuple[Decision[Backup], ...]]
    unreadable: tuple[str, ...]
    repositories: tuple[str, ...]
