"""Backups and restores of one repository, and what became of each."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.errors import IdentityError
from dumpty.operations.reach import require_way
from dumpty.operations.result import log, require_text
from dumpty.operations.sealing import Keyring, open_record
from dumpty.operations.signatures import get_signed, read_requirement, read_signer
from dumpty.streaming.reporter import Reporter
from dumpty.streaming.verified_copy import VerifiedCopy
from dumpty.types import Identity, Recipient, ShrinkRules, SigningKey, VerificationKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dumpty.operations.place import Place
    from dumpty.operations.result import Backup, BackupResult
    from dumpty.operations.shrink_guard import ShrinkGuard
    from dumpty.process.call import Call
    from dumpty.process.cancellation import Cancellation
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.types import ObjectSource, ProgressCallback, Record

__all__ = ["Transfers"]


class Transfers(Struct, frozen=True):
    """Makes and restores backups, and tells observers of each; the arguments are those of ``BackupManager``."""

    host: Host
    place: Place
    compressor: Plugin | None
    verifier: Plugin
    keyring: Keyring

    def backup(
        self,
        url: str,
        *,
        format: str | None,
        progress: ProgressCallback | None,
        cancel: Cancellation | None,
        rate_limit: int | None,
        encrypt_to: Iterable[str | os.PathLike[str] | Recipient] | None,
        sign_with: str | os.PathLike[str] | SigningKey | None,
        tags: Iterable[str],
        shrink_guard: ShrinkRules | None,
        via: str | Sequence[str] | None,
        once: str | None,
        options: Mapping[str, object],
    ) -> BackupResult:
        """Back up the database behind ``url``."""
        from dumpty.operations.backup import checked_tags, create

        _require_backup_arguments(url, encrypt_to, tags, via, sign_with, once)
        guard = self._guard(shrink_guard)
        observation = self.place.observers.observation("backup", url=url)

        def work(call: Call) -> Backup:
            record = create(
                self.host,
                self.place.repository,
                url,
                compressor=self.compressor,
                verifier=self.verifier,
                format_name=format,
                reporter=Reporter(progress),
                rate_limit=rate_limit,
                encryption=self.keyring.encryption(encrypt_to),
                signer=read_signer(sign_with),
                tags=checked_tags(tags),
                guard=guard,
                via=via,
                once=once,
                overrides=options,
            )
            call.settle()  # a repository of a plugin's may not have told its commit point
            if record.sealed is not None:  # another attempt has made it, perhaps on another machine
                with contextlib.suppress(IdentityError):
                    record = self.keyring.open_facts(record, ())
            observation.about(record)
            return self.place.lister.as_recorded(record)

        return observation.result(url, work, cancel)

    def restore(
        self,
        backup_id: str,
        url: str,
        *,
        overwrite: bool,
        create: bool,
        other: bool,
        progress: ProgressCallback | None,
        cancel: Cancellation | None,
        identities: Iterable[str | os.PathLike[str] | Identity],
        required: Iterable[str | os.PathLike[str] | VerificationKey] | None,
        via: str | Sequence[str] | None,
        tables: Iterable[str] | Mapping[str, str] | None,
        options: Mapping[str, object],
    ) -> BackupResult:
        """Restore a backup, or some ``tables`` of it, into the database behind ``url``."""
        restore = _restore_of(tables)
        _require_texts(backup_id, url)
        _require_several("identities", identities)
        _require_several("keys of which a signature is required", required)
        observation = self.place.observers.observation("restore", url=url)
        require_way(via)
        how = {"overwrite": overwrite, "create": create, "other": other, "via": via, "overrides": options}

        def work(call: Call) -> Backup:
            keys, signers = self.keyring.identities(identities), read_requirement(required)
            observation.about(record := self.place.repository.get(backup_id))
            if signers:
                record, _ = get_signed(self.place.repository, backup_id, signers)
            observation.about(record := open_record(self.host, record, keys))
            self._warn_of_suspicious(record)
            with self._reading(record, reporter := Reporter(progress), verified=bool(signers)) as objects:
                restore(
                    self.host,
                    objects,
                    record,
                    url,
                    check_first=bool(signers),
                    **how,
                    reporter=reporter,
                    call=call,
                    identities=keys,
                )
            return self.place.lister.as_recorded(record)

        return observation.result(url, work, cancel)

    def _guard(self, rules: ShrinkRules | None) -> ShrinkGuard | None:
        """Return what compares a new backup with earlier ones: what is sealed of these this machine's own key opens."""
        if rules is None:
            return None
        if not isinstance(rules, ShrinkRules):
            raise TypeError(f"shrink_guard is a dumpty.ShrinkRules, not {type(rules).__name__}")
        from dumpty.operations.shrink_guard import ShrinkGuard

        return ShrinkGuard(rules=rules, open=lambda record: self.keyring.open_facts(record, ()))

    def _warn_of_suspicious(self, record: Record) -> None:
        """Log that what is to be restored is suspicious, where it is, and which is the newest good backup."""
        from dumpty.operations.shrink_guard import warning_of

        if record.suspicious and (text := warning_of(self.place.repository, record)):
            log.warning("%s", text, extra={"event": "backup-suspicious"})

    @contextlib.contextmanager
    def _reading(self, record: Record, reporter: Reporter, *, verified: bool) -> Iterator[ObjectSource]:
        """Lend the objects of a backup, which nobody removes meanwhile; where ``verified``, as a ``VerifiedCopy``."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.place.repository.reading(record))
            objects: ObjectSource = self.place.repository
            yield stack.enter_context(VerifiedCopy(objects, record, reporter.bytes)) if verified else objects


def _restore_of(tables: Iterable[str] | Mapping[str, str] | None) -> Callable[..., None]:
    """Return what restores a backup, or where some of its tables are named only these."""
    if tables is None:
        from dumpty.operations.restore import restore

        return restore
    from dumpty.operations.table_restore import restore_tables
    from dumpty.operations.tables import read_tables

    return functools.partial(restore_tables, tables=read_tables(tables))


def _require_backup_arguments(
    url: object, encrypt_to: object, tags: object, via: str | Sequence[str] | None, sign_with: object, once: object
) -> None:
    """Check the types of what a backup is asked for with; a wrong one is a ``TypeError``."""
    require_text("a database URL", url)
    _require_several("recipients", encrypt_to)
    _require_several("tags", tags)
    require_way(via)
    if sign_with is not None and not isinstance(sign_with, (str, os.PathLike, SigningKey)):
        raise TypeError(f"a backup is signed with one key, not {type(sign_with).__name__}")
    if once is not None:
        require_text("what stands for a backup that is made once", once)


def _require_texts(backup_id: object, url: object) -> None:
    require_text("a backup's id", backup_id)
    require_text("a target URL", url)


def _require_several(label: str, values: object) -> None:
    if isinstance(values, (str, os.PathLike, Recipient, Identity, VerificationKey)):
        raise TypeError(f"{label} are several, in a list, not one")
