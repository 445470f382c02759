"""Whether an identity opens what there is: the newest backup of every database."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dumpty.errors import DumptyError
from dumpty.operations.restore import stored_of
from dumpty.operations.sealing import open_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.operations.place import Place
    from dumpty.operations.result import Backup
    from dumpty.registry.host import Host
    from dumpty.types import Identity, ListedBackup

__all__ = ["KeyCheck", "check_keys"]

_FIRST_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class KeyCheck:
    """Whether identities open a backup.

    ``opened`` is True where they open its manifest and the beginning of its data, and where it is not encrypted; else
    ``exception`` says why. ``backup`` is None where a manifest cannot be read.
    """

    backup: Backup | None
    opened: bool
    exception: Exception | None = field(default=None, repr=False, compare=False)


def check_keys(host: Host, place: Place, identities: Sequence[Identity]) -> list[KeyCheck]:
    """Check the newest backup of every database, and tell of every manifest that cannot be read.

    Raises:
        StoreError: the repository cannot be listed.
    """
    listing = place.repository.listing()
    newest = {listed.record.identity: listed for listed in listing.backups}  # oldest first, so the last one stays
    checks = [_check(host, place, listed, identities) for listed in newest.values()]
    return [*checks, *(KeyCheck(backup=None, opened=False, exception=problem) for problem in listing.problems)]


def _check(host: Host, place: Place, listed: ListedBackup, identities: Sequence[Identity]) -> KeyCheck:
    backup = place.lister.to_backup(listed)
    try:
        if listed.record.sealed is not None:
            record = open_record(host, listed.record, identities)
            stored = stored_of(host, record, identities)
            [stage] = [stage for stage in stored.stages if stage.is_cipher]
            with contextlib.closing(stage.reader(host, place.repository.open(stored.parts[0].file))) as reader:
                reader.read(_FIRST_BYTES)
    except DumptyError as error:
        return KeyCheck(backup=backup, opened=False, exception=error)
    return KeyCheck(backup=backup, opened=True)
