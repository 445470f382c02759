"""Restores of single tables: beside what a database holds, in one transaction; or into a new one, put in its place."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty import Evidence, SourceError, commit_point, require_same_evidence
from dumpty_plugins.postgres.loading.archive import ArchiveLoader
from dumpty_plugins.postgres.loading.optional_parts import Parts
from dumpty_plugins.postgres.loading.swap import ReplacementDatabase, may_create
from dumpty_plugins.postgres.loading.tables import TableLoader, names_of
from dumpty_plugins.postgres.server.connection import psycopg2, rows
from dumpty_plugins.postgres.server.errors import commit_restore, translate_errors
from dumpty_plugins.postgres.server.remote_programs import remote_of
from dumpty_plugins.postgres.server.target import database_name, open_maintenance, open_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Dump, Options
    from dumpty_plugins.postgres.loading.table_statements import Name
    from dumpty_plugins.postgres.server.connection import Address

__all__ = ["restore_tables"]


def restore_tables(
    address: Address, dump: Dump, tables: Mapping[str, str], *, overwrite: bool, options: Options
) -> Evidence:
    """Restore tables of ``dump`` into ``address``, and return what was counted in them, by their paths in the dump.

    Raises:
        CommandError: pg_restore is missing, too old, or failed.
        DependencyError: psycopg2 is not installed.
        IntegrityError: the dump is cut off, or what it gave is not what the backup's evidence says.
        Locked: somebody uses a table that is to be replaced.
        SourceError: the server cannot be reached, refuses, or lacks what the tables need.
        TargetNotEmpty: the database has a table of such a name, and ``overwrite`` is False.
    """
    psycopg2()
    names = names_of(tables, dump.evidence)
    target = open_target(address)
    if target is None:
        return _into_new_database(address, dump, names, options)
    with closing(target), translate_errors(address, "restoring tables into"):
        address = address.pinned(target)
        rows(target, "BEGIN")
        evidence = _load(address, target, dump, names, overwrite=overwrite, options=options)
        commit_point()
        commit_restore(address, target)
    return evidence


def _into_new_database(address: Address, dump: Dump, names: Mapping[str, Name], options: Options) -> Evidence:
    name = database_name(address)
    missing = f"the database {name} of {address.label} does not exist"
    server = open_maintenance(address)
    if server is None:
        raise SourceError(f"{missing}, and this user can connect to none in which it could be created")
    with closing(server), translate_errors(address, "restoring tables into"):
        if not may_create(server, name):
            raise SourceError(f"{missing}, and this user may not create it")
        with ReplacementDatabase(address, server, name, exists=False, parts=Parts.of(options)) as replacement:
            replacement.create(dump.evidence.properties)
            new_address = address.for_database(replacement.name)
            with closing(new_address.connect()) as connection:
                rows(connection, "BEGIN")
                evidence = _load(new_address, connection, dump, names, overwrite=False, options=options)
                rows(connection, "COMMIT")
            notes = replacement.swap()
    return replace(evidence, notes=(*evidence.notes, *notes))


def _load(
    address: Address,
    connection: Connection,
    dump: Dump,
    names: Mapping[str, Name],
    *,
    overwrite: bool,
    options: Options,
) -> Evidence:
    """Load and count in the transaction that ``connection`` is in."""
    parts = Parts.of(options)
    loader = TableLoader(address, connection, names, options, parts)
    loader.make_room(overwrite=overwrite)
    if dump.format == "sql":
        loader.load_plain(dump)
    else:
        remote = remote_of(address.source, options)
        loader.load_archive(ArchiveLoader(address, dump, options, parts, None, remote))
    expected = dump.evidence
    evidence = loader.count(expected)
    advice = "the target was left as it was; restore another backup"
    require_same_evidence(expected=expected, found=evidence, subject="what was loaded", advice=advice)
    return evidence
