"""Copying backups from one repository into another: as they are stored, proofs and pins along, or encrypted anew."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty.errors import Cancelled, IntegrityError, SignatureError, StoreError, UnknownBackup
from dumpty.operations.finding import Index
from dumpty.operations.locations import are_one_file, is_encrypted_anew
from dumpty.operations.resealing import pass_on
from dumpty.operations.result import log
from dumpty.operations.signatures import commit_signed, get_signed, require_signature
from dumpty.process.cancellation import cancellable, require_token
from dumpty.repository.protocol.layout import split_name
from dumpty.repository.verification import verification_status
from dumpty.streaming.reporter import Reporter
from dumpty.streaming.streams import HashingWriter, ReadAheadReader, VerifyingReader
from dumpty.types import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dumpty.errors import DumptyError
    from dumpty.operations.place import Place
    from dumpty.operations.resealing import Resealing
    from dumpty.operations.result import Backup
    from dumpty.process.call import Call
    from dumpty.process.cancellation import Cancellation
    from dumpty.signing.signer import Signer
    from dumpty.types import (
        Annotations,
        ListedBackup,
        ProgressCallback,
        Record,
        StoredObject,
        Transaction,
        VerificationKey,
    )

__all__ = ["Copier", "CopyOutcome"]


@dataclass(frozen=True, kw_only=True)
class CopyOutcome:
    """What came of one backup that was to be copied.

    ``backup`` is the copy, as it lies there; None where there is none, and ``exception`` then says why. ``copied`` is
    False where it was there already. ``backup_id`` is "" where a manifest is damaged, so that nobody can tell.
    ``warning`` says what of it could not be seen, "" for nothing.
    """

    backup_id: str
    backup: Backup | None = None
    copied: bool = False
    warning: str = ""
    exception: Exception | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether there is a whole copy of it."""
        return self.backup is not None


class Copier:
    """Copies backups of one repository into another, and tells the observers of that.

    Args:
        origin: where they are.
        destination: where they go.
        resealing: encrypts them on the way; None leaves their stored bytes as they are.
        signer: signs the copies; what signatures their backups have goes along, where they are of the same bytes.
        required: the keys one of which must have signed what is copied; () requires none.
    """

    def __init__(
        self,
        origin: Place,
        destination: Place,
        resealing: Resealing | None = None,
        signer: Signer | None = None,
        required: Sequence[VerificationKey] = (),
    ) -> None:
        self._origin = origin
        self._destination = destination
        self._resealing = resealing
        self._signer = signer
        self._required = required

    def copy_many(
        self, ids: Iterable[str] | None, *, progress: ProgressCallback | None, cancel: Cancellation | None
    ) -> list[CopyOutcome]:
        """Copy one backup after another; the contract is that of ``BackupManager.copy``."""
        if isinstance(ids, str):
            raise TypeError("ids of backups are several, not one str: [backup_id]")
        require_token(cancel)
        chosen = None if ids is None else list(dict.fromkeys(ids))
        with cancellable(cancel, "the copying of backups"):
            if self._origin.repository.locate("") == self._destination.repository.locate(""):
                raise StoreError(f"{self._origin.repository.locate('')} is where the backups are: name another place")
            if self._resealing is not None:
                self._resealing.rehearse()
            listing = self._origin.repository.listing() if chosen is None or len(chosen) > 1 else None
            there = Index(self._destination.repository.candidates())
        known = {backup.record.id: backup for backup in reversed(listing.backups)} if listing is not None else {}
        outcomes: list[CopyOutcome] = []
        wanted = list(known) if chosen is None else chosen
        for backup_id in wanted:
            reporter = Reporter(progress, items_done=len(outcomes), items_total=len(wanted))
            try:
                outcomes.append(self._copy(backup_id, known.get(backup_id), there, reporter, cancel))
            except Cancelled as error:  # what was copied until now was, and is told
                return [*outcomes, CopyOutcome(backup_id=backup_id, exception=error)]
            except Exception as error:  # noqa: BLE001 - it says something of this one, and nothing of the next
                outcomes.append(CopyOutcome(backup_id=backup_id, exception=error))
        problems = listing.problems if listing is not None and chosen is None else ()
        return outcomes + [CopyOutcome(backup_id="", exception=problem) for problem in problems]

    def _copy(
        self,
        backup_id: str,
        listed: ListedBackup | None,
        there: Index,
        reporter: Reporter,
        cancel: Cancellation | None,
    ) -> CopyOutcome:
        origin, destination = self._origin, self._destination
        with cancellable(cancel, f"the copy of backup {backup_id}"):
            reporter.begin(Phase.INSPECTING)
            if listed is None:
                listed = origin.repository.look_up(origin.repository.get(backup_id))
            if self._required:
                listed = self._signed(listed)
            if existing := there.find(backup_id):
                with _staying_there(backup_id):
                    return self._keep_one(listed, existing)
        with (
            destination.observers.observation("copy", secrets=origin.observers.secrets) as observation,
            cancellable(cancel, f"the copy of backup {backup_id}") as call,
            origin.repository.reading(listed.record),
        ):
            observation.about(listed.record)
            record = self._write(listed.record, reporter, call)
            with _staying_there(backup_id):
                self._annotate(record, listed.annotations)
        with _staying_there(backup_id):
            return CopyOutcome(backup_id=backup_id, backup=destination.lister.backup(record), copied=True)

    def _signed(self, listed: ListedBackup) -> ListedBackup:
        """Return the backup of this id that is signed as required, where it lies there more than once."""
        repository = self._origin.repository
        try:
            require_signature(listed.record, self._required)
        except SignatureError:
            record, _ = get_signed(repository, listed.record.id, self._required)
            return repository.look_up(record)
        return listed

    def _write(self, record: Record, reporter: Reporter, call: Call) -> Record:
        if record.directory:
            raise StoreError(f"backup {record.id} is a directory of files, and only backups of streams are copied")
        resealing = self._resealing
        known = record if resealing is None else resealing.opened(record)
        identity = {"record_id": record.id, "database": record.database, "identity": record.identity}
        with self._destination.repository.transaction(**identity, started=record.started) as transaction:
            reporter.begin(Phase.COPYING, bytes_total=record.stored_size)
            objects = [self._write_object(known, stored, transaction, reporter) for stored in known.objects]
            reporter.begin(Phase.COMMITTING)
            new = replace(record, objects=tuple(objects)) if resealing is None else resealing.close(known, objects)
            copied = commit_signed(transaction, new, self._signer)
            call.settle()  # a repository of a plugin's may not have told its commit point
            return copied

    def _write_object(
        self, record: Record, stored: StoredObject, transaction: Transaction, reporter: Reporter
    ) -> StoredObject:
        """Copy one object, its bytes compared with what its manifest says of them before anything is committed."""
        origin, resealing = self._origin.repository, self._resealing
        ending = _ending(record, stored)
        label = f"the stored file {origin.locate(stored.name)}"
        progress = reporter.pass_over(stored.size)
        with contextlib.closing(ReadAheadReader(origin.open(stored.name), label)) as stream:
            reader = VerifyingReader(stream, stored.size, stored.sha256, label)
            written = stored
            if resealing is not None:
                ending = resealing.ending(record, ending)
                written = resealing.write(record, stored, transaction.upload(ending), reader, progress)
            else:
                sink = HashingWriter(transaction.upload(ending, stored.size), ())
                pass_on(reader, sink.write, progress)
                sink.require_intact()
        if len(record.objects) > 1:
            transaction.complete(ending)  # of many, none stays open until the end
        return replace(written, name=transaction.name(ending))

    def _annotate(self, record: Record, annotations: Annotations) -> None:
        """Put pin and acceptance beside a copy that was just made; what was proved, too, of the same bytes."""
        destination = self._destination.repository
        if annotations.pinned:
            destination.pin(record, _pin_text(annotations))
        if annotations.accepted:
            destination.accept(record, _acceptance_text(annotations))
        if self._resealing is not None:
            return  # these bytes are others, of which nothing is proved
        for proof in annotations.proofs:
            unrecorded = destination.add_proof(record, proof).unrecorded
            if unrecorded:
                text = "a proof of backup %s could not be written down beside its copy: %s"
                log.warning(text, record.id, unrecorded, extra={"event": "proof-unrecorded"})

    def _keep_one(self, listed: ListedBackup, existing: Sequence[ListedBackup]) -> CopyOutcome:
        """Return the outcome for the first that is as asked for: whoever may only add could put one before it.

        Raises:
            DumptyError: none is; it tells why the first is not.
        """
        errors: list[DumptyError] = []
        for one in existing:
            try:
                return self._keep(listed, one)
            except (IntegrityError, SignatureError, StoreError) as error:
                errors.append(error)
        raise errors[0]

    def _keep(self, listed: ListedBackup, existing: ListedBackup) -> CopyOutcome:
        """Return the outcome for a backup that has a copy already; its pin, or acceptance, may be younger than that.

        Proofs are not added to: made here since, they would say of bytes that lie elsewhere what nobody has looked at.
        """
        destination, record = self._destination, existing.record
        self._require_elsewhere(listed.record, record)
        place = destination.repository.locate(record.file)
        presence = existing.presence
        reason = "" if presence.state == "ok" else presence.reason or presence.state
        failed = verification_status(existing.annotations.proofs).failed
        if not reason and failed is not None and failed not in listed.annotations.proofs:
            reason = f"its proof by {failed.level} failed: {failed.error}"
        if reason:
            raise IntegrityError(
                f"the copy of backup {record.id} in {place} is not whole: {reason}; remove it there, and copy again"
            )
        is_same = _told(record) == _told(listed.record)
        if not is_same and not is_encrypted_anew(record, listed.record):
            raise self._two_backups(listed.record, place)
        warning = self._require_asked_for(listed.record, record, place, is_same=is_same)
        self._require_signed(record, place)
        kept = destination.lister.to_backup(self._brought_up(listed.annotations, existing))
        return CopyOutcome(backup_id=record.id, backup=kept, warning=warning)

    def _brought_up(self, annotations: Annotations, existing: ListedBackup) -> ListedBackup:
        """Pin and accept a copy as its backup is by now, and return what is known of it then."""
        repository, record = self._destination.repository, existing.record
        pins = bool(annotations.pinned and not existing.annotations.pinned)
        accepts = bool(annotations.accepted and not existing.annotations.accepted)
        if pins:
            repository.pin(record, _pin_text(annotations))
        if accepts:
            repository.accept(record, _acceptance_text(annotations))
        return repository.look_up(record) if pins or accepts else existing

    def _two_backups(self, record: Record, place: str) -> IntegrityError:
        """Return what to say where none is a copy of the other: nobody here can tell which of them is right."""
        here = self._origin.repository.locate(record.file)
        return IntegrityError(
            f"backup {record.id} is not the same in {here} and in {place}: one of the two manifests was altered. "
            "Remove neither before you know which: see `dumpty verify` of both, with --require-signature where it is "
            "signed, or restore both and look"
        )

    def _require_asked_for(self, original: Record, record: Record, place: str, *, is_same: bool) -> str:
        """See that a copy that is there already is stored in the way that is asked for now; return what is not seen."""
        resealing = self._resealing
        for_others: bool | None = False
        if resealing is None:
            asked, wrong = "as it is stored", not is_same
        else:
            asked = f"encrypted to {', '.join(resealing.kinds)}"
            wrong = is_same or record.recipient_kinds != resealing.kinds
            for_others = None if wrong else resealing.is_for_others(record)
            if for_others is False and not resealing.is_of_one_dump(record, original):
                raise self._two_backups(original, place)
        if wrong or for_others:
            lies = "as it is stored here" if is_same else f"encrypted anew, to {', '.join(record.recipient_kinds)}"
            raise StoreError(
                f"backup {record.id} was to be copied {asked}, and has a copy in {place} {lies}"
                f"{': to other keys' if for_others else ''}; copy it as that was, or remove it there, and copy again"
            )
        if for_others is None:
            return (
                f"backup {record.id} has an encrypted copy in {place}, and here nothing tells whose keys open it: "
                "`dumpty keys check` there does"
            )
        return ""

    def _require_signed(self, record: Record, place: str) -> None:
        """See that a copy that is there already has the signatures that are asked for now."""
        asked: list[Sequence[VerificationKey]] = [] if self._signer is None else [[self._signer.key]]
        asked += [self._required] * bool(self._required and self._resealing is None)
        try:
            for keys in asked:
                require_signature(record, keys)
        except SignatureError as error:
            raise SignatureError(
                f"the copy in {place} is not as asked: {error}; remove it there, and copy again"
            ) from None

    def _require_elsewhere(self, record: Record, copied: Record) -> None:
        """See that a copy is one, and not the same file by another path, or the same place by another URL."""
        origin, destination = self._origin.repository, self._destination.repository
        if are_one_file((origin, destination), (record, copied)):
            places = f"{origin.locate(record.file)} and {destination.locate(copied.file)}"
            raise StoreError(f"{places} are one file, so backup {record.id} has no copy: name another place")


@contextlib.contextmanager
def _staying_there(backup_id: str) -> Iterator[None]:
    """Raise another error where a copy is removed meanwhile: its backup is there, and has none."""
    try:
        yield
    except UnknownBackup as error:
        raise StoreError(f"the copy of backup {backup_id} was removed meanwhile ({error}): copy it again") from error


def _told(record: Record) -> Record:
    """Return all that a copy and its backup have in common."""
    return replace(record, objects=tuple(replace(stored, name="") for stored in record.objects), signatures=())


def _pin_text(annotations: Annotations) -> str:
    return f"copied with its pin {annotations.pinned}"


def _acceptance_text(annotations: Annotations) -> str:
    return f"copied with its acceptance {annotations.accepted}"


def _ending(record: Record, stored: StoredObject) -> str:
    """Return how the name of an object's copy ends: as its own does, behind what names its backup."""
    parts = split_name(stored.name)
    if parts is not None:
        return parts[1]
    position = stored.name.rfind(record.suffix)
    if position < 0 or len(record.objects) > 1:
        raise StoreError(f"backup {record.id} cannot be copied: its object {stored.name} has a name of another layout")
    return stored.name[position:]
