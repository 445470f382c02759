"""Repositories: what the facades speak to. dumpty's own lies over any ``Store``; a plugin may bring another layout.

A repository decides how a backup is laid out, and in which order it becomes visible; what is read back from it is
checked by whoever reads. Every method raises ``StoreError`` where the place fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from dumpty.errors import ManifestError
from dumpty.types.records import Annotations, Presence, Record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dumpty.types.records import Proof
    from dumpty.types.runs import RunClaim, StoredRun, TellingClaim
    from dumpty.types.stores import Upload
    from dumpty.types.streams import Reader


class ObjectSource(Protocol):
    """Where the stored objects of a backup are read."""

    def open(self, name: str, offset: int = 0) -> Reader:
        """Read an object from ``offset`` bytes on; ``MissingFile`` where it is gone."""
        ...

    def local_path(self, name: str) -> Path | None:
        """Return the object's path where it is a file, or a directory, of this machine. It is only to be read."""
        ...

    def locate(self, name: str) -> str:
        """Return where a person finds the object: a path, or a URL without secrets; for "" the whole repository."""
        ...

    def workspace(self) -> AbstractContextManager[Path]:
        """Return a private, empty directory with room for a dump, removed at the end of the block."""
        ...


class Transaction(Protocol):
    """One backup on its way into a repository; its block is left without a trace unless ``commit`` returned."""

    def name(self, ending: str) -> str:
        """Return the name of the object that ``upload(ending)`` begins."""
        ...

    def upload(self, ending: str, expected: int | None = None) -> Upload:
        """Begin an object, whose name ends with ``ending``; ``expected`` is about its size in bytes.

        It is committed with the transaction (or by ``complete``), not by whoever writes it. Several may be written at
        once. An ending used twice is a ``ValueError``.
        """
        ...

    def complete(self, ending: str) -> None:
        """Commit one object already, from whichever thread: of many, none holds what it needs no more until the end.

        It stays invisible as part of a backup, and goes with the transaction if that fails.

        Raises:
            StoreError: it could not be.
        """
        ...

    def claim_id(self, record_id: str) -> Record | None:
        """Claim this transaction's id: return the backup that has it already, whole; None where none has.

        Of all other transactions of this id that are on their way none can commit any more, whoever began them: so of
        a backup that several make, because one of them was taken for dead, there is one. Where a repository cannot see
        to that, two may be there, which count as one by their id.
        """
        ...

    def commit(self, record: Record) -> Record:
        """Make the backup visible, with all its objects, and return its record; the only success there is.

        What is read later is equal to the record in every field: its ``signatures`` are of all the others but the
        objects' names.

        Each object is read back by its size, and its beginning where it is encrypted (``StageRecord.recipient_kinds``,
        ``dumpty.require_encrypted``); then the manifest is written, and read back. Right before that
        ``dumpty.commit_point()`` is told.

        Raises:
            IntegrityError, ManifestError, StoreError: what is stored is not what was written; nothing of it stays.
        """
        ...


class ListedBackup(Struct, frozen=True, kw_only=True):
    """A backup that a repository lists, what became of its data, and what lies beside it."""

    record: Record
    presence: Presence
    annotations: Annotations


class Candidate(Struct, frozen=True, kw_only=True):
    """A backup of which little is known before it is loaded: enough to see whether it may be the one that is meant.

    ``id_start`` is its id, or at least its beginning. ``started`` is aware and may be cut to the second. ``group`` is
    the same for all backups of one database, and of them alone. ``database`` is the ``slug`` of its database's name,
    or "" where that is not known. ``load`` returns all that is known of it now; it raises ``UnknownBackup`` where it
    was removed meanwhile, and ``ManifestError`` where it cannot be read.
    """

    id_start: str
    started: datetime
    group: str
    load: Callable[[], ListedBackup]
    database: str = ""


class RepositoryListing(Struct, frozen=True, kw_only=True):
    """A repository at one look: its backups, oldest first, and an error for each manifest that cannot be read."""

    backups: tuple[ListedBackup, ...]
    problems: tuple[ManifestError, ...] = ()

    def candidates(self) -> tuple[Candidate, ...]:
        """Return its backups as ``Repository.candidates`` does, for a repository that has no cheaper look."""
        return tuple(_loaded(backup) for backup in self.backups)


def _loaded(backup: ListedBackup) -> Candidate:
    record = backup.record
    return Candidate(id_start=record.id, started=record.started, group=record.identity, load=lambda: backup)


class Removal(Struct, frozen=True, kw_only=True):
    """What became of a removal: the ids of what was removed, and of what was to be and was kept, with the reason."""

    removed: tuple[str, ...] = ()
    kept: Mapping[str, str] = {}


class Repository(ObjectSource, Protocol):
    """The backups in one place."""

    def transaction(
        self, *, record_id: str, database: str, identity: str, started: datetime
    ) -> AbstractContextManager[Transaction]:
        """Begin a backup of a database, under an id of its own (a UUID). What killed runs left is cleared first."""
        ...

    def listing(self) -> RepositoryListing:
        """Return every backup that is there, the lost ones too."""
        ...

    def candidates(self, *, database: str = "", identity: str = "") -> Sequence[Candidate]:
        """Return every backup that is there, from one look and with nothing read, oldest first.

        Of the database that these are given of, as they are to ``transaction``, all must be there; those of others
        need not be, where that makes the look cheaper.
        """
        ...

    def get(self, record_id: str) -> Record:
        """Return the backup of this whole id, as it lies there now; ``UnknownBackup`` where there is none."""
        ...

    def look_up(self, record: Record) -> ListedBackup:
        """Return what is known now of a backup; ``UnknownBackup`` where it was removed meanwhile."""
        ...

    def reading(self, record: Record) -> AbstractContextManager[None]:
        """Protect a backup from being removed within the block, however long it takes, as far as that can be done here.

        Whoever is killed within it protects it for a bounded time only.

        Raises:
            UnknownBackup: it is gone, or being removed.
        """
        ...

    def clear(self) -> None:
        """Finish, or take back, what killed runs left."""
        ...

    def add_proof(self, record: Record, proof: Proof) -> Proof:
        """Write down what was proved, and return it; where that cannot be done, with the reason (``unrecorded``).

        Raises:
            UnknownBackup: the backup was removed meanwhile.
        """
        ...

    def pin(self, record: Record, reason: str = "") -> None:
        """Protect a backup from ``remove``; ``UnknownBackup`` where it is gone."""
        ...

    def unpin(self, record: Record) -> bool:
        """Take a backup's pin away, and return whether it had one."""
        ...

    def accept(self, record: Record, reason: str = "") -> None:
        """Write down that a backup is taken as good, suspicious as it is; ``UnknownBackup`` where it is gone.

        It is told with its reason (``Annotations.accepted``), and cannot be taken back.
        """
        ...

    def remove(self, choose: Callable[[Sequence[ListedBackup]], Collection[str]]) -> Removal:
        """Remove the backups whose ids ``choose`` returns, given all that are there, for good and all together.

        It is asked again when everybody who removes something else has been seen, and the backups that others remove
        are not among those it is given then; if it then keeps any of them, none is removed. What is pinned is kept.
        Right before anything is deleted ``dumpty.commit_point()`` is told.

        Raises:
            StoreError: not all could be removed. What is still whole is still listed.
        """
        ...

    def claim_run(self, job: str, slot: str) -> RunClaim | None:
        """Claim a run of a job; None where it has a result, or somebody is at it.

        Args:
            job: its name: letters, digits, ``_``, ``.`` and ``-``, at most 100.
            slot: when it is due, the same text for everybody: ``20261126T030000Z``; for a run by hand when it was
                begun, ``-``, and something that nobody else has.

        Raises:
            Locked: somebody is at another run of the same job; of two who claim at the same moment both may be refused.
            ValueError: the names are none.
        """
        ...

    def runs(self, job: str = "") -> Iterator[StoredRun]:
        """Yield what is known of the runs of a job, or of all jobs, the latest slot first."""
        ...

    def run_key(self, job: str, slot: str) -> str | None:
        """Return ``RunClaim.key`` of a run that was begun and has no result yet, or None; ``ValueError`` as above."""
        ...

    def run_result(self, job: str, slot: str) -> bytes | None:
        """Return what ``RunClaim.finish`` wrote down, or None where nobody did, or it is kept no more."""
        ...

    def claim_telling(self, job: str, channel: str) -> TellingClaim | None:
        """Claim to tell one recipient of a job what is wrong with it; None where somebody else is at it.

        Args:
            job: its name, as for ``claim_run``.
            channel: 8 to 64 hexadecimal digits that stand for the recipient.

        Raises:
            ValueError: the names are none.
        """
        ...

    def told(self, job: str, channel: str) -> tuple[bytes, ...]:
        """Return what ``TellingClaim.finish`` was given last; several where several told at once; () if nobody did.

        Raises:
            ValueError: the names are none.
        """
        ...
