"""``BackupManager``: database URLs in, compressed and checksummed backups out, and back."""

from __future__ import annotations

import os
import time
import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from dumpty.catalog import Catalog, clean
from dumpty.errors import (
    IntegrityError,
    ManifestError,
    OptionError,
    PluginNotFound,
    SourceError,
    TargetNotEmpty,
    UnknownBackup,
)
from dumpty.host import Host, default_host
from dumpty.manifest import PluginRef, Record, StageRecord
from dumpty.pipeline import Outcome, Run
from dumpty.redaction import redact
from dumpty.results import Backup, BackupResult, log, one_line, wrapped
from dumpty.source import database_name, identity_of, parse_url
from dumpty.stored import Stage, Stored, StoredDump, check_plain, check_stored
from dumpty.types import Evidence, Format, Inspection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dumpty.host import Plugin
    from dumpty.stored import Progress
    from dumpty.types import Kind, Source, Verb

__all__ = ["Backup", "BackupManager", "BackupResult", "backup_database"]


class BackupManager:
    """Backs databases up into one directory and restores them.

    Args:
        backup_dir: created where it does not exist; a path, or the URL of a store that a plugin provides.
        compressor: the name of a compressor plugin; None for none.
        verifier: the name of a verifier plugin, whose digest is kept beside SHA-256.
        plugins: modules or objects to use as plugins, without packaging them.

    Raises:
        DumptyError: the directory cannot be made, or a plugin is not installed.
    """

    def __init__(
        self,
        backup_dir: str,
        *,
        compressor: str | None = "gzip",
        verifier: str = "sha256",
        plugins: Iterable[object] = (),
    ) -> None:
        plugins = tuple(plugins)
        self._host = Host(plugins) if plugins else default_host()
        self._compressor = self._host.named("compressor", compressor) if compressor not in {None, "none"} else None
        self._verifier = self._host.named("verifier", verifier)
        url = os.fspath(backup_dir)
        store = self._host.store(url)
        options = self._host.options({"open_store": store}, {})["open_store"]
        self._store = self._host.open_store(store, url=url, options=options)
        self._catalog = Catalog(self._store)

    def create_backup(
        self,
        database_url: str,
        *,
        format: str | None = None,
        progress: Progress | None = None,
        **options: object,
    ) -> BackupResult:
        """Back up the database behind a URL.

        Args:
            database_url: ``scheme://[user[:password]@][host[:port]]/database[?key=value&…]``.
            format: one of the driver's formats; None is its first (``sql`` for the built-in drivers).
            progress: called with the plain bytes so far, and the number expected or None.
            options: those declared by the driver and the compressor (``name``, or ``plugin.name``).

        Returns:
            A result; failures are in it, not raised.

        Raises:
            TypeError: ``database_url`` is not a str.
        """
        _require_text("a database URL", database_url)
        return wrapped("backup", database_url, lambda: self._create(database_url, format, progress, options))

    def restore(
        self,
        backup_id: str,
        target_url: str,
        *,
        overwrite: bool = False,
        create: bool = False,
        progress: Progress | None = None,
        **options: object,
    ) -> BackupResult:
        """Restore a backup into the database behind a URL.

        A missing target is created, an existing empty one used; one that holds anything is refused.

        Args:
            backup_id: the whole id.
            target_url: as for ``create_backup``.
            overwrite: replace what the target holds, once the new content is complete and checked.
            create: refuse a target that exists, even an empty one.
            progress: called with the plain bytes so far, and their number.
            options: those declared by the driver.

        Returns:
            A result; failures are in it, not raised.

        Raises:
            TypeError: an argument is not a str.
        """
        _require_text("a backup's id", backup_id)
        _require_text("a target URL", target_url)

        def work() -> Backup:
            return self._restore(
                backup_id, target_url, overwrite=overwrite, create=create, progress=progress, given=options
            )

        return wrapped("restore", target_url, work)

    def list_backups(self) -> list[Backup]:
        """Return all backups, oldest first. A damaged manifest is logged, and hides no other (``problems``)."""
        records, errors = self._catalog.records()
        for error in errors:
            log.warning("%s", error, extra={"event": "manifest-damaged"})
        return [self._backup(record) for record in records]

    def problems(self) -> list[ManifestError]:
        """Return an error for each manifest in the directory that cannot be read."""
        return self._catalog.records()[1]

    def get_backup(self, backup_id: str) -> Backup | None:
        """Return a backup by its whole id, or None."""
        return next((b for b in self.list_backups() if b.id == backup_id), None)

    def find(self, wanted: str) -> Backup:
        """Return the backup whose id begins with ``wanted``; ``latest`` is the newest.

        Raises:
            UnknownBackup: none, or more than one, does.
        """
        return self._backup(self._catalog.find(wanted))

    def verify(self, backup_id: str, *, progress: Progress | None = None) -> Backup:
        """Read a backup to its end: stored digests, then decompression, size and digest of the dump itself.

        Raises:
            UnknownBackup: there is no such backup.
            IntegrityError, MissingFile: it is not what was stored.
            PluginNotFound: a plugin that it went through is not installed.
        """
        stored = self._stored(self._record(backup_id))
        check_stored(self._host, self._store, stored, progress)
        check_plain(self._host, self._store, stored, progress)
        return self._backup(self._record(backup_id))

    def remove(self, backup_id: str) -> None:
        """Remove a backup, data and manifest.

        Raises:
            UnknownBackup: there is no such backup.
            StoreError: its data could not be removed; it is still listed.
        """
        self._catalog.remove(self._record(backup_id))

    # -- backup --------------------------------------------------------------------------------------------------

    def _create(
        self, database_url: str, format_name: str | None, progress: Progress | None, given: Mapping[str, object]
    ) -> Backup:
        source = parse_url(database_url)
        driver = self._host.driver(source.scheme)
        verbs: dict[Verb, Plugin] = {"backup": driver, "inspect": driver}
        if self._compressor is not None:
            verbs["compress"] = self._compressor
        options = self._host.options(verbs, given)
        form = driver.format(format_name)
        if form.directory:
            streams = ", ".join(f.name for f in driver.described.formats if not f.directory)
            raise OptionError(f"the format {form.name} is a directory, and a backup here is one file; use {streams}")
        seen = Inspection(exists=True, empty=False)
        if self._host.can(driver, "inspect"):
            seen = self._host.inspect(driver, source=source, options=options["inspect"])
        clean(self._store)
        stages = [Stage(plugin=p, options=options["compress"]) for p in [self._compressor] if p is not None]
        started = datetime.now(timezone.utc)
        record_id = str(uuid.uuid4())
        database = database_name(source, seen.name)
        suffix = form.suffix + "".join(s.plugin.described.suffix for s in stages)
        file = self._catalog.file_name(record_id, database, started, suffix)
        made: list[Record] = []
        verifiers = () if self._verifier.name == "sha256" else (self._verifier,)

        def commit(outcome: Outcome) -> None:
            record = Record(
                id=record_id,
                url=source.url,
                identity=seen.identity or identity_of(source, driver.described.schemes[0]),
                database=database,
                driver=_ref(driver),
                format=form.name,
                suffix=form.suffix,
                file=file,
                plain_size=outcome.plain_size,
                plain_sha256=outcome.plain_sha256,
                stored_size=outcome.stored_size,
                stored_sha256=outcome.stored_sha256,
                started=started,
                ended=datetime.now(timezone.utc),
                stages=tuple(StageRecord(plugin=_ref(s.plugin), params=dict(s.options)) for s in stages),
                digests=outcome.digests,
                verifiers=tuple(map(_ref, verifiers)),
                evidence=_clean_evidence(outcome.evidence, source),
                options=dict(options["backup"]),
            )
            self._catalog.commit(record)
            made.append(record)

        run = Run(
            host=self._host,
            driver=driver,
            source=source,
            format=form,
            options=options["backup"],
            store=self._store,
            stages=stages,
            verifiers=verifiers,
            progress=progress,
        )
        run.write(file, committing=self._catalog.committing, commit=commit)
        return self._backup(made[0])

    # -- restore -------------------------------------------------------------------------------------------------

    def _restore(
        self,
        backup_id: str,
        target_url: str,
        *,
        overwrite: bool,
        create: bool,
        progress: Progress | None,
        given: Mapping[str, object],
    ) -> Backup:
        target = parse_url(target_url)
        record = self._record(backup_id)
        driver = self._driver_for(target, record)
        if driver.name != record.driver.name:
            raise SourceError(
                f"backup {record.id} was made by {record.driver}, and {target.scheme} URLs belong to {driver}; "
                "a dump goes back only into a database of its own kind"
            )
        options = self._host.options({"restore": driver, "inspect": driver}, given)
        stored = self._stored(record)
        if self._host.can(driver, "restore") and self._host.can(driver, "inspect"):
            seen = self._host.inspect(driver, source=target, options=options["inspect"])
            if create and seen.exists:
                raise TargetNotEmpty(f"the target {target.url} exists already, and was to be created")
            if not seen.empty and not overwrite:
                raise TargetNotEmpty(
                    f"the target {target.url} is not empty, so nothing was restored; "
                    "to replace what it holds, insist: --overwrite (overwrite=True)"
                )
        check_stored(self._host, self._store, stored)
        with StoredDump(self._host, self._store, stored, progress) as dump:
            self._host.restore(driver, target=target, dump=dump, overwrite=overwrite, options=options["restore"])
            if not dump.read_to_end:
                # The driver stopped early, and may have loaded part of the dump: that is no restore.
                raise IntegrityError(f"{driver} said it restored {record.file}, but did not read it to its end")
        return self._backup(record)

    def _driver_for(self, target: Source, record: Record) -> Plugin:
        try:
            return self._host.driver(target.scheme)
        except PluginNotFound:
            self._needed("driver", record.driver, record)
            raise

    def _record(self, backup_id: str) -> Record:
        records, errors = self._catalog.records()
        for record in records:
            if record.id == backup_id:
                return record
        damaged = f"; {len(errors)} manifests there are damaged: {errors[0]}" if errors else ""
        raise UnknownBackup(
            f"no backup has the id {backup_id!r} in {self._store.locate('')}{damaged}; "
            "list_backups() or dumpty list shows what is there"
        )

    def _stored(self, record: Record) -> Stored:
        for verifier in record.verifiers:
            self._needed("verifier", verifier, record)
        stages = []
        for stage in record.stages:
            plugin = self._needed("compressor", stage.plugin, record)
            stages.append(Stage(plugin=plugin, options=stage.params))
        return Stored(
            file=record.file,
            format=Format(name=record.format, suffix=record.suffix, directory=record.directory),
            plain_size=record.plain_size,
            plain_sha256=record.plain_sha256,
            stored_size=record.stored_size,
            stored_sha256=record.stored_sha256,
            stages=tuple(stages),
            evidence=record.evidence,
            digests=record.digests,
        )

    def _needed(self, kind: Kind, ref: PluginRef, record: Record) -> Plugin:
        try:
            return self._host.named(kind, ref.name)
        except PluginNotFound as error:
            # Registered by a program for itself: there is no package to install.
            own = ref.distribution == "this program"
            mend = "pass" if own else f"pip install {ref.distribution}, or pass"
            raise PluginNotFound(
                f"backup {record.id} needs the {kind} {ref}, which is not installed: {mend} it as plugins=[…]",
                plugin=str(ref),
            ) from error

    # -- shared --------------------------------------------------------------------------------------------------

    def _backup(self, record: Record) -> Backup:
        return Backup(
            id=record.id,
            database_url=record.url,
            file_path=self._store.locate(record.file),
            timestamp=record.started,
            size_bytes=record.stored_size,
            checksum=record.stored_sha256,
            database_name=record.database,
            format=record.format,
            driver=record.driver.name,
            stages=tuple(s.plugin.name for s in record.stages),
            plain_size_bytes=record.plain_size,
            digests=record.digests,
            evidence=record.evidence,
            source=record.identity,
            ended=record.ended,
        )


def backup_database(database_url: str, backup_dir: str = "backups", **options: object) -> BackupResult:
    """Back up one database in one call.

    Args:
        database_url: as for ``BackupManager.create_backup``.
        backup_dir: created where it does not exist.
        options: ``compressor``, ``verifier`` and ``plugins`` as for ``BackupManager``; the rest as for
            ``create_backup``.

    Returns:
        A result; failures are in it, not raised, those of the directory included.

    Raises:
        TypeError: ``database_url`` is not a str.
    """
    _require_text("a database URL", database_url)
    begun = time.monotonic()
    own = {k: options.pop(k) for k in ("compressor", "verifier", "plugins") if k in options}
    try:
        manager = BackupManager(backup_dir, **own)  # type: ignore[arg-type]
    except TypeError:
        raise
    except Exception as error:  # noqa: BLE001 - the contract: failures are results
        text = one_line(error)
        log.error("backup into %s failed: %s", backup_dir, text, extra={"event": "backup"})
        return BackupResult(False, None, time.monotonic() - begun, text, error)
    return manager.create_backup(database_url, **options)  # type: ignore[arg-type]


def _require_text(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str, not {type(value).__name__}")


def _ref(plugin: Plugin) -> PluginRef:
    return PluginRef(name=plugin.name, distribution=plugin.distribution, version=plugin.version)


def _clean_evidence(evidence: Evidence, source: Source) -> Evidence:
    from dataclasses import replace

    return replace(
        evidence,
        notes=tuple(redact(n, source.secrets) for n in evidence.notes),
        versions={k: redact(v, source.secrets) for k, v in evidence.versions.items()},
    )
