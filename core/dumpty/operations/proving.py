"""Proving backups, and writing down how that went."""

from __future__ import annotations

import contextlib
from collections.abc import Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dumpty.errors import Cancelled, DumptyError, IdentityError, NotProvable, OptionError
from dumpty.operations.coverage import BAD_STATES, holding_proofs
from dumpty.operations.sealing import Keyring, open_record
from dumpty.operations.signatures import get_signed, read_requirement, with_signer
from dumpty.process.call import commit_point
from dumpty.process.cancellation import Cancellation, cancellable, require_token
from dumpty.streaming.reporter import Reporter
from dumpty.streaming.verified_copy import VerifiedCopy
from dumpty.types import LEVELS, Phase
from dumpty.url import parse_url, secrets_in

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from dumpty.operations.observation import Observers
    from dumpty.operations.result import Backup
    from dumpty.operations.scratches import KeptScratch, Trial
    from dumpty.process.call import Call
    from dumpty.registry.host import Host
    from dumpty.types import (
        EventVerb,
        Identity,
        Level,
        ObjectSource,
        ProgressCallback,
        Proof,
        Record,
        Repository,
        VerificationKey,
    )

__all__ = ["Prover", "Request", "Verification", "due", "require_held"]


class Request(Struct, frozen=True, kw_only=True):
    """How to prove; the fields are the arguments of ``BackupManager.prove``."""

    level: Level
    on: str | None = None
    assertions: Sequence[str] = ()
    overrides: Mapping[str, object] = {}
    progress: ProgressCallback | None = None
    cancel: Cancellation | None = None
    identities: Iterable[str | os.PathLike[str] | Identity] = ()
    require_signature: Iterable[str | os.PathLike[str] | VerificationKey] | None = None

    def check(self) -> None:
        """See that it can be asked for like this.

        Raises:
            OptionError: there is no such level, or it takes no server, assertions or options.
        """
        if self.level not in LEVELS:
            raise OptionError(f"there is no level {self.level!r} of proof; the levels are {', '.join(LEVELS)}")
        if self.level != "restore" and (self.on is not None or self.assertions or self.overrides):
            raise OptionError(f"a proof of level {self.level} takes no server, assertions or options; a drill does")

    def signers(self) -> tuple[VerificationKey, ...]:
        """Return the keys one of which must have signed (``read_requirement``); none where none is asked for."""
        return read_requirement(self.require_signature)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What came of one of many backups that were to be proved.

    ``proof`` is None where nothing could be decided, and ``exception`` then says why; where a proof failed it is the
    proof's own. ``backup_id`` is "" where a manifest is damaged, so that nobody can tell.
    """

    backup_id: str
    proof: Proof | None = None
    exception: Exception | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether it was proved."""
        return self.proof is not None and self.proof.ok


class Prover:
    """Proves the backups in one repository, and tells observers of each."""

    def __init__(self, host: Host, repository: Repository, observers: Observers, keyring: Keyring) -> None:
        self._host = host
        self._keyring = keyring
        self._repository = repository
        self._observers = observers

    def prove(
        self,
        backup_id: str,
        request: Request,
        *,
        items_done: int = 0,
        items_total: int | None = None,
        kept: KeptScratch | None = None,
    ) -> tuple[Record, Proof]:
        """Try to prove a backup, write down how it went, and return that; the contract is ``BackupManager.prove``'s.

        ``kept`` takes over what was restored, where it held, and what that needs of the repository.
        """
        verb: EventVerb = "drill" if request.level == "restore" else "verify"
        secrets = secrets_in(request.on) if request.on else ()
        reporter = Reporter(request.progress, items_done=items_done, items_total=items_total)
        require_token(request.cancel)
        with (
            self._observers.observation(verb, secrets=secrets, level=request.level) as observation,
            cancellable(request.cancel, f"the {verb} of backup {backup_id}") as call,
        ):
            request.check()
            identities, signers = self._keyring.identities(request.identities), request.signers()
            observation.about(stored := self._repository.get(backup_id))
            signer: VerificationKey | None = None
            if signers:
                stored, signer = get_signed(self._repository, backup_id, signers)
            record = self._opened(stored, identities)
            observation.about(record)
            proof = self._prove(record, request, identities, signer, reporter, call, kept)
            observation.proved(proof)
        return record, proof

    @contextlib.contextmanager
    def trial(self, backup_id: str, request: Request, *, shell: bool) -> Iterator[tuple[Proof, Trial]]:
        """Prove a backup by restoring it, and lend what was restored; the contract is ``BackupManager.trial``'s."""
        from dumpty.operations.scratches import KeptScratch

        with KeptScratch(shell=shell) as kept:
            _, proof = self.prove(backup_id, request, kept=kept)
            yield require_held(proof), kept.trial

    def prove_many(self, ids: Iterable[str] | None, request: Request) -> list[Verification]:
        """Try to prove one backup after another; the contract is that of ``BackupManager.verify_many``."""
        request.check()
        # Keys are read, and a passphrase is asked for, once for all.
        identities, signers = self._keyring.identities(request.identities), request.signers() or None
        request = replace(request, identities=identities, require_signature=signers)
        if isinstance(ids, str):
            raise TypeError("ids of backups are several, not one str: [backup_id]")
        with cancellable(request.cancel, "the proving of backups"):  # one that is cancelled already begins nothing
            listing = self._repository.listing() if ids is None else None
        if ids is not None or listing is None:
            return self._prove_each(ids or (), request)
        verifications = self._prove_each([b.record.id for b in listing.backups], request)
        return verifications + [Verification(backup_id="", exception=problem) for problem in listing.problems]

    def _prove_each(self, ids: Iterable[str], request: Request) -> list[Verification]:
        verifications: list[Verification] = []
        total = len(ids) if isinstance(ids, Sized) else None
        for backup_id in ids:
            try:
                _, proof = self.prove(backup_id, request, items_done=len(verifications), items_total=total)
            except Cancelled as error:  # what was proved until now was, and is told
                return [*verifications, Verification(backup_id=backup_id, exception=error)]
            except Exception as error:  # noqa: BLE001 - it says something of this one, and nothing of the next
                verifications.append(Verification(backup_id=backup_id, exception=error))
            else:
                verifications.append(Verification(backup_id=backup_id, proof=proof, exception=proof.exception))
        return verifications

    def _opened(self, record: Record, identities: Sequence[Identity]) -> Record:
        """Return a record with all that is known of it to whoever has these identities, if there are any."""
        if not identities:
            return record
        try:
            return open_record(self._host, record, identities)
        except IdentityError as error:  # which says nothing of the backup
            raise NotProvable(f"not provable here: {error}") from error

    def _prove(
        self,
        record: Record,
        request: Request,
        identities: Sequence[Identity],
        signer: VerificationKey | None,
        reporter: Reporter,
        call: Call,
        kept: KeptScratch | None,
    ) -> Proof:
        from dumpty.operations.verify import prove

        server = None if request.on is None else parse_url(request.on)
        with contextlib.ExitStack() as stack:
            # Of what is only read, nothing needs to be copied.
            objects: ObjectSource = self._repository
            if signer is not None and request.level != "digest":
                objects = stack.enter_context(VerifiedCopy(objects, record, reporter.bytes))
            if request.level == "restore":  # which takes as long as a restore does
                # What a killed drill left, which may also keep this one from being protected; else it is only space.
                with contextlib.suppress(DumptyError):
                    self._repository.clear()
                stack.enter_context(self._repository.reading(record))
            proof = prove(
                self._host,
                objects,
                record,
                request.level,
                call,
                on=server,
                assertions=tuple(request.assertions),
                overrides=request.overrides,
                reporter=reporter,
                identities=identities,
                kept=kept,
            )
            proof = with_signer(proof, record, signer)
            reporter.begin(Phase.COMMITTING)
            commit_point()
            if kept is not None and proof.ok:
                kept.keep(stack.pop_all())
        if proof.unrecorded:  # of a rehearsal: it would stand against a backup that may be as good as ever
            return proof
        # What the repository returns it may have read back, where an exception is not kept: then nothing would fail.
        return replace(proof, unrecorded=self._repository.add_proof(record, proof).unrecorded)


def due(backups: Iterable[Backup], level: Level, age: timedelta, now: datetime) -> list[Backup]:
    """Return those of ``backups`` whose last proof of ``level``, or of a further one, is older than ``age``.

    One that has none, or that failed since, is as old as it is itself. A time that lies further ahead than ``age`` is
    of a clock that was wrong, and says nothing. One that is lost or damaged is due whatever its age.
    """
    return [b for b in backups if b.state in BAD_STATES or abs(now - _last_proven(b, level, now + age)) > age]


def _last_proven(backup: Backup, level: Level, latest: datetime) -> datetime:
    moments = (proof.at for proof in holding_proofs(backup, level) if proof.at <= latest)
    return max(moments, default=backup.timestamp)


def require_held(proof: Proof) -> Proof:
    """Return a proof that held; raise why another one did not."""
    if proof.exception is not None:
        raise proof.exception
    return proof
