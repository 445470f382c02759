"""Backups and restores of one repository, and what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.operations.result import require_text
from dumpty.streaming.reporter import Reporter

if TYPE_CHECKING:
    from collections.abc import Mapping

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

    def backup(
        self,
        url: str,
        *,
        format: str | None,
        progress: ProgressCallback | None,
        cancel: Cancellation | None,
        rate_limit: int | None,
        options: Mapping[str, object],
    ) -> BackupResult:
        """Back up the database behind ``url``."""
        from dumpty.operations.backup import create

        require_text("a database URL", url)
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
        options: Mapping[str, object],
    ) -> BackupResult:
        """Restore a backup into the database behind ``url``."""
        from dumpty.operations.restore import restore

        require_text("a backup's id", backup_id)
        require_text("a target URL", url)
        observation = self.place.observers.observation("restore", url=url)

        def work(call: Call) -> Backup:
            record = self.place.repository.get(backup_id)
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
                    overrides=options,
                )
            return self.place.lister.as_recorded(record)

        return observation.result(url, work, cancel)
