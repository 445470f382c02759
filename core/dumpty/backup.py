"""``DatabaseBackup``: native, uncompressed copies under names the caller chooses, tracked in one JSON manifest."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from dumpty.errors import IntegrityError, UnknownBackup
from dumpty.operations.named import NamedBackups, driver_name
from dumpty.operations.observation import Observers
from dumpty.process.cancellation import cancellable, require_token
from dumpty.registry.host import default_host
from dumpty.repository import sealed
from dumpty.repository.named import NamedCatalog
from dumpty.repository.names import valid_name
from dumpty.streaming.reporter import Reporter
from dumpty.types import Source
from dumpty.url import parse_connection, parse_url, secrets_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dumpty.operations.scratches import Trial
    from dumpty.process.cancellation import Cancellation
    from dumpty.types import ProgressCallback, Proof

__all__ = ["BackupFormat", "BackupMetadata", "DatabaseBackup"]


class BackupFormat(Enum):
    """The output formats of ``pg_dump`` (its manual, option ``--format``)."""

    SQL = "sql"
    CUSTOM = "custom"
    DIRECTORY = "directory"
    TAR = "tar"


@dataclass(frozen=True)
class BackupMetadata:
    """One backup of ``DatabaseBackup``.

    ``timestamp`` is ISO 8601 in UTC, ``size_bytes`` that of the file (of a directory: the sum), ``file_path`` where
    it lies, opaque. ``source`` names the database whatever its URL's spelling; ``checksum`` is its SHA-256. ``state``
    is ``lost`` where its data was gone or short when it was listed, ``damaged`` where it was longer, else ``ok``.
    ``driver`` is the plugin that made it.
    """

    name: str
    timestamp: str
    database_name: str
    format: str
    size_bytes: int
    file_path: str
    source: str = ""
    checksum: str = ""
    state: str = field(default="ok", compare=False)
    driver: str = ""


class DatabaseBackup:
    """Backups in one directory, under names the caller chooses.

    Several processes may use one directory at once.

    Args:
        backup_dir: a path, created where it does not exist.

    Raises:
        ManifestError: ``backup_manifest.json`` is damaged, or from a newer dumpty. It is never overwritten.
        StoreError: the directory cannot be created.
    """

    def __init__(self, backup_dir: str | os.PathLike[str]) -> None:
        self._host = default_host()
        directory = os.path.abspath(os.fspath(backup_dir))
        plugin = self._host.named("store", "file")
        options = self._host.options({"open_store": plugin}, {})["open_store"]
        self._store = self._host.open_store(plugin, url=directory, options=options)
        self._catalog = NamedCatalog(self._store, directory)
        self._backups = NamedBackups(self._host, self._catalog)
        self._observers = Observers(self._host, directory)
        self._catalog.entries()

    def backup(
        self,
        database_url: str,
        backup_name: str,
        *,
        format: str | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        **options: object,
    ) -> BackupMetadata:
        """Put a native, uncompressed backup of any database that a driver answers for into the backup directory.

        Args:
            database_url: as for ``BackupManager.create_backup``.
            backup_name: taking a name again replaces that backup once the new one is complete.
            format: one of the driver's formats; None is ``native`` where it has that, else its first.
            progress: called with how far it has come; see ``dumpty.types.ProgressCallback``.
            cancel: ends it before its commit point: when all is written, and only the manifest is to be changed.
            options: those declared by the driver (``name``, or ``plugin.name``).

        Raises:
            Cancelled: it was cancelled. An older backup of that name is as it was.
            InvalidName: the name cannot be one.
            PluginNotFound: no driver answers the URL.
            OptionError: the driver has no such format or option.
            DumptyError: it failed. An older backup of that name is as it was.
        """
        require_token(cancel)
        with self._observers.observation("backup") as observation:
            source = parse_url(database_url)
            observation.concerns(source.url, source.secrets)
            name = valid_name(backup_name)
            with cancellable(cancel, f"the backup of {source.url}"):
                entry = self._backups.backup(
                    source, name, observation, format_name=format, reporter=Reporter(progress), overrides=options
                )
            return self._metadata(entry)

    def restore(
        self,
        backup_name: str,
        target_url: str,
        *,
        overwrite: bool = False,
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        **options: object,
    ) -> BackupMetadata:
        """Restore a backup into the database behind a URL, and return what was restored.

        A missing target is created, an existing empty one used; one that holds anything is refused.

        Args:
            backup_name: its name.
            target_url: of a database of the kind that was backed up.
            overwrite: replace what the target holds, once the new content is complete and checked.
            progress: as for ``backup``.
            cancel: ends it before its commit point: right before what was loaded takes the target's place.
            options: those declared by the driver.

        Raises:
            Cancelled: it was cancelled, and the target is as it was.
            UnknownBackup: there is no such backup.
            SourceError: it is of another kind of database.
            TargetNotEmpty: the target holds something.
            MissingFile, IntegrityError: the backup's data is gone, or not what was recorded. Nothing is restored.
            RestoreNotSupported: the driver implements no restore.
            DumptyError: it failed, and the target is as it was.
        """
        require_token(cancel)
        with self._observers.observation("restore") as observation:
            target = parse_url(target_url)
            observation.concerns(target.url, target.secrets)
            with cancellable(cancel, f"the restore of {target.url}") as call:
                entry = self._backups.restore(
                    backup_name,
                    target,
                    observation,
                    overwrite=overwrite,
                    reporter=Reporter(progress),
                    call=call,
                    overrides=options,
                )
            return self._metadata(entry)

    @contextlib.contextmanager
    def trial(
        self,
        backup_name: str,
        *,
        on: str | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        **options: object,
    ) -> Iterator[tuple[Proof, Trial]]:
        """Restore a backup into a database of its own, compare, and lend that until the block ends; then it is gone.

        Args:
            backup_name: its name.
            on: the URL of a server for it, instead of one that the driver starts.
            progress: as for ``backup``.
            cancel: ends the restore; not what goes on in the block.
            options: those declared by the driver for ``scratch``, ``restore`` and ``inspect``.

        Raises:
            UnknownBackup: there is no such backup.
            MissingFile, IntegrityError: what was stored, or what was restored, is not what was backed up.
            NotProvable: this machine cannot restore it.
            DumptyError: it failed; behind the block, that the database could not be removed.
        """
        secrets = secrets_in(on) if on else ()
        observation = self._observers.observation("drill", secrets=secrets, level="restore")
        how = {"on": on, "reporter": Reporter(progress), "cancel": cancel, "overrides": options}
        with self._backups.trial(backup_name, observation, **how) as lent:  # type: ignore[arg-type]
            yield lent

    def backup_sqlite(self, db_path: str, backup_name: str) -> BackupMetadata:
        """Put a consistent copy of a SQLite database, live or not, into the backup directory.

        Args:
            db_path: the database's file.
            backup_name: taking a name again replaces that backup once the new one is complete.

        Raises:
            FileNotFoundError: there is no such file.
            InvalidName: the name cannot be one.
            SourceError: it is not a SQLite database, or cannot be read.
        """
        source = _sqlite(db_path)
        with self._observers.observation("backup") as observation:
            observation.concerns(source.url, ())
            name = valid_name(backup_name)
            with cancellable(None, f"the backup of {source.url}"):
                return self._metadata(self._backups.backup(source, name, observation, overrides={}))

    def backup_postgres(self, connection_string: str, backup_name: str, format: BackupFormat) -> BackupMetadata:
        """Dump a PostgreSQL database with ``pg_dump`` into the backup directory. Needs no psycopg2.

        Args:
            connection_string: a libpq URI, or keyword=value pairs.
            backup_name: taking a name again replaces that backup once the new one is complete.
            format: what ``pg_dump --format`` writes.

        Raises:
            RuntimeError: ``pg_dump`` (or, without psycopg2, ``psql``) failed, or is missing; the database cannot be
                read (``SourceError``); a table's lock was not to be had (``Locked``).
            InvalidName: the name cannot be one.
        """
        label = BackupFormat(format).value
        with self._observers.observation("backup") as observation:
            source = parse_connection(connection_string, scheme="postgresql")
            observation.concerns(source.url, source.secrets)
            name = valid_name(backup_name)
            # Where psycopg2 is missing, a psql holds the locks and the snapshot, and counts.
            with cancellable(None, f"the backup of {source.url}"):
                entry = self._backups.backup(
                    source, name, observation, format_name=label, inspected=False, overrides={"counts": "auto"}
                )
            return self._metadata(entry)

    def restore_sqlite(self, backup_name: str, restore_path: str) -> bool:
        """Replace the file at ``restore_path``, atomically, by the backup; False where there is no such backup.

        Raises:
            FileNotFoundError: the backup's file is gone.
            IntegrityError: the backup's bytes are not those recorded. Nothing is restored.
            Locked: the target is in use.
        """
        target = _sqlite(restore_path)
        with self._observers.observation("restore") as observation:
            observation.concerns(target.url, ())
            try:
                driver = driver_name(self._backups.find(backup_name))
                if driver != "sqlite":
                    raise IntegrityError(f"the backup {backup_name!r} is not one of SQLite: {driver} made it")
                with cancellable(None, f"the restore of {target.url}"):
                    self._backups.restore(backup_name, target, observation, overwrite=True, overrides={})
            except UnknownBackup as error:
                observation.fail(str(error), UnknownBackup.__name__)
                return False
        return True

    def list_backups(self) -> list[BackupMetadata]:
        """Return all backups in the manifest, in the order in which they were made; those that are lost say so."""
        while True:
            entries = self._catalog.entries()
            states = self._states(entries)
            # Between two looks another process may have removed one, entry and data: that is no loss.
            if all(state == "ok" for state in states) or self._catalog.entries() == entries:
                return [self._metadata(entry, state) for entry, state in zip(entries, states, strict=True)]

    def prune(self, max_age_days: int, max_backups: int) -> int:
        """Remove backups older than ``max_age_days``, then each source's oldest beyond ``max_backups``.

        One that is lost or damaged (``BackupMetadata.state``) takes no other's place.

        Returns:
            How many were removed, from disk and manifest.

        Raises:
            ValueError: a limit is negative.
            StoreError: a file could not be removed; its entry is kept.
        """
        if max_age_days < 0 or max_backups < 0:
            raise ValueError(f"limits are not negative: max_age_days={max_age_days}, max_backups={max_backups}")
        now = datetime.now(UTC)

        def choose(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
            try:
                oldest = now - timedelta(days=max_age_days)
            except OverflowError:  # more days than the calendar has: nothing is that old
                oldest = datetime.min.replace(tzinfo=UTC)
            expired = _expired(zip(entries, self._states(entries), strict=True), oldest, max_backups)
            names[:] = [entry["name"] for entry in expired]
            return expired

        names: list[str] = []
        with self._observers.observation("prune") as observation:
            self._catalog.recover()
            count = self._catalog.remove(choose)
            observation.removes(*names)
        return count

    def _states(self, entries: Sequence[Mapping[str, Any]]) -> list[str]:
        return [self._catalog.presence(entry).state for entry in entries]

    def _metadata(self, entry: Mapping[str, Any], state: str = "ok") -> BackupMetadata:
        field_names = {f.name for f in fields(BackupMetadata)}
        return BackupMetadata(
            **{k: v for k, v in entry.items() if k in field_names and k != "driver"},
            file_path=self._store.locate(entry["file"]),
            state=state,
            driver=driver_name(entry),
        )


def _sqlite(path: str) -> Source:
    path = os.path.abspath(os.fspath(path))
    return Source(scheme="sqlite", url=f"sqlite:///{path}", database=path)


def _expired(entries: Iterable[tuple[dict[str, Any], str]], oldest: datetime, max_backups: int) -> list[dict[str, Any]]:
    expired: list[dict[str, Any]] = []
    remaining: dict[str, list[tuple[dict[str, Any], str]]] = defaultdict(list)
    for entry, state in entries:
        if sealed.utc(entry["timestamp"]) < oldest:
            expired.append(entry)
        else:
            remaining[entry["source"]].append((entry, state))
    for group in remaining.values():
        # The sort is stable: of one moment, the one entered first is the older.
        group.sort(key=lambda item: sealed.utc(item[0]["timestamp"]))
        newer = 0
        for entry, state in reversed(group):
            if newer >= max_backups:
                expired.append(entry)
            newer += state == "ok"
    return expired
