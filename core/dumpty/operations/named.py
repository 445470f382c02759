"""Named backups: from a database to an entry of the one manifest, and back."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dumpty.errors import IntegrityError, MissingFile, OptionError, SourceError, UnknownBackup
from dumpty.operations.evidence import with_alterations
from dumpty.operations.restore import require_not_refused
from dumpty.process.cancellation import cancellable
from dumpty.process.interruption import track_interruption
from dumpty.redaction import redact_exception
from dumpty.registry.masking import drop_masked_properties
from dumpty.repository import manifest
from dumpty.repository.sealed import utc
from dumpty.streaming.pipeline import Run
from dumpty.streaming.reporter import Reporter
from dumpty.streaming.stored import Stored, StoredPart, check_stored
from dumpty.streaming.stored_dump import StoredDump
from dumpty.toolkit.targets import refuse_full_target
from dumpty.types import EventBackup, Format, Phase, PluginRef, Record, StoredObject
from dumpty.url import database_name, identity_of, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dumpty.operations.observation import Observation
    from dumpty.operations.scratches import Trial
    from dumpty.process.call import Call
    from dumpty.process.cancellation import Cancellation
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.repository.named import NamedCatalog
    from dumpty.types import Inspection, Options, Proof, Source

__all__ = ["NamedBackups", "driver_name"]

_SQLITE = "sqlite"
"""The label of a copy by the driver ``sqlite``, which entries of older manifests do not name."""


def driver_name(entry: Mapping[str, Any]) -> str:
    """Return the name of the driver that made a backup."""
    return str(entry.get("driver") or (_SQLITE if entry["format"] == _SQLITE else "postgres"))


class NamedBackups:
    """Makes and restores the backups of one directory."""

    def __init__(self, host: Host, catalog: NamedCatalog) -> None:
        self._host = host
        self._catalog = catalog

    def backup(
        self,
        source: Source,
        name: str,
        observation: Observation,
        *,
        format_name: str | None = None,
        inspected: bool = True,
        reporter: Reporter | None = None,
        overrides: Mapping[str, object],
    ) -> dict[str, Any]:
        """Write the backup ``name`` of ``source``, in place of the older one of that name, and return its entry.

        Args:
            source: the database.
            name: a valid one.
            observation: is told of the backup.
            format_name: None is ``native`` where the driver has that, else its first.
            inspected: ask the driver what the database is called; else the URL says.
            reporter: is told how far it has come.
            overrides: options.
        """
        reporter = reporter or Reporter()
        try:
            driver = self._host.driver(source.scheme)
            options = self._host.options({"backup": driver, "inspect": driver}, overrides)
            dump_format = driver.format(format_name) if format_name else _native(driver)
            _require_one_file(driver, dump_format)
            inspection: Inspection | None = None
            reporter.begin(Phase.INSPECTING)
            if inspected and self._host.can(driver, "inspect"):
                inspection = self._host.inspect(driver, source=source, options=options["inspect"])
            self._catalog.recover()
            run = Run(
                host=self._host,
                driver=driver,
                source=source,
                format=dump_format,
                options=options["backup"],
                repository=self._catalog,
                progress=reporter.bytes if reporter.is_wanted else None,
            )
            entry = self._write(run, name, inspection, reporter)
        except Exception as error:
            redact_exception(error, source.secrets)
            raise
        observation.about(_event_backup(entry, source.url))
        return entry

    def _write(self, run: Run, name: str, inspection: Inspection | None, reporter: Reporter) -> dict[str, Any]:
        started, driver, ending = datetime.now(UTC), run.driver, run.format.suffix
        identity = (inspection.identity if inspection else "") or identity_of(run.source, driver.described.schemes[0])
        with track_interruption(), self._catalog.transaction(name) as tx:
            reporter.begin(Phase.DUMPING)
            outcome = run.write(tx.upload)
            [written] = outcome.objects
            evidence = with_alterations(outcome.evidence, inspection) if inspection else outcome.evidence
            entry = {
                "name": name,
                "timestamp": started.isoformat(),
                "database_name": database_name(run.source, inspection.name if inspection else ""),
                "format": _SQLITE if (driver.name, run.format.name) == (_SQLITE, "native") else run.format.name,
                "size_bytes": written.stored_size,
                "file": tx.name(ending),
                "source": identity,
                "checksum": written.stored_sha256,
                "evidence": manifest.encode_evidence(evidence),
                "driver": driver.name,
            }
            reporter.begin(Phase.COMMITTING)
            tx.commit(entry)
        return entry

    def find(self, name: str) -> dict[str, Any]:
        """Return the entry of a name.

        Raises:
            UnknownBackup: there is none.
        """
        entry = self._find(name)
        if entry is None:
            raise UnknownBackup(
                f"no backup is called {name!r} in {self._catalog.locate('')}; list_backups() shows what is there"
            )
        return entry

    def restore(
        self,
        name: str,
        target: Source,
        observation: Observation,
        *,
        overwrite: bool,
        reporter: Reporter | None = None,
        call: Call | None = None,
        overrides: Mapping[str, object],
    ) -> dict[str, Any]:
        """Restore the backup ``name`` into ``target``, and return its entry; what fails leaves the target as it was.

        Raises:
            UnknownBackup: there is none of that name.
            SourceError: it is of another kind of database.
            TargetNotEmpty: the target holds something, and is not to be overwritten.
            MissingFile, IntegrityError: its data is gone, or not what was recorded.
        """
        entry, reporter = self.find(name), reporter or Reporter()
        observation.about(_event_backup(entry))
        try:
            driver = self._host.driver(target.scheme)
            if driver.name != driver_name(entry):
                raise SourceError(
                    f"the backup {name!r} was made by the driver {driver_name(entry)!r}, and {target.scheme} URLs "
                    f"belong to {driver}; a dump goes back only into a database of its own kind"
                )
            options = self._host.options({"restore": driver, "inspect": driver}, overrides)
            reporter.begin(Phase.INSPECTING)
            if not overwrite:
                self._require_empty(driver, target, options["inspect"])
            entry, stored = self._checked(entry, reporter)
            self._load(driver, target, stored, reporter, call, overwrite=overwrite, options=options["restore"])
        except Exception as error:
            redact_exception(error, target.secrets)
            raise
        return entry

    @contextlib.contextmanager
    def trial(
        self,
        name: str,
        observation: Observation,
        *,
        on: str | None,
        reporter: Reporter,
        cancel: Cancellation | None,
        overrides: Mapping[str, object],
    ) -> Iterator[tuple[Proof, Trial]]:
        """Drill the backup ``name``, and lend what was restored; the contract is that of ``DatabaseBackup.trial``."""
        from dumpty.operations.scratches import KeptScratch
        from dumpty.operations.verify import prove

        with KeptScratch(shell=False) as kept:
            with observation, cancellable(cancel, f"the drill of the backup {name!r}") as call:
                entry = self.find(name)
                observation.about(_event_backup(entry))
                proof = prove(
                    self._host,
                    self._catalog,
                    self._record(entry),
                    "restore",
                    call,
                    on=None if on is None else parse_url(on),
                    overrides=overrides,
                    reporter=reporter,
                    kept=kept,
                )
                observation.proved(proof)
            if proof.exception is not None:
                raise proof.exception
            yield proof, kept.trial

    def _record(self, entry: Mapping[str, Any]) -> Record:
        """Return an entry as a repository's record, for whoever proves what is in one."""
        stored, timestamp = self._stored(entry), utc(entry["timestamp"])
        [part] = stored.parts
        return Record(
            id=entry["name"],
            url="",
            identity=entry["source"],
            database=entry["database_name"],
            driver=PluginRef(name=driver_name(entry)),
            format=stored.format.name,
            suffix=stored.format.suffix,
            directory=stored.format.directory,
            objects=(
                StoredObject(
                    name=part.file,
                    size=part.stored_size,
                    sha256=part.stored_sha256,
                    plain_size=part.plain_size,
                    plain_sha256=part.plain_sha256,
                ),
            ),
            started=timestamp,
            ended=timestamp,
            evidence=stored.evidence,
        )

    def _load(
        self,
        driver: Plugin,
        target: Source,
        stored: Stored,
        reporter: Reporter,
        call: Call | None,
        *,
        overwrite: bool,
        options: Options,
    ) -> None:
        reporter.begin(Phase.LOADING, bytes_total=stored.plain_size)
        if call is not None:
            call.on_commit = lambda: reporter.begin(Phase.COMMITTING)
        with (
            track_interruption() as interruption,
            StoredDump(self._host, self._catalog, stored, reporter, checked=True) as dump,
        ):
            self._host.restore(driver, target=target, dump=dump, overwrite=overwrite, options=options)
            if dump.read_to_end and call is not None:
                call.settle()
                require_not_refused(call, driver, target)
            interruption.check()
            if not dump.read_to_end:
                raise IntegrityError(f"{driver} said it restored {stored.file}, but did not read it to its end")

    def _require_empty(self, driver: Plugin, target: Source, options: Options) -> None:
        if self._host.can(driver, "restore") and self._host.can(driver, "inspect"):
            inspection = self._host.inspect(driver, source=target, options=options)
            refuse_full_target(target=f"the target {target.url}", empty=inspection.empty, overwrite=False)

    def _checked(self, entry: dict[str, Any], reporter: Reporter) -> tuple[dict[str, Any], Stored]:
        """Return an entry, or the one that has replaced it meanwhile, whose data was read and is the one recorded."""
        name, driver = entry["name"], driver_name(entry)
        while True:
            stored = self._stored(entry)
            reporter.begin(Phase.CHECKING, bytes_total=stored.stored_size)
            try:
                check_stored(self._host, self._catalog, stored, reporter.bytes)
            except MissingFile as error:
                # Another process may have replaced or removed it between the two looks: that is no loss.
                current = self.find(name)
                if current == entry:
                    raise MissingFile(f"the file of the backup {name!r} is gone: {error}") from error
                entry = current
                if driver_name(entry) != driver:
                    raise SourceError(f"the backup {name!r} has just been replaced by one of another kind") from None
            else:
                return entry, stored

    def _find(self, name: str) -> dict[str, Any] | None:
        return next((e for e in self._catalog.entries() if e["name"] == name), None)

    def _stored(self, entry: Mapping[str, Any]) -> Stored:
        evidence = manifest.decode_evidence(entry["evidence"], f"the backup {entry['name']!r}")
        dump_format = self._format(entry)
        part = StoredPart(
            file=entry["file"],
            suffix=dump_format.suffix,
            plain_size=entry["size_bytes"],
            plain_sha256=entry["checksum"],
            stored_size=entry["size_bytes"],
            stored_sha256=entry["checksum"],
            stages=(),
            directory=dump_format.directory,
        )
        return Stored(format=dump_format, parts=(part,), evidence=drop_masked_properties(evidence))

    def _format(self, entry: Mapping[str, Any]) -> Format:
        driver = self._host.named("driver", driver_name(entry))
        return driver.format("native" if (driver.name, entry["format"]) == (_SQLITE, _SQLITE) else entry["format"])


def _require_one_file(driver: Plugin, dump_format: Format) -> None:
    if dump_format.parts:
        raise OptionError(
            f"the format {dump_format.name} of {driver} is of several files, and a named backup is one: name another "
            "format, or use BackupManager"
        )


def _native(driver: Plugin) -> Format:
    """Return the format called ``native``, or a driver's first."""
    formats = driver.described.formats
    return next((f for f in formats if f.name == "native"), formats[0])


def _event_backup(entry: Mapping[str, Any], url: str = "") -> EventBackup:
    size = entry["size_bytes"]
    return EventBackup(
        id=entry["name"], database=entry["database_name"], url=url, size_bytes=size, plain_size_bytes=size
    )
