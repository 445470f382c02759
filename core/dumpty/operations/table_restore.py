"""Some tables of a backup back into a database, beside what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dumpty.errors import IntegrityError, RestoreNotSupported
from dumpty.operations.reach import reached, read_way
from dumpty.operations.restore import (
    blamed,
    check_before,
    driver_for,
    log_notes,
    require_new,
    require_not_refused,
    require_read,
    require_same_database,
    stored_of,
)
from dumpty.operations.subjects import inspect_subject, require_subject, require_tables_of
from dumpty.operations.tables import select_tables, stored_of_tables
from dumpty.process.interruption import current_interruption
from dumpty.streaming.stored_dump import StoredDump
from dumpty.toolkit.evidence import compare_evidence, summarize_differences
from dumpty.types import Phase
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dumpty.process.call import Call
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.streaming.reporter import Reporter
    from dumpty.types import Evidence, Identity, ObjectSource, Record, Source

__all__ = ["restore_tables"]


def restore_tables(
    host: Host,
    repository: ObjectSource,
    record: Record,
    target_url: str,
    tables: Sequence[tuple[str, str]],
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
    """Restore some tables of a backup into the database behind a URL; the arguments are those of ``restore``.

    ``tables`` are as from ``read_tables``. Of a backup of several objects only those are read that hold any of them.

    Raises:
        IntegrityError: what was loaded is not what was backed up; or as below.
        DumptyError: it was refused or failed, and the target is as it was.
    """
    target = parse_url(target_url)
    driver, selected = _selected(host, target, record, tables)
    options = host.options({"restore_tables": driver, "inspect": driver}, overrides)
    stored, way = stored_of_tables(stored_of(host, record, identities), selected), read_way(host, via)
    with reached(driver, target, way) as near:
        reporter.begin(Phase.INSPECTING)
        inspection = inspect_subject(host, driver, near, options["inspect"], record.format)
        require_new(target, inspection, create=create)
        if overwrite and not (inspection.empty or other):
            require_same_database(record, target, inspection, driver, way)
        if check_first:
            check_before(host, repository, stored, reporter)
        call.on_commit = lambda: reporter.begin(Phase.COMMITTING)
        reporter.begin(Phase.LOADING, bytes_total=stored.plain_size)
        dump = StoredDump(host, repository, stored, reporter, checked=check_first)
        with dump, blamed(host, repository, dump, stored):
            given: dict[str, Any] = {"dump": dump, "tables": selected, "options": options["restore_tables"]}
            loaded = host.restore_tables(driver, target=near, overwrite=overwrite, **given)
            require_read(driver, dump)
            call.settle()
        require_not_refused(call, driver, target)
        log_notes(target, loaded)
        _require_same(dump.evidence, loaded, target.url, record.id)
    current_interruption().check()


def _selected(
    host: Host, target: Source, record: Record, tables: Sequence[tuple[str, str]]
) -> tuple[Plugin, dict[str, str]]:
    """Return the driver, and the tables that are meant, each with the name that it is to have."""
    driver = driver_for(host, target, record)
    require_subject(driver, record)
    require_tables_of(driver, record)
    if not host.can(driver, "restore_tables"):
        raise RestoreNotSupported(
            f"{driver} implements no restore of single tables; restore the whole backup into a new database, and take "
            "them from there",
            plugin=str(driver),
            hook="restore_tables",
        )
    return driver, select_tables(record.evidence, tables, record.id)


def _require_same(expected: Evidence, loaded: Evidence, target_url: str, backup_id: str) -> None:
    """Compare what a driver counted in the tables while it loaded them with what the backup says of them."""
    differences = compare_evidence(expected=expected, found=loaded).differences
    if expected.objects and differences:  # else nobody could count what was dumped
        raise IntegrityError(
            f"tables were restored into {target_url}, and are not what was backed up: "
            f"{summarize_differences(differences)}. Do not use them as they are; prove backup {backup_id} (dumpty "
            "drill), and restore them from that or another one again"
        )
