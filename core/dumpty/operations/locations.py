"""In which of several repositories each backup lies."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from dumpty.encryption.header import MOST_HEADER_BYTES, payload_length
from dumpty.repository.objects import StoredObjects
from dumpty.types import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dumpty.operations.result import Backup
    from dumpty.types import Record, Repository, StageRecord, StoredObject

__all__ = ["LocatedBackup", "are_one_file", "is_encrypted_anew", "locate_backups"]


class LocatedBackup(NamedTuple):
    """A backup, as the first repository that has it whole tells of it, and those that have it whole.

    Where none has it whole ``places`` is empty, and the backup is as the first that knows of it tells.
    """

    backup: Backup
    places: tuple[str, ...]


def locate_backups(
    backups: Mapping[str, Sequence[Backup]], is_same: Callable[[str, str, str], bool]
) -> list[LocatedBackup]:
    """Return each backup once, oldest first, and its copies; another name of one repository is none.

    Args:
        backups: those of each repository, by its name.
        is_same: given two of those names and the id of a backup that both have, tells whether they are of one place.
    """
    known: dict[str, LocatedBackup] = {}
    counted: defaultdict[str, list[Backup]] = defaultdict(list)
    aliases: dict[tuple[str, str], bool] = {}

    def is_alias(one: str, other: str, backup_id: str) -> bool:
        if (one, other) not in aliases:
            aliases[one, other] = is_same(one, other, backup_id)
        return aliases[one, other]

    for place, held in backups.items():
        for backup in held:
            told, places = known.setdefault(backup.id, LocatedBackup(backup, ()))
            if backup.state not in {"ok", "suspicious"} or any(is_alias(other, place, backup.id) for other in places):
                continue
            if all(_are_copies(other, backup) for other in counted[backup.id]):
                counted[backup.id].append(backup)
                known[backup.id] = LocatedBackup(told if places else backup, (*places, place))
    return sorted(known.values(), key=lambda located: (located.backup.timestamp, located.backup.id))


def is_encrypted_anew(copy: Record, record: Record) -> bool:
    """Return whether a copy, whose bytes are others, is one that was encrypted on the way, as far as can be told.

    What a manifest tells without a key is that of ``record``, but for what tells of those bytes; and these are as many
    as they would be.
    """
    plain: dict[str, Any] = dict.fromkeys(("objects", "recipients", "signatures"), ())
    plain |= {"sealed": None, "evidence": Evidence(), "options": {}, "suspicions": ()}
    sizes = [
        _is_encryption((o.size, bool(copy.recipient_kinds)), (r.size, bool(record.recipient_kinds)), 1)
        for o, r in zip(copy.objects, record.objects, strict=False)
    ]
    counts = [(r.tables, r.rows, r.suspicious, [_plain_stages(o) for o in r.objects]) for r in (copy, record)]
    is_encrypted = bool(copy.recipient_kinds) and all(sizes) and counts[0] == counts[1]
    return is_encrypted and replace(copy, **plain) == replace(record, **plain)


def _plain_stages(stored: StoredObject) -> list[StageRecord]:
    return [stage for stage in stored.stages if stage.kind != "cipher"]


def _are_copies(one: Backup, other: Backup) -> bool:
    """Return whether two backups of one id are copies: the same bytes, or one of them encrypted, or encrypted anew."""
    facts = [(b.timestamp, b.ended, b.source, b.format, b.tables, b.rows, len(b.files)) for b in (one, other)]
    sizes = [(b.size_bytes, bool(b.recipient_kinds)) for b in (one, other)]
    return one.checksum == other.checksum or (
        facts[0] == facts[1] and _is_encryption(sizes[0], sizes[1], len(one.files))
    )


def _is_encryption(one: tuple[int, bool], other: tuple[int, bool], files: int) -> bool:
    """Return whether one of two can be the other encrypted, or encrypted anew, by its size and whether it is.

    The size is that of so many ``files`` together, each of which has a header of its own.
    """
    most = MOST_HEADER_BYTES * max(files, 1)
    (size, encrypted), (other_size, other_encrypted) = sorted((one, other), key=lambda item: item[1])
    if encrypted:
        return abs(size - other_size) < most
    return other_encrypted and 0 < other_size - payload_length(size) < most


def are_one_file(repositories: tuple[Repository, Repository], records: tuple[Record, Record]) -> bool:
    """Return whether what two repositories tell of one backup is of one and the same file, as far as can be told."""
    one, other = repositories
    name, other_name = (record.objects[0].name for record in records)
    paths = one.local_path(name), other.local_path(other_name)
    if paths[0] is not None and paths[1] is not None:
        with contextlib.suppress(OSError):
            return os.path.samefile(paths[0], paths[1])
    # Made by dumpty, a copy has a name of its own; by other means, it has been written at another time.
    if name != other_name or not isinstance(one, StoredObjects) or not isinstance(other, StoredObjects):
        return False
    found, other_found = one.stat(name), other.stat(name)
    return (found.tag, found.modified) == (other_found.tag, other_found.modified)
