"""Which backup of a repository is meant, and whether it is signed by somebody whom the caller named."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING

from dumpty.errors import ManifestError, SignatureError, UnknownBackup
from dumpty.operations.selection import LATEST, Filter, select
from dumpty.operations.signatures import get_signed, read_requirement, require_signature

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from dumpty.operations.place import Place
    from dumpty.operations.result import Backup
    from dumpty.types import Candidate, ListedBackup, VerificationKey

__all__ = ["Index", "find"]


def find(
    place: Place,
    wanted: str,
    scope: Filter,
    *,
    alone: bool,
    required: Iterable[str | os.PathLike[str] | VerificationKey] | None,
) -> Backup:
    """Return the backup that is meant; the contract is that of ``BackupManager.find``."""
    signers = read_requirement(required)
    loader = _Loader(place)
    backup = _select(place, wanted, scope, loader.load, alone=alone)
    if not signers:
        return backup
    is_latest = wanted.partition(":")[0] in LATEST
    try:
        record, _ = get_signed(place.repository, backup.id, signers)
        if is_latest:
            loader.require_readable(backup)
    except SignatureError as error:
        if not is_latest:
            raise
        raise SignatureError(f"{error}. {_signed_instead(place, wanted, scope, signers)}") from None
    return backup if place.repository.locate(record.file) == backup.file_path else place.lister.backup(record)


class Index:
    """The backups of a repository by their ids, as far as one look tells these."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._length = min((len(c.id_start) for c in candidates), default=0)
        self._by_start: defaultdict[str, list[Candidate]] = defaultdict(list)
        for candidate in candidates:
            self._by_start[candidate.id_start[: self._length]].append(candidate)

    def find(self, backup_id: str) -> list[ListedBackup]:
        """Return the backups of an id, of which there may be several: those that are whole, or else the first.

        Raises:
            ManifestError: it cannot be told.
        """
        found: list[ListedBackup] = []
        for candidate in self._by_start.get(backup_id[: self._length], ()):
            if not backup_id.startswith(candidate.id_start):
                continue
            with contextlib.suppress(UnknownBackup):  # removed since
                listed = candidate.load()
                if listed.record.id == backup_id:
                    found.append(listed)
        return [listed for listed in found if listed.presence.state == "ok"] or found[:1]


class _Loader:
    """Loads candidates, and remembers which of them cannot be read."""

    def __init__(self, place: Place) -> None:
        self._lister = place.lister
        self._groups: dict[str, str] = {}
        self._unreadable: list[tuple[Candidate, ManifestError]] = []

    def load(self, candidate: Candidate) -> Backup:
        """Return the backup of a candidate; errors as those of ``Lister.load``."""
        try:
            backup = self._lister.load(candidate)
        except ManifestError as error:
            self._unreadable.append((candidate, error))
            raise
        self._groups[backup.id] = candidate.group
        return backup

    def require_readable(self, latest: Backup) -> None:
        """See that ``latest`` is the latest of its database, and not only the latest that can be read.

        Raises:
            SignatureError: what is newer, by its name, cannot be read, so that nobody can tell who signed it.
        """
        moment = latest.timestamp.replace(microsecond=0)
        for candidate, error in self._unreadable:
            is_newer = candidate.started >= moment and not latest.id.startswith(candidate.id_start)
            if is_newer and candidate.group == self._groups[latest.id]:
                raise SignatureError(
                    f"a newer backup of {latest.database_name} may be meant, and nobody can tell: {error}"
                )


def _select(place: Place, wanted: str, scope: Filter, load: Callable[[Candidate], Backup], *, alone: bool) -> Backup:
    location = place.repository.locate("").rstrip("/")
    return select(place.lister.candidates(), wanted, scope, load=load, location=location, alone=alone)


def _signed_instead(place: Place, wanted: str, scope: Filter, signers: Sequence[VerificationKey]) -> str:
    """Return the sentence that names the backup that ``wanted`` would mean if there were none but those signed."""

    def load(candidate: Candidate) -> Backup:
        listed = candidate.load()
        try:
            require_signature(listed.record, signers)
        except SignatureError as error:
            raise UnknownBackup(str(error)) from None
        return place.lister.to_backup(listed)

    try:
        backup = _select(place, wanted, scope, load, alone=False)
    except UnknownBackup:
        return "None that can be read is signed by that"
    what = f"{backup.id} of {backup.database_name}, taken {backup.timestamp:%Y-%m-%d %X}Z"
    return f"The newest that is rightly signed is {what}: name it by its id, if that is the one you want"
