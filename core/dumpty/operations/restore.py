"""From a backup's record back into a database: which plugins it needs, what is refused, and the load itself."""

from __future__ import annotations

import contextlib
import logging
import re
from typing import TYPE_CHECKING

from dumpty.errors import (
    DumptyError,
    IntegrityError,
    OtherDatabase,
    PluginError,
    PluginNotFound,
    SourceError,
    TargetNotEmpty,
)
from dumpty.operations.evidence import ask_evidence
from dumpty.operations.reach import is_reached, reached, read_way
from dumpty.operations.sealing import require_plugin
from dumpty.operations.stages import stages_of
from dumpty.operations.subjects import identity_and_name, inspect_subject, is_of_server, require_subject, subject_url
from dumpty.process.call import raise_if_cancelled
from dumpty.process.interruption import current_interruption
from dumpty.redaction import one_line
from dumpty.registry.masking import drop_masked_properties
from dumpty.streaming.stored import Stored, StoredPart, check_stored, require_undamaged
from dumpty.streaming.stored_dump import StoredDump
from dumpty.toolkit.evidence import compare_evidence, summarize_differences
from dumpty.toolkit.targets import refuse_full_target
from dumpty.types import SUFFIX, Format, Phase
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dumpty.operations.reach import Way
    from dumpty.process.call import Call
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.streaming.reporter import Reporter
    from dumpty.types import Evidence, Identity, Inspection, ObjectSource, Options, Record, Source, StoredObject

_log = logging.getLogger("dumpty")
_PART = re.compile(rf"\.p[0-9]+({SUFFIX.pattern})\Z")

__all__ = [
    "blamed",
    "check_before",
    "driver_for",
    "driver_of",
    "load",
    "log_notes",
    "require_new",
    "require_not_refused",
    "require_read",
    "require_same_database",
    "restore",
    "stored_of",
]


def restore(
    host: Host,
    repository: ObjectSource,
    record: Record,
    target_url: str,
    *,
    check_first: bool,
    overwrite: bool,
    create: bool,
    other: bool,
    reporter: Reporter,
    call: Call,
    identities: Sequence[Identity],
    via: str | Sequence[str] | None = None,
    overrides: Mapping[str, object],
) -> None:
    """Restore a backup into the database behind a URL; the arguments are those of ``BackupManager.restore``.

    ``record`` is one that is not sealed, or was opened. ``check_first`` compares what is stored with its digests before
    the driver is given any of it. Until that tells its commit point, or has returned, ``call`` can be cancelled.

    Raises:
        IntegrityError: the target was replaced, and does not hold what was backed up; or as below.
        DumptyError: it was refused or failed, and the target is as it was.
    """
    target = parse_url(target_url)
    driver = driver_for(host, target, record)
    require_subject(driver, record)
    options = host.options({"restore": driver, "inspect": driver}, overrides)
    stored = stored_of(host, record, identities)
    way = read_way(host, via)
    with reached(driver, target, way) as near:
        reporter.begin(Phase.INSPECTING)
        if host.can(driver, "restore") and host.can(driver, "inspect"):
            inspection = inspect_subject(host, driver, near, options["inspect"], record.format)
            how = {"overwrite": overwrite, "create": create, "other": other}
            _require_permitted(driver, record, target, inspection, way, **how)
        if check_first:
            check_before(host, repository, stored, reporter)
        call.on_commit = lambda: reporter.begin(Phase.COMMITTING)
        reporter.begin(Phase.LOADING, bytes_total=stored.plain_size)
        dump = StoredDump(host, repository, stored, reporter, checked=check_first)
        with dump, blamed(host, repository, dump, stored):
            loaded = load(host, driver, near, dump, overwrite=overwrite, options=options["restore"])
            call.settle()
        require_not_refused(call, driver, target)
        log_notes(target, loaded)
        _compare(host, driver, record, near, loaded, options["inspect"], reporter)
    current_interruption().check()


def _compare(
    host: Host, driver: Plugin, record: Record, target: Source, loaded: Evidence, options: Options, reporter: Reporter
) -> None:
    """Compare what was counted in a target with what the backup says, where that says anything."""
    if count := len(record.evidence.objects):
        reporter.begin(Phase.COMPARING, items_total=count)
        _require_same_counts(host, driver, record, target, loaded, options)
        reporter.items(count)


def log_notes(target: Source, loaded: Evidence) -> None:
    """Log what a driver noted of a restore."""
    for note in loaded.notes:
        _log.warning("%s: %s", target.url, note, extra={"event": "restore-note"})


def check_before(host: Host, repository: ObjectSource, stored: Stored, reporter: Reporter) -> None:
    """Compare what is stored with its digests, before a driver is given any of it (``check_stored``)."""
    reporter.begin(Phase.CHECKING, bytes_total=stored.stored_size)
    check_stored(host, repository, stored, reporter.bytes)


def _require_permitted(
    driver: Plugin,
    record: Record,
    target: Source,
    inspection: Inspection,
    way: Way | None,
    *,
    overwrite: bool,
    create: bool,
    other: bool,
) -> None:
    """Check that a target may be restored into, as far as that can be told before its driver has seen the dump.

    Raises:
        TargetNotEmpty: it may not; ``OtherDatabase`` where it is another one than the backup's.
    """
    # To a server a restore adds: what it would have to change there only the driver can tell.
    adds = is_of_server(driver, record.format) and not overwrite
    _require_free(target, inspection, overwrite=overwrite or adds, create=create)
    if not (inspection.empty or other or adds):
        require_same_database(record, target, inspection, driver, way)


def _require_free(target: Source, inspection: Inspection, *, overwrite: bool, create: bool) -> None:
    """Check that a target holds nothing, or that it may be replaced; ``create`` takes none that exists.

    Raises:
        TargetNotEmpty: it does not.
    """
    require_new(target, inspection, create=create)
    refuse_full_target(target=f"the target {target.url}", empty=inspection.empty, overwrite=overwrite)


def require_new(target: Source, inspection: Inspection, *, create: bool) -> None:
    """Check that a target does not exist, where it is to be created.

    Raises:
        TargetNotEmpty: it does.
    """
    if create and inspection.exists:
        raise TargetNotEmpty(f"the target {target.url} exists already, and was to be created")


@contextlib.contextmanager
def blamed(host: Host, repository: ObjectSource, dump: StoredDump, stored: Stored) -> Iterator[None]:
    """Where loading fails, say what failed first: the call was cancelled, or the stored dump is damaged."""
    try:
        yield
    except Exception:
        raise_if_cancelled()
        if dump.was_opened:
            require_undamaged(host, repository, stored)
        raise


def _require_same_counts(
    host: Host, driver: Plugin, record: Record, target: Source, loaded: Evidence, options: Options
) -> None:
    """Compare the rows that a target got with those of the backup.

    What the driver counted while it loaded is what counts: nobody else could write then. Only a driver that counted
    nothing is asked what is there now, which others may have written to meanwhile.

    Raises:
        IntegrityError: they differ.
        PluginError: the driver can be asked, and could not tell.
    """
    found: Evidence | None = loaded
    asked = not loaded.objects
    if asked:
        try:
            found = ask_evidence(host, driver, target, options, "counts")
        except DumptyError as error:
            raise PluginError(
                f"backup {record.id} was loaded into {target.url}, but the rows that are there now could not be "
                f"counted: {one_line(error)}; look at it before you use it, or prove the backup: dumpty drill",
                plugin=str(driver),
                hook="inspect",
            ) from error
    comparison = None if found is None else compare_evidence(expected=record.evidence, found=found)
    differences = [d for d in comparison.differences if d.kind in {"missing", "rows"}] if comparison else []
    if differences:
        doubt = " Where somebody else writes to it already, that may be their doing: look." if asked else ""
        raise IntegrityError(
            f"{target.url} was restored, and what is there now is not what was backed up: "
            f"{summarize_differences(differences)}. What it held before is gone: do not use it as it is, prove backup "
            f"{record.id} (dumpty drill), and restore that or another one again.{doubt}"
        )


def require_same_database(
    record: Record, target: Source, inspection: Inspection, driver: Plugin, way: Way | None
) -> None:
    """Check that a target is the database that a backup is of.

    Raises:
        OtherDatabase: it is not.
    """
    identity, _ = identity_and_name(driver, target, inspection, record.format, way)
    # Of a server that was built anew, or is reached by another account, the driver may know another identity.
    remote = target.host or target.query.get("host") or target.query.get("unix_socket")
    # What is behind a way has the URLs of what is on this machine: there the way decides, too.
    same_url = way is None and not is_reached(record.identity) and subject_url(driver, target, record.format)
    if identity == record.identity or (remote and same_url == record.url):
        return
    raise OtherDatabase(
        f"the target {target.url} is not empty, and is not the database that backup {record.id} is of: that is "
        f"{record.database} ({record.identity}), the target is {identity}. Nothing was restored; to replace what it "
        "holds by a backup of another database, insist: --other"
    )


def load(
    host: Host, driver: Plugin, target: Source, dump: StoredDump, *, overwrite: bool, options: Options
) -> Evidence:
    """Let the driver load a dump, to its end, and return what it says of it.

    Raises:
        IntegrityError: the driver stopped before the dump's verified end.
    """
    evidence = host.restore(driver, target=target, dump=dump, overwrite=overwrite, options=options)
    require_read(driver, dump)
    return evidence


def require_read(driver: Plugin, dump: StoredDump) -> None:
    """Check that a driver which has returned read all of a dump that it was given.

    Raises:
        IntegrityError: it stopped early, and may have loaded part of the dump: that is no restore.
    """
    if not dump.read_to_end:
        raise IntegrityError(f"{driver} said it restored {dump.file}, but did not read it to its end")


def require_not_refused(call: Call, driver: Plugin, target: Source) -> None:
    """Check that a driver which has returned was not told, at its commit point, to complete nothing.

    Raises:
        PluginError: it was, and kept that to itself.
    """
    if call.refused:
        current_interruption().check_signal()
        raise PluginError(
            f"{driver} was told at its commit point to complete nothing, and said that it had restored {target.url}: "
            "look at what is there before you use it, and tell its authors",
            plugin=str(driver),
            hook="restore",
        )


def stored_of(host: Host, record: Record, identities: Sequence[Identity] = ()) -> Stored:
    """Return a backup's dump as it is stored; ``identities`` open it where it is encrypted.

    Raises:
        PluginNotFound: a plugin that it went through is not installed.
    """
    for verifier in record.verifiers:
        require_plugin(host, "verifier", verifier, record)
    return Stored(
        format=Format(name=record.format, suffix=record.suffix, directory=record.directory),
        parts=tuple(_stored_part(host, record, entry, identities) for entry in record.objects),
        evidence=drop_masked_properties(record.evidence),
    )


def _stored_part(host: Host, record: Record, entry: StoredObject, identities: Sequence[Identity]) -> StoredPart:
    stages = stages_of(host, record, entry, identities)
    ending = entry.name.removesuffix("".join(stage.plugin.described.suffix for stage in stages))
    of_part = _PART.search(ending)
    return StoredPart(
        file=entry.name,
        suffix=record.suffix if of_part is None else of_part[1],
        plain_size=entry.plain_size,
        plain_sha256=entry.plain_sha256,
        stored_size=entry.size,
        stored_sha256=entry.sha256,
        stages=stages,
        digests=entry.digests,
        section=entry.section,
        tables=entry.tables,
        directory=record.directory,
    )


def driver_of(host: Host, record: Record) -> Plugin:
    """Return the driver that made a backup.

    Raises:
        PluginNotFound: it is not installed.
    """
    return require_plugin(host, "driver", record.driver, record)


def driver_for(host: Host, target: Source, record: Record) -> Plugin:
    """Return the driver of a target, which must be the one that made the backup.

    Raises:
        PluginNotFound: it is not installed.
        SourceError: it is another one.
    """
    try:
        driver = host.driver(target.scheme)
    except PluginNotFound:
        driver_of(host, record)
        raise
    if driver.name != record.driver.name:
        text = f"backup {record.id} was made by {record.driver}, and {target.scheme} URLs belong to {driver}; "
        raise SourceError(text + "a dump goes back only into a database of its own kind")
    return driver
