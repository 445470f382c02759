"""In which of several repositories each backup lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dumpty.operations.result import Backup

__all__ = ["LocatedBackup", "locate_backups"]


class LocatedBackup(NamedTuple):
    """A backup, as the first repository that has it whole tells of it, and those that have it whole.

    Where none has it whole ``places`` is empty, and the backup is as the first that knows of it tells.
    """

    backup: Backup
    places: tuple[str, ...]


def locate_backups(backups: Mapping[str, Sequence[Backup]]) -> list[LocatedBackup]:
    """Return each backup once, oldest first; ``backups`` are those of each repository, by its name."""
    known: dict[str, LocatedBackup] = {}
    for place, held in backups.items():
        for backup in held:
            before = known.get(backup.id)
            whole = (place,) if backup.state == "ok" else ()
            told = backup if before is None or (whole and not before.places) else before.backup
            known[backup.id] = LocatedBackup(told, (before.places if before else ()) + whole)
    return sorted(known.values(), key=lambda located: (located.backup.timestamp, located.backup.id))
