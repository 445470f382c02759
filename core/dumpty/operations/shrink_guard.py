"""Sees, before a new backup is committed, whether it holds so much less than the last good ones of its database."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dumpty.errors import DumptyError, IdentityError, ManifestError, UnknownBackup
from dumpty.operations.evidence import summarize_paths
from dumpty.operations.shrinking import findings, uncounted_tables
from dumpty.repository.duplicates import merge_duplicates
from dumpty.repository.names import slug
from dumpty.repository.verification import verification_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty.types import Candidate, ListedBackup, Record, Repository, ShrinkRules

__all__ = ["Earlier", "ShrinkGuard", "good_backups", "warning_of"]

_OTHER_KEY = "this machine's own key does not open what is sealed of it"
_PARTLY = "compared with an earlier backup ({}) in numbers and sizes alone, not table by table: {}"
_MOST_TOLD = 20
"""How many findings are told; what is told of more is how many there are."""


class ShrinkGuard(Struct, frozen=True, kw_only=True):
    """What a new backup is held against.

    ``rules`` say how much less it may hold. ``open`` returns a record with all that is known of it, and raises a
    ``DumptyError`` where nothing here opens what is sealed.
    """

    rules: ShrinkRules
    open: Callable[[Record], Record]

    def look_back(self, repository: Repository, database: str, identity: str, now: datetime) -> Earlier:
        """Return the last good backups of a database.

        Raises:
            StoreError: they cannot be listed.
        """
        notes: list[str] = []
        records = []
        unopened: dict[str, list[str]] = {}
        for listed in itertools.islice(good_backups(repository, database, identity, now, notes), self.rules.backups):
            record = listed.record
            try:
                records.append(self.open(record))
            except DumptyError as error:
                records.append(record)
                reason = _OTHER_KEY if isinstance(error, IdentityError) else str(error)
                unopened.setdefault(reason, []).append(record.id)
        notes += [_PARTLY.format(", ".join(ids), reason) for reason, ids in unopened.items()]
        return Earlier(rules=self.rules, records=tuple(records), notes=tuple(notes))


class Earlier(Struct, frozen=True, kw_only=True):
    """The last good backups of a database, and what there is to say of those that could not be compared."""

    rules: ShrinkRules
    records: tuple[Record, ...]
    notes: tuple[str, ...]

    def compare(self, record: Record) -> Record:
        """Return the record of a new backup with what makes it suspicious, and notes on what was not compared."""
        found = [str(finding) for finding in findings(record, self.records, self.rules)]
        if len(found) > _MOST_TOLD:
            found[_MOST_TOLD:] = [f"and {len(found) - _MOST_TOLD} more"]
        notes = list(self.notes)
        if uncounted := uncounted_tables(record, self.records):
            tables = summarize_paths(uncounted)
            notes.append(f"not compared with earlier backups, for nobody counted their rows: {tables}")
        if self.rules.size is not None and self.records and all(r.format != record.format for r in self.records):
            others = ", ".join(sorted({r.format for r in self.records}))
            notes.append(f"its size was not compared with earlier backups, which are in another format: {others}")
        evidence = replace(record.evidence, notes=(*record.evidence.notes, *notes))
        return replace(record, suspicions=tuple(found), evidence=evidence)


def good_backups(
    repository: Repository, database: str, identity: str, now: datetime, notes: list[str] | None = None
) -> Iterator[ListedBackup]:
    """Yield the backups of a database that are there, have not failed, and are not suspicious, newest first.

    One that was taken after ``now`` is none; one that cannot be read is noted.
    """
    groups: dict[str, bool] = {}
    candidates = repository.candidates(database=database, identity=identity)
    for _, several in itertools.groupby(reversed(candidates), key=lambda candidate: candidate.started):
        loaded = []
        for candidate in several:
            if candidate.database not in {"", slug(database)} or not groups.get(candidate.group, True):
                continue
            if (listed := _load(candidate, notes)) is not None:
                groups[candidate.group] = listed.record.identity == identity
                loaded += [listed] * groups[candidate.group]
        loaded.sort(key=lambda listed: (listed.record.started, listed.record.id), reverse=True)
        for listed in merge_duplicates(loaded):  # where it lies twice, it is accepted where either is
            if listed.record.started <= now and _is_good(listed):
                yield listed


def warning_of(repository: Repository, record: Record) -> str:
    """Return what whoever restores a suspicious backup should know; "" where somebody has accepted it.

    Raises:
        UnknownBackup: it is gone.
    """
    if repository.look_up(record).annotations.accepted:
        return ""
    good = next(good_backups(repository, record.database, record.identity, datetime.now(UTC)), None)
    instead = "there is no good one"
    if good is not None:
        instead = f"the newest good one is {good.record.id}, taken {good.record.started:%Y-%m-%d %X}Z"
    reasons = "; ".join(record.suspicions)
    return f"backup {record.id} of {record.database}, which is restored, is suspicious ({reasons}): {instead}"


def _load(candidate: Candidate, notes: list[str] | None) -> ListedBackup | None:
    try:
        return candidate.load()
    except UnknownBackup:  # removed meanwhile
        return None
    except ManifestError as error:
        if notes is not None:
            notes.append(f"a backup that cannot be read was not compared: {error}")
        return None


def _is_good(listed: ListedBackup) -> bool:
    annotations = listed.annotations
    trusted = not listed.record.suspicious or bool(annotations.accepted)
    return trusted and listed.presence.state == "ok" and verification_status(annotations.proofs).failed is None
