"""Proving backups, as ``BackupManager`` offers it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty.operations.proving import Prover, Request, Verification, require_held

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from dumpty.operations.key_check import KeyCheck
    from dumpty.operations.place import Place
    from dumpty.operations.result import Backup
    from dumpty.operations.scratches import Trial
    from dumpty.operations.sealing import Keyring
    from dumpty.process.cancellation import Cancellation
    from dumpty.types import Identity, Level, ProgressCallback, Proof, VerificationKey

__all__ = ["Proofs"]


class Proofs:
    """The part of ``BackupManager`` that proves backups, and reads what is sealed of them."""

    _place: Place
    _prover: Prover
    _keyring: Keyring

    def prove(
        self,
        backup_id: str,
        *,
        level: Level = "restore",
        on: str | None = None,
        assertions: Sequence[str] = (),
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        identities: Iterable[str | os.PathLike[str] | Identity] = (),
        require_signature: Iterable[str | os.PathLike[str] | VerificationKey] | None = None,
        **options: object,
    ) -> Proof:
        """Try to prove a backup, write down how it went, and return it, whether the proof held or failed.

        Of a drill on a server of another version, which an option chose, a failure is not written down: it may be that
        version's. ``Proof.unrecorded`` then says so.

        Args:
            backup_id: the whole id.
            level: how far to go: ``digest``, ``structure`` or ``restore`` (``dumpty.repository.verification.Level``).
            on: the URL of a server for the scratch database, instead of one that the driver starts.
            assertions: queries that must each give one row whose first value is true.
            progress: as for ``create_backup``.
            cancel: ends it, until what was found is written down; then ``Cancelled`` is raised.
            identities: as for ``BackupManager.restore``. Without one only the stored bytes of an encrypted backup can
                be proved, at the level ``digest``.
            require_signature: as for ``BackupManager.restore``; what is refused leaves no proof.
            options: those declared by the driver for ``scratch``, ``restore`` and ``inspect``.

        Raises:
            UnknownBackup: there is no such backup, or it was removed meanwhile.
            SignatureError: none of the keys that are required has signed it.
            NotProvable: this machine cannot prove it, or it is encrypted, and no identity opens it.
            OptionError, DependencyError: a key is none (``IdentityError``: an identity), or its library is missing.
            DumptyError: it could not be decided; that says nothing of the backup, and nothing is written down.
        """
        how = {"level": level, "on": on, "assertions": assertions, "progress": progress, "cancel": cancel}
        keys = {"identities": identities, "require_signature": require_signature}
        request = Request(**how, **keys, overrides=options)  # type: ignore[arg-type]
        return self._prover.prove(backup_id, request)[1]

    def verify(
        self,
        backup_id: str,
        *,
        level: Level = "digest",
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        identities: Iterable[str | os.PathLike[str] | Identity] = (),
        require_signature: Iterable[str | os.PathLike[str] | VerificationKey] | None = None,
    ) -> Backup:
        """Prove a backup, by its digests unless ``level`` says more, and return it with what was proved.

        Raises:
            UnknownBackup: there is no such backup.
            IntegrityError, MissingFile: it is not what was stored.
            SignatureError: none of the keys that are required has signed it.
            PluginNotFound: a plugin that it went through is not installed.
            NotProvable: this machine, or the driver, cannot prove it at this level.
        """
        keys = {"identities": identities, "require_signature": require_signature}
        request = Request(level=level, progress=progress, cancel=cancel, **keys)  # type: ignore[arg-type]
        record, proof = self._prover.prove(backup_id, request)
        require_held(proof)
        return self._place.lister.backup(record)

    def verify_many(
        self,
        backup_ids: Iterable[str] | None = None,
        *,
        level: Level = "digest",
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        identities: Iterable[str | os.PathLike[str] | Identity] = (),
        require_signature: Iterable[str | os.PathLike[str] | VerificationKey] | None = None,
    ) -> list[Verification]:
        """Prove many backups, one after another, and return what came of each, in order; a bad one stops nothing.

        Args:
            backup_ids: whole ids; None for all, oldest first, then an entry for each manifest that cannot be read.
            level: as for ``prove``.
            progress: as for ``prove``; begins anew with each backup.
            cancel: ends it; the backup that it was at then is the last in the list, with ``Cancelled``.
            identities: as for ``prove``.
            require_signature: as for ``prove``.

        Raises:
            Cancelled: it was cancelled before it began.
            OptionError, StoreError: there is no such level, a key is none, or the directory cannot be listed.
            DependencyError: the library that checks signatures is not installed, and one is required.
        """
        keys = {"identities": identities, "require_signature": require_signature}
        request = Request(level=level, progress=progress, cancel=cancel, **keys)  # type: ignore[arg-type]
        return self._prover.prove_many(backup_ids, request)

    def drill(
        self,
        backup_id: str,
        *,
        on: str | None = None,
        assertions: Sequence[str] = (),
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        identities: Iterable[str | os.PathLike[str] | Identity] = (),
        require_signature: Iterable[str | os.PathLike[str] | VerificationKey] | None = None,
        **options: object,
    ) -> Proof:
        """Prove a backup by restoring it into a scratch database; the arguments are those of ``prove``.

        Raises:
            IntegrityError: what was restored is not what was backed up, or an assertion is not true of it.
            SignatureError: none of the keys that are required has signed it.
            NotProvable: this machine cannot restore it; that says nothing of the backup.
        """
        kind = {"on": on, "assertions": assertions, "progress": progress, "cancel": cancel}
        keys = {"identities": identities, "require_signature": require_signature}
        return require_held(self.prove(backup_id, **kind, **keys, **options))  # type: ignore[arg-type]

    @contextlib.contextmanager
    def trial(
        self,
        backup_id: str,
        *,
        on: str | None = None,
        shell: bool = False,
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        identities: Iterable[str | os.PathLike[str] | Identity] = (),
        require_signature: Iterable[str | os.PathLike[str] | VerificationKey] | None = None,
        **options: object,
    ) -> Iterator[tuple[Proof, Trial]]:
        """Drill a backup, and lend the database that was restored until the block ends; then it is gone.

            with manager.trial(backup_id) as (proof, trial):
                connection = psycopg2.connect(trial.url)

        The proof is written down as that of a drill. Whoever uses the database has no more rights than the drill had.

        Args:
            backup_id: the whole id.
            on: as for ``prove``.
            shell: also find out how to run the database's own client there, and fail before the restore without it.
            progress: as for ``prove``.
            cancel: ends the restore, as for ``prove``; not what goes on in the block.
            identities: as for ``prove``.
            require_signature: as for ``prove``.
            options: as for ``prove``.

        Raises:
            IntegrityError: what was restored is not what was backed up: nothing is lent.
            CommandError: the client is not installed, or it was one that refused the backup.
            NotProvable: this machine cannot restore it, or the driver knows of no client.
            DumptyError: as for ``prove``; behind the block, that the database could not be removed.
        """
        keys = {"identities": identities, "require_signature": require_signature}
        how = {"on": on, "progress": progress, "cancel": cancel}
        request = Request(level="restore", **how, **keys, overrides=options)  # type: ignore[arg-type]
        with self._prover.trial(backup_id, request, shell=shell) as lent:
            yield lent

    def unsealed(self, backup_id: str, identities: Iterable[str | os.PathLike[str] | Identity] = ()) -> Backup:
        """Return a backup with all that is known of it to whoever has one of ``identities``.

        Without any, what this machine's own key opens: the backups that were encrypted on it.

        Raises:
            UnknownBackup: there is no such backup.
            IdentityError: none of them is of those whom it is encrypted to, or one is none.
            ManifestError: what is sealed is damaged.
        """
        record = self._keyring.open_facts(self._place.repository.get(backup_id), identities)
        return self._place.lister.backup(record)

    def check_keys(self, identities: Iterable[str | os.PathLike[str] | Identity]) -> list[KeyCheck]:
        """See whether ``identities`` open the newest backup of every database: its manifest, and where its data begins.

        Raises:
            IdentityError: one is none.
            StoreError: the repository cannot be listed.
        """
        from dumpty.operations.key_check import check_keys

        return check_keys(self._keyring.host, self._place, self._keyring.identities(identities))
