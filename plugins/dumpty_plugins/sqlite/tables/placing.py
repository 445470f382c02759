"""Tables of a scratch database put into a target, inside one transaction of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import structs

from dumpty import Evidence, IntegrityError, require_same_evidence
from dumpty_plugins.sqlite.schema import checks
from dumpty_plugins.sqlite.schema.checks import folded, identifier, path_of
from dumpty_plugins.sqlite.tables.catalog import Catalog, read_catalog
from dumpty_plugins.sqlite.tables.conflicts import require_free, require_parents
from dumpty_plugins.sqlite.tables.definitions import Definitions, define, mentioned, read_definitions
from dumpty_plugins.sqlite.tables.references import Children, rehearse, require_references
from dumpty_plugins.sqlite.tables.rows import attach, copy_rows, copy_sequence, encoding_of, recode
from dumpty_plugins.sqlite.tables.selection import select

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence

    from dumpty import ObjectEvidence
    from dumpty_plugins.sqlite.tables.selection import Selected


@dataclass(frozen=True)
class Request:
    """What is asked for.

    ``target`` is what messages call the target, ``tables`` the new names by paths in the backup, ``expected`` what was
    recorded of these tables; ``check`` has SQLite check the new tables.
    """

    target: str
    tables: Mapping[str, str]
    expected: Evidence
    overwrite: bool
    triggers: bool
    check: bool


@dataclass(frozen=True)
class Scratch:
    """The database that the dump was loaded into: a connection that only reads, its path, and a free path beside it.

    ``tables`` are those whose rows it has, by their ``folded`` names; None for all.
    """

    database: sqlite3.Connection
    path: str
    recoded_path: str
    tables: frozenset[str] | None


def put_tables(database: sqlite3.Connection, scratch: Scratch, request: Request) -> Evidence:
    """Make the tables in ``database``, which holds a write transaction, and prove them; nothing is committed.

    Raises:
        TargetNotEmpty: one of them is there.
        SourceError: they need what the target does not have, or cannot be restored alone.
        IntegrityError: they are not what was backed up.
    """
    source_catalog, before = read_catalog(scratch.database), read_catalog(database)
    selection = select(scratch.database, source_catalog, request.tables)
    loaded = scratch.tables
    if missing := [s.path for s in selection if loaded is not None and folded(path_of(s.old)) not in loaded]:
        raise IntegrityError(
            f"no part of the dump says that it holds rows of {', '.join(missing)}, so it cannot be restored alone:"
            " restore all of the backup into a new database"
        )
    names = {s.path: s.new for s in selection}
    replaced = require_free(request.target, before, names, overwrite=request.overwrite)
    require_parents(request.target, before, source_catalog, selection)
    gone = {folded(name) for name in replaced}
    kept = [e for e in before.entries if folded(e.table) not in gone]
    definitions = read_definitions(source_catalog, selection, kept, triggers=request.triggers)
    children = Children(database, before, replaced)
    for name in replaced:
        database.execute(f"DROP TABLE main.{identifier(name)}")
    rehearse(request.target, database, definitions, selection)
    _attach(database, scratch, source_catalog, selection)
    _make(database, scratch, definitions, selection)
    _require_catalog(before, read_catalog(database), definitions, {folded(s.new) for s in selection} | gone)
    require_references(request.target, database, scratch.database, selection, scratch.tables)
    children.require_kept(request.target)
    objects = _count(database, scratch, selection, request)
    notes = (*definitions.notes, *_notes_of_virtual_tables(before, gone))
    return Evidence(objects=objects, versions=checks.versions(), notes=notes)


def _notes_of_virtual_tables(catalog: Catalog, replaced: Collection[str]) -> list[str]:
    """Name those that may be an index of a table which was replaced: SQLite does not know that they are."""
    virtual = [e for e in catalog.entries if e.kind == "table" and catalog.kinds.get(folded(e.name)) == "virtual"]
    notes = []
    for entry in virtual:
        if mentioned(entry.sql) & set(replaced):
            name = identifier(entry.name)
            rebuild = f"INSERT INTO {name}({name}) VALUES ('rebuild')"  # noqa: S608 - shown, not run
            text = f"the virtual table {entry.name} mentions a table that was replaced: if it is an index of that"
            notes.append(f"{text}, rebuild it (FTS5: {rebuild})")
    return notes


def _attach(database: sqlite3.Connection, scratch: Scratch, catalog: Catalog, selection: Sequence[Selected]) -> None:
    encoding, path = encoding_of(database), scratch.path
    if encoding_of(scratch.database) != encoding:
        path = scratch.recoded_path
        recode(scratch.database, catalog, selection, encoding, path)
    attach(database, path)


def _make(
    database: sqlite3.Connection, scratch: Scratch, definitions: Definitions, selection: Sequence[Selected]
) -> None:
    # Last the triggers: none fires while rows come.
    for entry in definitions.tables:
        define(database, entry.sql)
    for s in selection:
        copy_rows(database, s)
        if s.numbered:
            copy_sequence(database, scratch.database, s)
    for entry in (*definitions.indexes, *definitions.triggers):
        define(database, entry.sql)


def _require_catalog(before: Catalog, after: Catalog, definitions: Definitions, tables: Collection[str]) -> None:
    """Check that the target defines what it did, and these tables as they are to be: a dump's text may say anything."""

    def others(catalog: Catalog) -> set[object]:
        return {
            e for e in catalog.entries if folded(e.table) not in tables and not folded(e.name).startswith("sqlite_")
        }

    made = {e for e in after.of_tables(tables) if e.sql}
    if made != set(definitions.entries) or others(before) != others(after):
        raise IntegrityError(
            "the definitions in the dump make something else than the tables that they are of: do not trust this backup"
        )


def _count(
    database: sqlite3.Connection, scratch: Scratch, selection: Sequence[Selected], request: Request
) -> tuple[ObjectEvidence, ...]:
    """Count the rows of the new tables, and compare them with the scratch's, and with what is recorded."""
    recorded = {entry.path: entry for entry in request.expected.objects if entry.path in request.tables}
    same_encoding = encoding_of(database) == encoding_of(scratch.database)
    counted, loaded = [], []
    for s in selection:
        checked = request.check and checks.is_checked_alone(s.new)  # other tables here are nobody's business
        if checked and (damage := checks.damage_of_table(database, s.new)):
            raise IntegrityError(f"the restored table {s.new} is corrupt: {damage}")
        fingerprinted = s.path in recorded and recorded[s.path].fingerprint is not None
        # A fingerprint is of text as it is stored: in another encoding it is another one.
        in_scratch = checks.count_table(scratch.database, s.old, fingerprinted=fingerprinted and not same_encoding)
        in_target = checks.count_table(database, s.new, fingerprinted=fingerprinted and same_encoding)
        loaded.append(structs.replace(in_scratch, path=s.path))
        counted.append(structs.replace(in_target, path=s.path))
    expected = structs.replace(request.expected, objects=tuple(recorded.values()))
    for found, subject in ((loaded, "the database of the dump"), (counted, "what was restored")):
        require_same_evidence(expected=expected, found=Evidence(objects=tuple(found)), subject=subject)
    require_same_evidence(
        expected=Evidence(objects=tuple(loaded)), found=Evidence(objects=tuple(counted)), subject="what was restored"
    )
    return tuple(counted)
