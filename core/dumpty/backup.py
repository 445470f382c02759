"""``DatabaseBackup``: native, uncompressed copies under names the caller chooses, tracked in one JSON manifest."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from dumpty.errors import IntegrityError, MissingFile, UnknownBackup
from dumpty.operations.observation import Observers
from dumpty.process.interruption import track_interruption
from dumpty.redaction import redact_exception
from dumpty.registry.host import default_host
from dumpty.repository import manifest, sealed
from dumpty.repository.named import NamedCatalog
from dumpty.repository.names import valid_name
from dumpty.streaming.pipeline import Run
from dumpty.streaming.stored_dump import Stored, StoredDump, check_stored
from dumpty.types import EventBackup, Source
from dumpty.url import database_name, identity_of, parse_connection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dumpty.operations.observation import Observation
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Inspection

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
        self._observers = Observers(self._host, directory)
        self._catalog.entries()

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
        path = os.path.abspath(os.fspath(db_path))
        source = Source(scheme="sqlite", url=f"sqlite:///{path}", database=path)
        with self._observers.observation("backup") as observation:
            observation.concerns(source.url, ())
            name = valid_name(backup_name)
            return self._backup(source, name, "native", label="sqlite", options={}, observation=observation)

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
            options = {"counts": "auto"}
            return self._backup(source, name, label, label=label, options=options, observation=observation)

    def restore_sqlite(self, backup_name: str, restore_path: str) -> bool:
        """Replace the file at ``restore_path``, atomically, by the backup; False where there is no such backup.

        Raises:
            FileNotFoundError: the backup's file is gone.
            IntegrityError: the backup's bytes are not those recorded. Nothing is restored.
            Locked: the target is in use.
        """
        path = os.path.abspath(os.fspath(restore_path))
        target = Source(scheme="sqlite", url=f"sqlite:///{path}", database=path)
        with self._observers.observation("restore") as observation:
            observation.concerns(target.url, ())
            found = self._find_checked(backup_name)
            if found is None:
                observation.fail(f"there is no backup {backup_name!r}", UnknownBackup.__name__)
                return False
            observation.about(_event_backup(found))
            self._restore(found, target)
        return True

    def _restore(self, found: dict[str, Any], target: Source) -> None:
        driver = self._host.driver("sqlite")
        stored = self._stored(found)
        options = self._host.options({"restore": driver}, {})["restore"]
        with track_interruption() as interruption, StoredDump(self._host, self._catalog, stored, checked=True) as dump:
            self._host.restore(driver, target=target, dump=dump, overwrite=True, options=options)
            interruption.check()
            if not dump.read_to_end:
                raise IntegrityError(f"{driver} said it restored {stored.file}, but did not read it to its end")

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

    def _backup(
        self,
        source: Source,
        name: str,
        format_name: str,
        *,
        label: str,
        options: Mapping[str, object],
        observation: Observation,
    ) -> BackupMetadata:
        try:
            driver = self._host.driver(source.scheme)
            shared = self._host.options({"backup": driver, "inspect": driver}, options)
            dump_format = driver.format(format_name)
            inspection = self._inspect(driver, source, shared["inspect"]) if label == "sqlite" else None
            identity = (inspection.identity if inspection else "") or identity_of(source, driver.described.schemes[0])
            self._catalog.recover()
            started = datetime.now(UTC)
            run = Run(
                host=self._host,
                driver=driver,
                source=source,
                format=dump_format,
                options=shared["backup"],
                repository=self._catalog,
            )
            with track_interruption(), self._catalog.transaction(name) as tx:
                outcome = run.write(tx.upload(dump_format.suffix))
                entry = {
                    "name": name,
                    "timestamp": started.isoformat(),
                    "database_name": database_name(source, inspection.name if inspection else ""),
                    "format": label,
                    "size_bytes": outcome.stored_size,
                    "file": tx.name(dump_format.suffix),
                    "source": identity,
                    "checksum": outcome.stored_sha256,
                    "evidence": manifest.encode_evidence(outcome.evidence),
                }
                tx.commit(entry)
        except Exception as error:
            redact_exception(error, source.secrets)
            raise
        observation.about(_event_backup(entry, source.url))
        return self._metadata(entry)

    def _inspect(self, driver: Plugin, source: Source, options: Mapping[str, Any]) -> Inspection:
        return self._host.inspect(driver, source=source, options=options)

    def _find_checked(self, name: str) -> dict[str, Any] | None:
        """Return the entry of a SQLite backup whose data was read and is the one recorded; None where there is none."""
        while True:
            found = self._find(name)
            if found is None:
                return None
            if found["format"] != "sqlite":
                raise IntegrityError(
                    f"the backup {name!r} is a PostgreSQL dump ({found['format']}); restore it with pg_restore or psql"
                )
            try:
                check_stored(self._host, self._catalog, self._stored(found))
            except MissingFile as error:
                # Another process may have replaced or removed it between the two looks: that is no loss.
                if self._find(name) == found:
                    raise MissingFile(f"the file of the backup {name!r} is gone: {error}") from error
            else:
                return found

    def _find(self, name: str) -> dict[str, Any] | None:
        return next((e for e in self._catalog.entries() if e["name"] == name), None)

    def _stored(self, entry: Mapping[str, Any]) -> Stored:
        return Stored(
            file=entry["file"],
            format=self._host.driver("sqlite").format("native"),
            plain_size=entry["size_bytes"],
            plain_sha256=entry["checksum"],
            stored_size=entry["size_bytes"],
            stored_sha256=entry["checksum"],
            stages=(),
            evidence=manifest.decode_evidence(entry["evidence"], f"the backup {entry['name']!r}"),
        )

    def _states(self, entries: Sequence[Mapping[str, Any]]) -> list[str]:
        return [self._catalog.presence(entry).state for entry in entries]

    def _metadata(self, entry: Mapping[str, Any], state: str = "ok") -> BackupMetadata:
        field_names = {f.name for f in fields(BackupMetadata)}
        return BackupMetadata(
            **{k: v for k, v in entry.items() if k in field_names},
            file_path=self._store.locate(entry["file"]),
            state=state,
        )


def _event_backup(entry: Mapping[str, Any], url: str = "") -> EventBackup:
    size = entry["size_bytes"]
    return EventBackup(
        id=entry["name"], database=entry["database_name"], url=url, size_bytes=size, plain_size_bytes=size
    )


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
