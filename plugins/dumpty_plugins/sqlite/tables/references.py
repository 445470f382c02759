"""What tables refer to, and what refers to them: foreign keys, and what triggers do."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING

from dumpty import SourceError
from dumpty_plugins.sqlite.schema.checks import folded, identifier, path_of
from dumpty_plugins.sqlite.tables.definitions import define

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from dumpty_plugins.sqlite.tables.catalog import Catalog, Entry
    from dumpty_plugins.sqlite.tables.definitions import Definitions
    from dumpty_plugins.sqlite.tables.selection import Selected

Dangling = Counter[tuple[int | None, int]]
"""Rows (by their number; None in a table WITHOUT ROWID) and the foreign keys by which they refer to nothing."""

_MISSING = re.compile(r"(no such collation sequence|no such function): (.+)")


def dangling(database: sqlite3.Connection, table: str, keys: Collection[int] | None = None) -> Dangling | None:
    """Return which rows of a table refer to nothing, by the foreign keys ``keys``, or by any.

    None where a foreign key refers to columns that are no key of their table, so that nobody can tell.
    """
    try:
        return Counter(row for row in _references(database, table) if keys is None or row[1] in keys)
    except sqlite3.OperationalError as error:
        if "foreign key mismatch" not in str(error):
            raise
        return None


def _references(database: sqlite3.Connection, table: str) -> Iterator[tuple[int | None, int]]:
    yield from database.execute("SELECT rowid, fkid FROM pragma_foreign_key_check(?, 'main')", (table,))


class Children:
    """The tables of a target, other than those that are made, that refer to tables which are replaced.

    Args:
        database: the target.
        catalog: what it holds.
        replaced: the names of the tables that are to be replaced.
    """

    def __init__(self, database: sqlite3.Connection, catalog: Catalog, replaced: Iterable[str]) -> None:
        self._database = database
        parents = {folded(name) for name in replaced}
        self._before: dict[str, tuple[Collection[int], Dangling | None]] = {}
        names = [e.name for e in catalog.entries if e.kind == "table" and e.exact and folded(e.name) not in parents]
        for name in names if parents else ():
            keys = database.execute('SELECT id, "table" FROM pragma_foreign_key_list(?)', (name,)).fetchall()
            ids = {key for key, parent in keys if folded(parent.decode("utf-8", "backslashreplace")) in parents}
            if ids:
                self._before[name] = ids, dangling(database, name, ids)

    def require_kept(self, target: str) -> None:
        """Check that all their rows refer to what they referred to.

        Raises:
            SourceError: some refer to nothing now.
        """
        for name, (keys, before) in self._before.items():
            after = dangling(self._database, name, keys)
            if before is None:
                continue
            if after is None:
                text = f"foreign keys of {name}, which is not restored, would refer to columns that are no key"
            elif lost := sum((after - before).values()):
                text = f"{_rows(lost)} of {name}, which is not restored, would refer to nothing any more"
            else:
                continue
            raise SourceError(
                f"{text}; nothing was restored, and {target} is as it was: restore under another name (--table OLD=NEW)"
                f", or restore {name}, too"
            )


def require_references(
    target: str,
    database: sqlite3.Connection,
    scratch: sqlite3.Connection,
    selection: Iterable[Selected],
    loaded: Collection[str] | None,
) -> None:
    """Check that the rows which were restored refer to nothing only where they did so in the backup.

    Where ``scratch`` has the rows of the tables ``loaded`` alone, nobody can tell what they referred to in its others:
    there all of them have to refer to something.

    Raises:
        SourceError: some refer to what the target does not have.
    """
    for s in selection:
        known = None if loaded is None else _keys_into(scratch, s.old, loaded)
        if not s.parents or (before := dangling(scratch, s.old, known)) is None:
            continue
        after = dangling(database, s.new)
        if after is None:
            text = f"{s.path} refers by a foreign key to columns that are no key in {target}"
        elif lost := sum((after - before).values()):
            text = f"{_rows(lost)} of {s.path} would refer by foreign keys to what {target} does not have"
        else:
            continue
        already = "" if known is None else "; so, too, where they referred to nothing in the backup already"
        raise SourceError(
            f"{text}; nothing was restored: restore what they refer to as well, under another name where the target has"
            f" it (--table {s.path}={s.path}_before,OTHER=OTHER_before){already}"
        )


def _keys_into(database: sqlite3.Connection, table: str, loaded: Collection[str]) -> set[int]:
    """Return the foreign keys of a table that lead into tables which are ``loaded``, or into none that there is."""
    there = "EXISTS (SELECT 1 FROM sqlite_schema s WHERE s.type = 'table' AND s.name = f.\"table\" COLLATE NOCASE)"
    keys = database.execute(f'SELECT id, "table", {there} FROM pragma_foreign_key_list(?) f', (table,)).fetchall()  # noqa: S608
    texts = ((key, parent.decode("utf-8", "backslashreplace"), exists) for key, parent, exists in keys)
    return {key for key, parent, exists in texts if not exists or folded(path_of(parent)) in loaded}


def _rows(count: int) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")


def rehearse(
    target: str, database: sqlite3.Connection, definitions: Definitions, selection: Iterable[Selected]
) -> None:
    """Make everything without rows, see whether each trigger finds what it needs, and take it all back.

    Nothing is executed: SQLite compiles the statements that would fire them.

    Raises:
        SourceError: a trigger, or a definition, needs what the target does not have; the text names it.
    """
    tables = {folded(s.new): s for s in selection}
    database.execute("SAVEPOINT rehearsal")
    for entry in (*definitions.tables, *definitions.indexes):
        _make(database, entry)
    for entry in definitions.triggers:
        _make(database, entry)
        _require_compiled(target, database, entry, tables[folded(entry.table)])
        database.execute(f"DROP TRIGGER main.{identifier(entry.name)}")
    database.execute("ROLLBACK TO rehearsal")
    database.execute("RELEASE rehearsal")


def _make(database: sqlite3.Connection, entry: Entry) -> None:
    try:
        define(database, entry.sql)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_ERROR:
            raise
        raise SourceError(
            f"the {entry.kind} {entry.name} of the backup cannot be made here ({_text(error)}), so {entry.table} cannot"
            " be restored alone: restore all of the backup into a new database"
        ) from error


def _require_compiled(target: str, database: sqlite3.Connection, trigger: Entry, selected: Selected) -> None:
    name = f"main.{identifier(selected.new)}"
    columns = ",".join(f"{identifier(c)}={identifier(c)}" for c in selected.table.columns)
    # What only the application has is there when it works with the table. Nothing is run, so nothing needs distrust.
    functions: list[str] = []
    collations: list[str] = []
    database.execute("PRAGMA trusted_schema=ON")
    try:
        for statement in (f"INSERT INTO {name} DEFAULT VALUES", f"DELETE FROM {name}", f"UPDATE {name} SET {columns}"):  # noqa: S608
            _compile(database, statement, functions, collations)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_ERROR:
            raise
        raise SourceError(
            f"the trigger {trigger.name} of {selected.path} needs what {target} does not have: {_text(error)}; nothing"
            " was restored: restore that, too, or leave triggers out: -o triggers=off"
        ) from error
    finally:
        database.execute("PRAGMA trusted_schema=OFF")
        for function in functions:
            database.create_function(function, -1, None)
        for collation in collations:
            database.create_collation(collation, None)


def _compile(database: sqlite3.Connection, statement: str, functions: list[str], collations: list[str]) -> None:
    while True:
        try:
            database.execute(f"EXPLAIN {statement}").fetchall()
        except sqlite3.OperationalError as error:
            missing = _MISSING.fullmatch(str(error))
            if missing is None or missing[2] in (*functions, *collations):
                raise
            if missing[1] == "no such function":
                functions.append(missing[2])
                database.create_function(missing[2], -1, lambda *_: None)
            else:
                collations.append(missing[2])
                database.create_collation(missing[2], lambda left, right: (left > right) - (left < right))
        else:
            return


def _text(error: Exception) -> str:
    return " ".join(str(error).split())
