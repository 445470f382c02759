"""In which of several repositories each backup lies."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from dumpty.repository.objects import StoredObjects
from dumpty.types import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dumpty.operations.result import Backup
    from dumpty.types import Record, Repository

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
    aliases: dict[tuple[str, str], bool] = {}

    def is_alias(one: str, other: str, backup_id: str) -> bool:
        if (one, other) not in aliases:
            aliases[one, other] = is_same(one, other, backup_id)
        return aliases[one, other]

    for place, held in backups.items():
        for backup in held:
            told, places = known.setdefault(backup.id, LocatedBackup(backup, ()))
            if backup.state != "ok" or any(is_alias(other, place, backup.id) for other in places):
                continue
            if not places:
                known[backup.id] = LocatedBackup(backup, (place,))
            elif backup.checksum == told.checksum or _is_encrypted_anew(backup, told):
                known[backup.id] = LocatedBackup(told, (*places, place))
    return sorted(known.values(), key=lambda located: (located.backup.timestamp, located.backup.id))


def is_encrypted_anew(copy: Record, record: Record) -> bool:
    """Return whether a copy, whose bytes are others, is one that was encrypted on the way, as far as can be told.

    What a manifest tells without a key is that of ``record``, but for what tells of those bytes.
    """
    plain: dict[str, Any] = {"objects": (), "sealed": None, "evidence": Evidence(), "options": {}, "recipients": ()}
    totals = (copy.tables, copy.rows) == (record.tables, record.rows)
    return bool(copy.recipient_kinds) and totals and replace(copy, **plain) == replace(record, **plain)


def _is_encrypted_anew(backup: Backup, told: Backup) -> bool:
    """Return the same of what people see of both; which of the two is the copy does not matter."""
    facts = [(b.timestamp, b.ended, b.source, b.format, b.tables, b.rows) for b in (backup, told)]
    return bool(backup.recipient_kinds or told.recipient_kinds) and facts[0] == facts[1]


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
