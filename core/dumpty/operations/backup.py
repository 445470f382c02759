"""From a database to a backup's record: what takes part, the run, and the manifest, last."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dumpty.errors import OptionError
from dumpty.redaction import MASK, names_secret
from dumpty.repository.catalog import Catalog
from dumpty.repository.manifest import PluginRef, Record, StageRecord
from dumpty.repository.recovery import clean
from dumpty.streaming.pipeline import Outcome, Run
from dumpty.streaming.stored_dump import Stage
from dumpty.types import Inspection
from dumpty.url import database_name, identity_of, parse_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.streaming.stored_dump import Progress
    from dumpty.types import Store, Verb

__all__ = ["create"]


def create(
    host: Host,
    store: Store,
    database_url: str,
    *,
    compressor: Plugin | None,
    verifier: Plugin,
    format_name: str | None,
    progress: Progress | None,
    overrides: Mapping[str, object],
) -> Record:
    """Back up the database behind a URL; the arguments are those of ``BackupManager`` and its ``create_backup``.

    Raises:
        DumptyError: it failed, and nothing of it is left.
    """
    catalog = Catalog(store)
    source = parse_url(database_url)
    driver = host.driver(source.scheme)
    verbs: dict[Verb, Plugin] = {"backup": driver, "inspect": driver}
    if compressor is not None:
        verbs["compress"] = compressor
    options = host.options(verbs, overrides)
    dump_format = driver.format(format_name)
    if dump_format.directory:
        streams = ", ".join(f.name for f in driver.described.formats if not f.directory)
        raise OptionError(f"the format {dump_format.name} is a directory, and a backup here is one file; use {streams}")
    inspection = Inspection(exists=True, empty=False)
    if host.can(driver, "inspect"):
        inspection = host.inspect(driver, source=source, options=options["inspect"])
    clean(store)
    stages = [Stage(plugin=p, options=options["compress"]) for p in [compressor] if p is not None]
    started = datetime.now(UTC)
    record_id = str(uuid.uuid4())
    database = database_name(source, inspection.name)
    suffix = dump_format.suffix + "".join(s.plugin.described.suffix for s in stages)
    file = catalog.file_name(record_id, database, started, suffix)
    verifiers = () if verifier.name == "sha256" else (verifier,)

    def describe(outcome: Outcome) -> Record:
        return Record(
            id=record_id,
            url=source.url,
            identity=inspection.identity or identity_of(source, driver.described.schemes[0]),
            database=database,
            driver=_ref(driver),
            format=dump_format.name,
            suffix=dump_format.suffix,
            file=file,
            plain_size=outcome.plain_size,
            plain_sha256=outcome.plain_sha256,
            stored_size=outcome.stored_size,
            stored_sha256=outcome.stored_sha256,
            started=started,
            ended=datetime.now(UTC),
            stages=tuple(StageRecord(plugin=_ref(s.plugin), params=dict(s.options)) for s in stages),
            digests=outcome.digests,
            verifiers=tuple(map(_ref, verifiers)),
            evidence=outcome.evidence,
            options={k: MASK if names_secret(k) and v else v for k, v in options["backup"].items()},
        )

    run = Run(
        host=host,
        driver=driver,
        source=source,
        format=dump_format,
        options=options["backup"],
        store=store,
        stages=stages,
        verifiers=verifiers,
        progress=progress,
    )
    return run.write(file, committing=catalog.committing, describe=describe, commit=catalog.commit)


def _ref(plugin: Plugin) -> PluginRef:
    return PluginRef(name=plugin.name, distribution=plugin.distribution, version=plugin.version)
