"""The statements that make the selected tables again, under their new names.

A definition is renamed by SQLite, in a database in memory: ``ALTER TABLE … RENAME`` finds a table's name in CHECKs,
foreign keys, indexes and triggers, wherever it stands for that table and nowhere else. The names of indexes and
triggers, which it keeps, belong to the whole database: where one is taken, its token alone is replaced.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dumpty import IntegrityError, SourceError
from dumpty_plugins.sqlite.schema.checks import folded, identifier
from dumpty_plugins.sqlite.schema.guard import Guard
from dumpty_plugins.sqlite.tables.catalog import Catalog, Entry, read_catalog

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from dumpty_plugins.sqlite.tables.selection import Selected

_NAME = r"""(?:"(?:[^"]|"")*"|'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^]]*\]|[\w$\x80-\U0010ffff]+)"""
_BEGINNINGS = {
    "table": re.compile(rf"(CREATE TABLE ){_NAME}"),
    "index": re.compile(rf"(CREATE (?:UNIQUE )?INDEX ){_NAME}"),
    "trigger": re.compile(rf"(CREATE TRIGGER ){_NAME}"),
}
"""How SQLite itself begins what it keeps of a definition, whatever had been written."""

_TOKEN = re.compile(rf"--[^\n]*|/\*.*?\*/|({_NAME})", re.DOTALL)
_TEMPORARY = "dumpty table {}"
_LEAVE_OUT = "leave triggers out: -o triggers=off"


@dataclass(frozen=True)
class Definitions:
    """What makes the tables, in the order of ``tables``, ``indexes``, ``triggers``; ``notes`` say what differs."""

    tables: tuple[Entry, ...]
    indexes: tuple[Entry, ...]
    triggers: tuple[Entry, ...]
    notes: tuple[str, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All of them."""
        return (*self.tables, *self.indexes, *self.triggers)


def define(database: sqlite3.Connection, sql: str) -> None:
    """Run a statement that comes from a dump, which may do nothing beyond the database that it is for.

    Raises:
        IntegrityError: it asks for more.
        sqlite3.Error: it fails.
    """
    guard = Guard(database)
    try:
        database.execute(sql)
    except (sqlite3.Error, sqlite3.Warning) as error:
        if guard.refusal:
            raise IntegrityError(f"the dump was refused: {guard.refusal}") from error
        raise
    finally:
        database.set_authorizer(None)


def read_definitions(
    catalog: Catalog, selection: Sequence[Selected], kept: Iterable[Entry], *, triggers: bool
) -> Definitions:
    """Return what makes the tables of a selection in a target.

    Args:
        catalog: of the database that the dump was loaded into.
        selection: the tables.
        kept: what the target keeps: names that are taken.
        triggers: False to leave them out.

    Raises:
        SourceError: the tables, or their triggers, cannot be renamed.
        IntegrityError: the definitions are not what SQLite makes of any.
    """
    all_entries = [e for e in catalog.of_tables({folded(s.old) for s in selection}) if e.sql]
    for entry in all_entries:
        if entry.kind not in _BEGINNINGS or not _BEGINNINGS[entry.kind].match(entry.sql):
            raise IntegrityError(f"the definition of {entry.name!r} in the dump is none that SQLite makes")
    entries = [e for e in all_entries if triggers or e.kind != "trigger"]
    entries, notes = _with_free_names(catalog, selection, entries, kept)
    if left_out := [e.name for e in all_entries if e.kind == "trigger" and not triggers]:
        notes.append(f"triggers were left out, as was asked for: {', '.join(left_out)}")
    if any(s.new != s.old for s in selection):
        entries = _renamed(catalog, selection, entries)
    by_kind = {kind: tuple(e for e in entries if e.kind == kind) for kind in _BEGINNINGS}
    if sorted(e.name for e in by_kind["table"]) != sorted(s.new for s in selection):
        raise IntegrityError("the definitions of the tables in the dump are not one for each of them")
    return Definitions(
        tables=by_kind["table"], indexes=by_kind["index"], triggers=by_kind["trigger"], notes=tuple(notes)
    )


def _with_free_names(
    catalog: Catalog, selection: Sequence[Selected], entries: Iterable[Entry], kept: Iterable[Entry]
) -> tuple[list[Entry], list[str]]:
    """Give each index and trigger whose name is taken in the target another one."""
    kept, new_names = tuple(kept), {folded(s.old): s.new for s in selection}
    taken = {
        "index": {folded(e.name) for e in kept if e.kind != "trigger"} | {folded(s.new) for s in selection},
        "trigger": {folded(e.name) for e in kept if e.kind == "trigger"},
    }
    in_dump = {folded(e.name) for e in catalog.entries}
    named, notes = [], []
    for entry in entries:
        name = entry.name
        if entry.kind in taken:
            name = _free_name(entry.name, new_names[folded(entry.table)], taken[entry.kind], in_dump)
            taken[entry.kind].add(folded(name))
        if name != entry.name:
            notes.append(f"the {entry.kind} {entry.name} is called {name} here, for that name is taken")
        named.append(_with_name(entry, name))
    return named, notes


def _with_name(entry: Entry, name: str) -> Entry:
    if name == entry.name:
        return entry
    match = _BEGINNINGS[entry.kind].match(entry.sql)
    assert match is not None  # noqa: S101 - all definitions were matched before
    return replace(entry, name=name, sql=match[1] + identifier(name) + entry.sql[match.end() :])


def _free_name(name: str, table: str, taken: Collection[str], in_dump: Collection[str]) -> str:
    if folded(name) not in taken:
        return name
    candidate, number = f"{name}_{table}", 1
    while folded(candidate) in taken or folded(candidate) in in_dump:
        number += 1
        candidate = f"{name}_{table}_{number}"
    return candidate


def _renamed(catalog: Catalog, selection: Sequence[Selected], entries: Sequence[Entry]) -> list[Entry]:
    """Let SQLite rename the tables of a selection, in memory and without rows."""
    olds, news = {folded(s.old) for s in selection}, {folded(s.new) for s in selection}
    captured = {name for name in catalog.kinds if name in news and name not in olds}
    for entry in entries:
        if entry.kind == "trigger" and (names := captured & mentioned(entry.sql)):
            raise SourceError(
                f"the trigger {entry.name} of {entry.table} mentions {min(names)}, and another table is to have that"
                f" name: give it another one, or {_LEAVE_OUT}"
            )
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)) as model:
        model.text_factory = bytes
        model.execute("PRAGMA legacy_alter_table=OFF")
        _make(model, [e for e in entries if e.kind == "table"])
        others = _reached(catalog, [e.sql for e in entries if e.kind == "trigger"], without=olds | captured)
        # Last the shadow tables, most of which their virtual tables make.
        _surround(model, sorted(others, key=lambda e: catalog.kinds.get(folded(e.name)) == "shadow"))
        _make(model, [e for e in entries if e.kind != "table"])
        changed = [s for s in selection if s.new != s.old]
        try:
            for number, s in enumerate(changed):  # in two steps: two tables may exchange their names
                _rename(model, s.old, _TEMPORARY.format(number))
            for number, s in enumerate(changed):
                _rename(model, _TEMPORARY.format(number), s.new)
        except sqlite3.Error as error:
            text = " ".join(str(error).split())
            advice = f"keep its name, or {_LEAVE_OUT}"
            raise SourceError(f"SQLite cannot rename {s.old} to {s.new}: {text}; {advice}") from error
        return [e for e in read_catalog(model).of_tables(news) if e.sql]


def _rename(model: sqlite3.Connection, old: str, new: str) -> None:
    model.execute(f"ALTER TABLE {identifier(old)} RENAME TO {identifier(new)}")


def _reached(catalog: Catalog, statements: Sequence[str], *, without: set[str]) -> list[Entry]:
    """Return the tables and views that statements mention, and those that these views mention."""
    tables = {folded(e.name): e for e in catalog.entries if e.kind in ("table", "view") and e.exact}
    reached: dict[str, Entry] = {}
    names = set().union(*map(mentioned, statements))
    while names := {name for name in names if name in tables and name not in reached and name not in without}:
        reached |= {name: tables[name] for name in names}
        names = set().union(*(mentioned(tables[name].sql) for name in names if tables[name].kind == "view"))
    return [entry for name, entry in tables.items() if name in reached]


def mentioned(sql: str) -> set[str]:
    """Return every name in a statement, folded, and every text, which may stand for one."""
    tokens = (match[1] for match in _TOKEN.finditer(sql) if match[1])
    return {folded(_unquoted(token)) for token in tokens}


def _unquoted(token: str) -> str:
    quote = token[0]
    if quote == "[":
        return token[1:-1]
    return token[1:-1].replace(quote * 2, quote) if quote in "\"'`" else token


def _make(model: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    for entry in entries:
        try:
            define(model, entry.sql)
        except (sqlite3.Error, sqlite3.Warning) as error:
            text = " ".join(str(error).split())
            raise SourceError(
                f"the {entry.kind} {entry.name} of the backup cannot be made here: {text}; restore all of the backup"
                " into a new database"
            ) from error


def _surround(model: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    """Make the other tables and views, which triggers may mention. Of one that is missing then SQLite says so."""
    for entry in entries:
        if entry.sql.startswith("CREATE "):
            with contextlib.suppress(sqlite3.Error, sqlite3.Warning, IntegrityError):
                define(model, entry.sql)
    views = [e.name for e in entries if e.kind == "view"]
    while broken := [name for name in views if _is_broken(model, name)]:  # what a view reads may be a view, too
        for name in broken:
            with contextlib.suppress(sqlite3.OperationalError):
                model.execute(f"DROP VIEW IF EXISTS {identifier(name)}")
        views = [name for name in views if name not in broken]


def _is_broken(model: sqlite3.Connection, view: str) -> bool:
    try:
        model.execute(f"EXPLAIN SELECT * FROM {identifier(view)}").fetchall()  # noqa: S608 - a quoted identifier
    except sqlite3.Error as error:
        return "no such function" not in str(error)  # renaming asks for none
    return False
