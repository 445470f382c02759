"""Which backups were proven, how far and when, and which to prove next."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.types import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from dumpty.operations.result import Backup
    from dumpty.types import Level, Proof

__all__ = [
    "BAD_STATES",
    "DatabaseCoverage",
    "holding_proofs",
    "is_proven",
    "look_at_coverage",
    "next_of_all",
    "next_to_prove",
    "reaches",
]

BAD_STATES = frozenset({"lost", "damaged"})
"""The states of backups that no restore can rely on, whatever was proven of them once."""


class DatabaseCoverage(Struct, frozen=True, kw_only=True):
    """What is proven of the backups of one database; ``source`` is its one name, however its URL is spelled.

    All backups are oldest first. ``proven`` and ``unproven`` are the whole ones, ``excluded`` those that are lost or
    damaged, which count for nothing. ``newest_proof`` is the newest that holds of a whole one, however long ago, and
    ``newest_proven`` is whose it is; both are None where there is none. ``next`` are those to prove now: the newest of
    ``unproven``, then the oldest that was never proven at all.
    """

    database: str
    source: str
    proven: tuple[Backup, ...] = ()
    unproven: tuple[Backup, ...] = ()
    excluded: tuple[Backup, ...] = ()
    newest_proof: Proof | None = None
    newest_proven: Backup | None = None
    next: tuple[Backup, ...] = ()


def reaches(level: Level, wanted: Level) -> bool:
    """Return whether a proof of a level goes as far as is wanted."""
    return LEVELS.index(level) >= LEVELS.index(wanted)


def holding_proofs(backup: Backup, level: Level) -> list[Proof]:
    """Return the proofs of a backup that reach ``level``, and after which none has failed, newest first."""
    since_failure = itertools.takewhile(lambda proof: proof.ok, reversed(backup.proofs))
    return [proof for proof in since_failure if reaches(proof.level, level)]


def is_proven(backup: Backup, level: Level) -> bool:
    """Return whether a proof of a backup holds that goes as far as ``level``, whenever it was made."""
    return bool(holding_proofs(backup, level))


def next_to_prove(backups: Sequence[Backup], level: Level) -> list[Backup]:
    """Return, of one database's ``backups`` (oldest first), the newest, and the oldest never proven if that is another.

    Who takes these again and again proves every backup in the end, and the newest is never long without a proof.
    """
    never = [backup for backup in backups if not is_proven(backup, level)]
    return [*{backup.id: backup for backup in (*backups[-1:], *never[:1])}.values()]


def look_at_coverage(
    backups: Iterable[Backup], level: Level, *, now: datetime, age: timedelta | None = None
) -> list[DatabaseCoverage]:
    """Return what is proven of the backups of each database, in order of its name and source.

    Args:
        backups: of one or more databases, oldest first.
        level: how far a proof has to go to count.
        now: an aware time.
        age: how long ago a proof may have been made to count; None: any that holds counts. One that lies further ahead
            than that is of a clock that was wrong, and does not count.
    """
    by_source: dict[str, list[Backup]] = {}
    for backup in backups:
        by_source.setdefault(backup.source, []).append(backup)
    found = [_coverage(of_database, level, now, age) for of_database in by_source.values()]
    return sorted(found, key=lambda coverage: (coverage.database, coverage.source))


def next_of_all(coverages: Sequence[DatabaseCoverage]) -> list[Backup]:
    """Return which to prove now: first one of each database, then the second of those that have two."""
    rounds = itertools.zip_longest(*(coverage.next for coverage in coverages))
    return [backup for backups in rounds for backup in backups if backup is not None]


def _coverage(backups: Sequence[Backup], level: Level, now: datetime, age: timedelta | None) -> DatabaseCoverage:
    whole = [backup for backup in backups if backup.state not in BAD_STATES]
    proven = [
        backup
        for backup in whole
        if any(age is None or abs(now - proof.at) <= age for proof in holding_proofs(backup, level))
    ]
    ids = {backup.id for backup in proven}
    unproven = [backup for backup in whole if backup.id not in ids]
    proofs = [(proof, backup) for backup in whole for proof in holding_proofs(backup, level)[:1]]
    newest_proof, newest_proven = max(proofs, key=lambda pair: pair[0].at, default=(None, None))
    return DatabaseCoverage(
        database=backups[-1].database_name,
        source=backups[-1].source,
        proven=tuple(proven),
        unproven=tuple(unproven),
        excluded=tuple(backup for backup in backups if backup.state in BAD_STATES),
        newest_proof=newest_proof,
        newest_proven=newest_proven,
        next=tuple(next_to_prove(unproven, level)),
    )
