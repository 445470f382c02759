"""Which tables of a database are asked for, and what each needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import OptionError, SourceError
from dumpty_plugins.sqlite.schema.checks import folded, path_of
from dumpty_plugins.sqlite.schema.definitions import Table, has_autoincrement, table_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from dumpty_plugins.sqlite.tables.catalog import Catalog, Entry

_SHOWN = 5
_NOT_ALONE = {
    "view": "is a view, which has no rows: take its definition from the whole backup, restored into a new database",
    "virtual": "is a virtual table, whose rows its module keeps in other tables",
    "shadow": "belongs to a virtual table, whose module alone can read it",
}


@dataclass(frozen=True)
class Selected:
    """A table that is to be restored.

    ``path`` is its path in the backup, ``old`` its name there, ``new`` the one that it is to have. ``parents`` are the
    tables that its foreign keys refer to, by their names in the backup. ``numbered`` says that it has AUTOINCREMENT.
    """

    path: str
    new: str
    table: Table
    parents: tuple[str, ...]
    numbered: bool

    @property
    def old(self) -> str:
        """Its name in the backup."""
        return self.table.name


def new_name(path: str, name: str) -> str:
    """Return the name that a table of the backup is to have in the target.

    Raises:
        OptionError: SQLite takes no such name.
    """
    if name == path == path_of(""):
        return ""
    if "\0" in name or folded(name).startswith("sqlite_") or name != name.encode("utf-8", "replace").decode():
        raise OptionError(f"SQLite has no table called {name!r}: give {path} another name, --table {path}=NEW")
    return name


def select(database: sqlite3.Connection, catalog: Catalog, tables: Mapping[str, str]) -> tuple[Selected, ...]:
    """Find tables of the database that a dump was loaded into, by their paths, with the names they are to have.

    Raises:
        SourceError: it has no such table, or one that cannot be restored alone.
        OptionError: SQLite takes no such name.
    """
    return tuple(_select(database, catalog, path, new_name(path, name)) for path, name in tables.items())


def _select(database: sqlite3.Connection, catalog: Catalog, path: str, new: str) -> Selected:
    entry = _find(catalog, path)
    kind = catalog.kinds.get(folded(entry.name), entry.kind)
    if kind in _NOT_ALONE:
        raise SourceError(
            f"{path} {_NOT_ALONE[kind]}; it cannot be restored alone: restore all of the backup into a new database"
        )
    if not all(e.exact for e in catalog.of_tables({folded(entry.name)})):
        raise SourceError(
            f"what defines {path} is not valid Unicode, so it cannot be restored alone: restore all of the backup into"
            " a new database"
        )
    try:
        table = table_of(database, entry.name, folded(entry.name) in catalog.without_rowid)
    except SourceError as error:
        raise SourceError(
            f"{path} has the most columns that SQLite allows, so its rows cannot be copied with their numbers: restore"
            " all of the backup into a new database"
        ) from error
    parents = database.execute('SELECT DISTINCT "table" FROM pragma_foreign_key_list(?)', (entry.name,)).fetchall()
    return Selected(
        path=path,
        new=entry.name if new == path else new,
        table=table,
        parents=tuple(parent.decode("utf-8", "backslashreplace") for (parent,) in parents),
        numbered=has_autoincrement(entry.sql),
    )


def _find(catalog: Catalog, path: str) -> Entry:
    tables = [e for e in catalog.entries if e.kind in ("table", "view") and not folded(e.name).startswith("sqlite_")]
    for matches in (lambda e: path_of(e.name) == path, lambda e: folded(path_of(e.name)) == folded(path)):
        if entry := next(filter(matches, tables), None):
            return entry
    raise SourceError(
        f"the backup holds no table {path}; it has {_listed(e.name for e in tables if e.kind == 'table')}"
    )


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return f"{', '.join(ordered[:_SHOWN])}{more}" if ordered else "none"
