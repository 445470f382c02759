"""Backups and restores of one repository, and what became of each."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.operations.result import require_text
from dumpty.operations.sealing import Keyring, open_record
from dumpty.streaming.reporter import Reporter
from dumpty.types import Identity, Recipient

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dumpty.operations.place import Place
    from dumpty.operations.result import Backup, BackupResult
    from dumpty.process.call import Call
    from dumpty.process.cancellation import Cancellation
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.types import ProgressCallback

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
        options: Mapping[str, object],
    ) -> BackupResult:
        """Back up the database behind ``url``."""
        from dumpty.operations.backup import create

        require_text("a database URL", url)
        _require_several("recipients", encrypt_to)
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
                overrides=options,
            )
            call.settle()  # a repository of a plugin's may not have told its commit point
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
        options: Mapping[str, object],
    ) -> BackupResult:
        """Restore a backup into the database behind ``url``."""
        from dumpty.operations.restore import restore

        require_text("a backup's id", backup_id)
        require_text("a target URL", url)
        _require_several("identities", identities)
        observation = self.place.observers.observation("restore", url=url)

        def work(call: Call) -> Backup:
            keys = self.keyring.identities(identities)
            record = open_record(self.host, self.place.repository.get(backup_id), keys)
            observation.about(record)
            with self.place.repository.reading(record):
                restore(
                    self.host,
                    self.place.repository,
                    record,
                    url,
                    overwrite=overwrite,
                    create=create,
                    other=other,
                    reporter=Reporter(progress),
                    call=call,
                    identities=keys,
                    overrides=options,
                )
            return self.place.lister.as_recorded(record)

        return observation.result(url, work, cancel)


def _require_several(label: str, values: object) -> None:
    if isinstance(values, (str, os.PathLike, Recipient, Identity)):
        raise TypeError(f"{label} are several, in a list, not one")
