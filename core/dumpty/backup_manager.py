"""``BackupManager``: database URLs in, compressed and checksummed backups out, and back."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from dumpty.errors import UnknownBackup
from dumpty.operations.databases import DatabaseFinder
from dumpty.operations.differences import Differences
from dumpty.operations.finding import find
from dumpty.operations.marks import Marks
from dumpty.operations.observation import Opening
from dumpty.operations.place import open_place
from dumpty.operations.proofs import Proofs
from dumpty.operations.proving import Prover
from dumpty.operations.removal import Remover
from dumpty.operations.result import Backup, BackupResult, Listing, Pruning, require_text
from dumpty.operations.row_differences import RowDifferences
from dumpty.operations.runs import Runs
from dumpty.operations.sealing import Keyring
from dumpty.operations.selection import Filter
from dumpty.operations.transfers import Transfers
from dumpty.registry.host import Host, default_host

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from dumpty.operations.copying import CopyOutcome
    from dumpty.process.cancellation import Cancellation
    from dumpty.repository.retention import Rules
    from dumpty.types import Identity, ProgressCallback, Recipient, ShrinkRules, SigningKey, VerificationKey

__all__ = ["Backup", "BackupManager", "BackupResult", "backup_database"]


class BackupManager(Proofs, Differences, RowDifferences, Marks, Runs, DatabaseFinder):
    """Backs databases up into one directory and restores them.

    Args:
        backup_dir: created where it does not exist; a path, or (a str) the URL of a repository that a plugin provides.
        compressor: the name of a compressor plugin; None for none.
        verifier: the name of a verifier plugin, whose digest is kept beside SHA-256.
        cipher: the name of a cipher plugin, by which backups are encrypted where that is asked for.
        plugins: modules or objects to use as plugins, without packaging them.

    Raises:
        DumptyError: the directory cannot be made, or a plugin is not installed.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        *,
        compressor: str | None = "gzip",
        verifier: str = "sha256",
        cipher: str = "age",
        plugins: Iterable[object] = (),
    ) -> None:
        self._host = Host(plugins) if (plugins := tuple(plugins)) else default_host()
        compressor_plugin = self._host.named("compressor", compressor) if compressor not in {None, "none"} else None
        verifier_plugin = self._host.named("verifier", verifier)
        self._place = place = open_place(self._host, os.fspath(backup_dir))
        self._keyring = keyring = Keyring(host=self._host, cipher=cipher)
        self._transfers = Transfers(self._host, place, compressor_plugin, verifier_plugin, keyring)
        self._prover = Prover(self._host, place.repository, place.observers, keyring)
        self._remover = Remover(place.repository, place.lister, place.observers)

    def create_backup(
        self,
        database_url: str,
        *,
        format: str | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        rate_limit: int | None = None,
        encrypt_to: Iterable[str | os.PathLike[str] | Recipient] | None = None,
        sign_with: str | os.PathLike[str] | SigningKey | None = None,
        tags: Iterable[str] = (),
        shrink_guard: ShrinkRules | None = None,
        via: str | Sequence[str] | None = None,
        once: str | None = None,
        **options: object,
    ) -> BackupResult:
        """Back up the database behind a URL; failures are in the result, not raised.

        Args:
            database_url: ``scheme://[user[:password]@][host[:port]]/database[?key=value&…]``.
            format: one of the driver's formats; None is its first (``sql`` for the built-in drivers). ``auto`` is the
                one that suits, which the command line takes, too: one of several parts where the driver has any and
                the database can be written so (``FormatNotSupported``), else ``native``, else the first.
            progress: called with how far it has come; see ``dumpty.types.ProgressCallback``.
            cancel: ends it before its commit point: when all is uploaded, and only the manifest is to be written.
            rate_limit: take no more than so many bytes of dump a second from the driver.
            encrypt_to: encrypt it so that these alone can read it: public keys (``age1…``, ``ssh-ed25519 …``,
                ``ssh-rsa …``), or paths of files with one in each line.
            sign_with: sign what its manifest says: the path of an SSH private key (Ed25519, without a passphrase), or
                the content of its file.
            tags: what to call it, beside its database: ``["prod", "before-migration"]``.
            shrink_guard: compare it with the last good backups of the database; one that holds so much less is kept,
                is ``suspicious`` (``Backup.state``), and counts for nothing, until it is accepted.
            via: how the server is reached: the URL of a transport (``ssh://user@host``), or several, outermost first.
            once: a text that stands for this backup of the database, and no other one: whoever tries it again is given
                the one that is there, whole, and of several that are made at once one is committed.
            options: those declared by the driver and the compressor (``name``, or ``plugin.name``).

        Raises:
            TypeError: ``database_url`` or ``once`` is no str, or ``encrypt_to`` or ``tags`` is one value.
        """
        kind = {"format": format, "progress": progress, "cancel": cancel, "rate_limit": rate_limit, "tags": tags}
        keys = {"encrypt_to": encrypt_to, "sign_with": sign_with, "shrink_guard": shrink_guard, "via": via}
        return self._transfers.backup(database_url, **kind, **keys, once=once, options=options)  # type: ignore[arg-type]

    def restore(
        self,
        backup_id: str,
        target_url: str,
        *,
        overwrite: bool = False,
        create: bool = False,
        other: bool = True,
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        identities: Iterable[str | os.PathLike[str] | Identity] = (),
        require_signature: Iterable[str | os.PathLike[str] | VerificationKey] | None = None,
        via: str | Sequence[str] | None = None,
        tables: Iterable[str] | Mapping[str, str] | None = None,
        **options: object,
    ) -> BackupResult:
        """Restore a backup into the database behind a URL; a missing one is created, one that holds anything refused.

        Args:
            backup_id: the whole id.
            target_url: as for ``create_backup``.
            overwrite: replace what the target holds, once the new content is complete and checked.
            create: refuse a target that exists, even an empty one.
            other: False refuses, with ``OtherDatabase``, to replace what another database than the backup's own has.
            progress: as for ``create_backup``.
            cancel: ends it before its commit point: right before what was loaded takes the target's place.
            identities: what opens an encrypted backup: private keys (``AGE-SECRET-KEY-1…``, or the content of an SSH
                key's file), or paths of files with them. For a file that is sealed with a passphrase the environment
                has that, as ``DUMPTY_IDENTITY_PASSPHRASE``.
            require_signature: refuse, with ``SignatureError`` and before anything else is done, what none of these has
                signed: public keys (``ssh-ed25519 …``), or paths of files with one in each line. What is stored is then
                copied to this machine, and compared with its digest, before the driver is given any of it.
            via: as for ``create_backup``.
            tables: restore only these, beside what the target holds: their paths, as ``Backup.evidence`` has them, or
                the ends of these; ``old=new``, or a mapping of old names to new ones, gives them others. A target that
                has one of them is refused, or with ``overwrite`` that table is replaced. With each come its indexes,
                constraints, numbers that are handed out, and triggers. Of a backup in parts only those are read that
                hold any of them.
            options: those declared by the driver.

        Raises:
            TypeError: an argument is not a str, or ``tables`` is one.
        """
        kind = {"overwrite": overwrite, "create": create, "other": other, "progress": progress, "cancel": cancel}
        keys = {"identities": identities, "required": require_signature, "via": via}
        return self._transfers.restore(backup_id, target_url, **kind, **keys, tables=tables, options=options)  # type: ignore[arg-type]

    def list_backups(self) -> list[Backup]:
        """Return all backups, oldest first, the lost ones (``Backup.state``) too. A damaged manifest is logged."""
        return self._place.lister.backups()

    def listing(self) -> Listing:
        """Return all backups, the lost ones too, and what cannot be read, from one look at the directory."""
        return self._place.lister.listing()

    def get_backup(self, backup_id: str) -> Backup | None:
        """Return a backup by its whole id, or None."""
        require_text("a backup's id", backup_id)
        with contextlib.suppress(UnknownBackup):
            return found if (found := self.find(backup_id)).id == backup_id else None
        return None

    def find(
        self,
        wanted: str,
        *,
        database: str = "",
        source: str = "",
        alone: bool = False,
        require_signature: Iterable[str | os.PathLike[str] | VerificationKey] | None = None,
    ) -> Backup:
        """Return the backup that is meant.

        Args:
            wanted: an id or its beginning; ``latest``, the newest; ``latest-verified``, the newest that a proof holds
                of (``Backup.verification_status``); or one of those two and a database's name: ``latest:shop``.
            database: only backups of the database of this name.
            source: only backups of this database: what ``Backup.source`` says, or the end of it, or a URL.
            alone: refuse ``latest`` where it could be a backup of several databases.
            require_signature: as for ``restore``. The latest is the latest all the same: where that one is not signed,
                no older one takes its place.

        One whose data is lost is not the latest while another is there; that it was passed over is logged.

        Raises:
            UnknownBackup: none, or more than one, is; the text names the databases in question.
            SignatureError: none of the keys that are required has signed it; the text names the newest that is signed.
            OptionError, DependencyError: a key is none, or the library that checks signatures is not installed.
        """
        scope = Filter(database=database, source=source)
        return find(self._place, wanted, scope, alone=alone, required=require_signature)

    def copy(
        self,
        backup_ids: Iterable[str] | None = None,
        *,
        to: BackupManager,
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        encrypt_to: Iterable[str | os.PathLike[str] | Recipient] | None = None,
        identities: Iterable[str | os.PathLike[str] | Identity] = (),
        sign_with: str | os.PathLike[str] | SigningKey | None = None,
        require_signature: Iterable[str | os.PathLike[str] | VerificationKey] | None = None,
    ) -> list[CopyOutcome]:
        """Copy backups into another repository, and return what came of each, in order; a bad one stops nothing.

        A copy has the id, the times and the stored bytes of its backup, which are compared with their digest on the
        way, its proofs, and its pin. What has a whole copy there already is left as it is, but for a newer pin. With
        ``encrypt_to`` the copy is encrypted, or encrypted anew: its bytes are others, of which nothing is proved yet.

        Args:
            backup_ids: whole ids; None for all, newest first, then an entry for each manifest that cannot be read.
            to: where to.
            progress: as for ``create_backup``; begins anew with each backup.
            cancel: ends it; the backup that it was at then is the last in the list, with ``Cancelled``.
            encrypt_to: whom to encrypt the copies to, as for ``create_backup``, by the cipher of ``to``.
            identities: what opens those that are encrypted already, as for ``restore``.
            sign_with: sign the copies, as for ``create_backup``. Signatures go along, but not with other bytes. Whoever
                signs vouches for what lies here: require the signature of whoever made it.
            require_signature: copy only what one of these keys has signed, as for ``restore``.

        Raises:
            Cancelled, StoreError: it was cancelled before; or one of the two cannot be listed, or they are one place.
            TypeError, OptionError, IdentityError: recipients or identities are one, or one of them is none.
        """
        from dumpty.operations.copying import Copier
        from dumpty.operations.resealing import Resealing
        from dumpty.operations.signatures import read_requirement, read_signer

        resealing, known = None, self._keyring.identities(identities)
        if (encryption := to._keyring.encryption(encrypt_to)) is not None:
            keys = {"identities": known, "machine": to._keyring.machine_identities()}
            resealing = Resealing(origin_host=self._host, host=to._host, encryption=encryption, **keys)
        signer, required = read_signer(sign_with), read_requirement(require_signature)
        return Copier(self._place, to._place, resealing, signer, required).copy_many(
            backup_ids, progress=progress, cancel=cancel
        )

    def is_same_place(self, other: BackupManager, backup_id: str) -> bool:
        """Return whether another manager is of the same repository, by a backup that both hold: then that is no copy.

        Raises:
            UnknownBackup, StoreError: one of the two does not hold it, or cannot be asked.
        """
        from dumpty.operations.locations import are_one_file

        repositories = (self._place.repository, other._place.repository)
        return are_one_file(repositories, (repositories[0].get(backup_id), repositories[1].get(backup_id)))

    def remove(self, backup_id: str) -> bool:
        """Remove a backup: data, manifest and proofs; False (and logged) where the place keeps it for a while.

        Raises:
            UnknownBackup, Pinned: there is no such backup, or it is pinned.
            StoreError: it could not be removed.
        """
        return self._remover.remove(backup_id)

    def prune(
        self,
        rules: Rules,
        *,
        dry_run: bool = False,
        only: Collection[str] | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
    ) -> Pruning:
        """Remove the backups that no rule protects, all together.

        The rules are asked again once everybody is seen who removes something else; where they then keep any of what
        was to go, nothing is removed, and ``Pruning.kept`` says so.

        Args:
            rules: what to protect.
            dry_run: only decide.
            only: remove none but these ids, of those that the rules let go.
            progress: as for ``create_backup``.
            cancel: ends it, with ``Cancelled``, as long as nothing is removed; then it goes on to its end.

        Raises:
            StoreError: not all could be removed.
        """
        return self._remover.prune(rules, only, dry_run=dry_run, progress=progress, cancel=cancel)


def backup_database(
    database_url: str, backup_dir: str | os.PathLike[str] = "backups", **options: object
) -> BackupResult:
    """Back up one database in one call.

    Args:
        database_url: as for ``BackupManager.create_backup``.
        backup_dir: as for ``BackupManager``.
        options: ``compressor``, ``verifier``, ``cipher`` and ``plugins`` as for ``BackupManager``; the rest as for
            ``create_backup``.

    Returns:
        A result; failures are in it, not raised, those of the directory included.

    Raises:
        TypeError: ``database_url`` is not a str.
    """
    require_text("a database URL", database_url)
    plugins: tuple[object, ...] = tuple(options.pop("plugins", ()))  # type: ignore[arg-type]
    manager_options = {k: options.pop(k) for k in ("compressor", "verifier", "cipher") if k in options}
    attempt = Opening(database_url, os.fspath(backup_dir), plugins)
    try:
        manager = BackupManager(backup_dir, plugins=plugins, **manager_options)  # type: ignore[arg-type]
    except TypeError:
        raise
    except Exception as error:  # noqa: BLE001 - the contract: failures are results
        return attempt.failed(error)
    return manager.create_backup(database_url, **options)  # type: ignore[arg-type]
