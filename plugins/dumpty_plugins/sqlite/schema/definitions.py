"""The schema of a database as the statements that make it again."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import DependencyError, SourceError
from dumpty_plugins.sqlite.schema.checks import identifier
from dumpty_plugins.sqlite.schema.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDED_SQLITE = (3, 37)
"""The first version with PRAGMA table_list, which tells shadow tables from others, and with STRICT tables."""

STUB = '"dumpty sequence"'
"""A table made and dropped again, for the sqlite_sequence that SQLite leaves behind."""

_STATISTICS = re.compile(r"sqlite_stat[234]")
_CREATE_TABLE = "CREATE TABLE "
_QUOTED_OR_COMMENT = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^]]*\]|--[^\n]*|/\*.*?\*/""", re.DOTALL
)
_TERMINATOR = re.compile(r"^\s*(?:/|go)\s*$", re.IGNORECASE | re.MULTILINE)
_SHADOW = ("table", "shadow")
_SHADOW_NAME = re.compile(r"""(CREATE TABLE )(?:'((?:[^']|'')*)'|"((?:[^"]|"")*)")""")
# A reserved word: outside quotes and comments it can be nothing else, unless it is part of a longer name.
_AUTOINCREMENT = re.compile(r"(?<![\w$\x80-\U0010ffff])autoincrement(?![\w$\x80-\U0010ffff])", re.IGNORECASE)
USE_NATIVE = "; back it up with format native (--format native)"


@dataclass(frozen=True)
class Table:
    """A table whose rows are dumped.

    ``columns`` are those that can be written, generated ones left out. ``rowid`` is the name under which an implicit
    rowid is reached, or "" where there is none, or a column is its alias, or columns hide all of its names.
    """

    name: str
    columns: tuple[str, ...]
    rowid: str

    @property
    def dumped_columns(self) -> list[str]:
        """What a dumped row holds, as identifiers."""
        return ([self.rowid] if self.rowid else []) + [identifier(column) for column in self.columns]


@dataclass(frozen=True)
class Schema:
    """Statements, each ending in ``;`` and a newline, around the rows of ``tables``.

    ``layout`` comes first, fixed by the first read, then ``settings``; ``table_statements`` make tables,
    ``index_statements`` indexes and triggers; ``final_statements`` follow the commit. ``emptied_tables`` are those that
    SQLite itself fills, and that are emptied before loading.
    """

    layout: tuple[str, ...]
    settings: tuple[str, ...]
    table_statements: tuple[str, ...]
    tables: tuple[Table, ...]
    emptied_tables: frozenset[str]
    index_statements: tuple[str, ...]
    final_statements: tuple[str, ...]
    notes: tuple[str, ...]


def read_schema(database: sqlite3.Connection) -> Schema:
    """Read the schema, and make it again in memory to see that its text carries it.

    Raises:
        SourceError: it holds something that SQL text cannot carry, named.
        DependencyError: Python's SQLite is too old.
    """
    if sqlite3.sqlite_version_info < NEEDED_SQLITE:
        raise DependencyError(
            f"SQL dumps need SQLite 3.37 or newer, and Python has {sqlite3.sqlite_version}{USE_NATIVE}"
        )
    catalog = _Catalog(database)
    internal = [n for n in catalog.names("table") if n.startswith("sqlite_")]
    statistics = [n for n in internal if _STATISTICS.fullmatch(n)]
    plain = [n for n in catalog.names("table") if catalog.kind(n) == "table" and n not in internal]
    shadow = [n for n in catalog.names("table") if catalog.kind(n) == "shadow"]
    virtual = [n for n in catalog.names("table") if catalog.kind(n) == "virtual"]
    encoding = database.execute("PRAGMA encoding").fetchone()[0].decode()
    table_statements = [
        *((name, catalog.sql["table", name]) for name in plain),
        *((name, catalog.sql["view", name]) for name in catalog.names("view")),
        *((name, catalog.sql["table", name]) for name in virtual),
        # Mostly made by the module a moment ago, but some come into being later (FTS3's _stat).
        *(
            (name, _CREATE_TABLE + "IF NOT EXISTS " + catalog.sql["table", name][len(_CREATE_TABLE) :])
            for name in shadow
        ),
    ]
    if "sqlite_sequence" in internal and not any(has_autoincrement(catalog.sql["table", name]) for name in plain):
        table_statements.append(("sqlite_sequence", f"CREATE TABLE {STUB}(a INTEGER PRIMARY KEY AUTOINCREMENT)"))
        table_statements.append(("sqlite_sequence", f"DROP TABLE {STUB}"))
    if "sqlite_stat1" in internal:
        table_statements.append(("sqlite_stat1", "ANALYZE sqlite_schema"))
    index_statements = [
        (name, catalog.sql[kind, name])
        for kind in ("index", "trigger")
        for name in catalog.names(kind)
        if catalog.sql[kind, name]
    ]
    emptied_tables = [*shadow, *(n for n in internal if n in ("sqlite_sequence", "sqlite_stat1"))]
    schema = Schema(
        layout=(f"PRAGMA encoding='{encoding}';\n", *_settings(database, "page_size", "auto_vacuum")),
        settings=_settings(database, "user_version", "application_id"),
        table_statements=tuple(_statement(name, sql) for name, sql in table_statements),
        tables=tuple(table_of(database, name, catalog.without_rowid(name)) for name in [*plain, *emptied_tables]),
        emptied_tables=frozenset(emptied_tables),
        index_statements=tuple(_statement(name, sql) for name, sql in index_statements),
        final_statements=("PRAGMA journal_mode=WAL;\n",) if _is_wal(database) else (),
        notes=tuple(f"{name} is left out: ANALYZE makes it again" for name in statistics),
    )
    _rehearse(
        schema, [name for name, _ in (*table_statements, *index_statements)], catalog.fingerprint(without=statistics)
    )
    return schema


class _Catalog:
    """What sqlite_schema holds, decoded, in the order of its making."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.sql: dict[tuple[str, str], str] = {}  # a trigger may be named like a table, a view or an index
        self._types: list[tuple[str, str]] = []
        self._rows: list[tuple[str, str, str, str]] = []
        rows = database.execute(
            "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master ORDER BY rowid"
        ).fetchall()
        for row in rows:
            try:
                kind, name, table, sql = (value.decode() for value in row)
            except UnicodeDecodeError as error:
                display_name = row[1].decode("utf-8", "backslashreplace")
                raise SourceError(f"the definition of {display_name!r} is not valid UTF-8{USE_NATIVE}") from error
            self.sql[kind, name] = sql
            self._types.append((kind, name))
            self._rows.append((kind, name, table, sql))
        self._table_list: dict[str, tuple[str, bool]] = {
            name.decode(): (kind.decode(), bool(without_rowid))
            for name, kind, without_rowid in database.execute(
                "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'"
            )
        }

    def names(self, kind: str) -> list[str]:
        return [name for object_kind, name in self._types if object_kind == kind]

    def kind(self, name: str) -> str:
        # Without its module a virtual table is listed as such all the same; shadow tables then pass as plain ones,
        # and rehearsing the virtual table fails.
        return self._table_list[name][0]

    def without_rowid(self, name: str) -> bool:
        return self._table_list[name][1]

    def fingerprint(self, *, without: list[str]) -> list[tuple[str, str, str, str]]:
        """Return everything but the tables ``without``, as it is to come back.

        Renaming a full-text table quotes the names of its shadow tables in another way than making it does.
        """
        return sorted(
            (kind, name, table, _requoted(sql) if (kind, self._table_list.get(name, ("",))[0]) == _SHADOW else sql)
            for kind, name, table, sql in self._rows
            if table not in without
        )


def _settings(database: sqlite3.Connection, *names: str) -> tuple[str, ...]:
    return tuple(f"PRAGMA {name}={database.execute(f'PRAGMA {name}').fetchone()[0]};\n" for name in names)


def has_autoincrement(sql: str) -> bool:
    """Tell whether the table has AUTOINCREMENT, for which SQLite keeps sqlite_sequence."""
    return _AUTOINCREMENT.search(_QUOTED_OR_COMMENT.sub(" ", sql)) is not None


def _requoted(sql: str) -> str:
    """Return the definition of a shadow table with its name in double quotes."""
    match = _SHADOW_NAME.match(sql)
    if not match:
        return sql
    name = match[3].replace('""', '"') if match[2] is None else match[2].replace("''", "'")
    return match[1] + identifier(name) + sql[match.end() :]


def _is_wal(database: sqlite3.Connection) -> bool:
    return bool(database.execute("PRAGMA journal_mode").fetchone()[0] == b"wal")


def table_of(database: sqlite3.Connection, name: str, without_rowid: bool) -> Table:
    """Return what can be written of a table's rows.

    Raises:
        SourceError: they cannot be written with their numbers.
    """
    rows = database.execute("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?)", (name,)).fetchall()
    names = [column.decode() for column, *_ in rows]
    columns = tuple(column for column, row in zip(names, rows, strict=True) if row[3] == 0)
    rowid = ""
    if not without_rowid and not _has_alias(database, name, rows):
        lower_names = {column.lower() for column in names}
        rowid = next((alias for alias in ("rowid", "_rowid_", "oid") if alias not in lower_names), "")
    if rowid and len(columns) == database.getlimit(sqlite3.SQLITE_LIMIT_COLUMN):
        rowid = _counted_rowid(database, name, rowid)
    return Table(name=name, columns=columns, rowid=rowid)


def _counted_rowid(database: sqlite3.Connection, name: str, rowid: str) -> str:
    """Return "", for a statement has no room for the rowid: loading in order numbers the rows again, from 1."""
    first_rowid, last_rowid, count = database.execute(
        f"SELECT min({rowid}), max({rowid}), count(*) FROM {identifier(name)}"  # noqa: S608 - a quoted identifier
    ).fetchone()
    if count and (first_rowid, last_rowid) != (1, count):
        raise SourceError(
            f"table {name!r} has the most columns that SQLite allows, so SQL text has no room for the numbers of its"
            f" rows, which are not 1 to {count}{USE_NATIVE}"
        )
    return ""


def _has_alias(database: sqlite3.Connection, name: str, rows: list[tuple[bytes, bytes, int, int]]) -> bool:
    """Tell whether a column is an alias of the rowid: a lone INTEGER primary key that needed no index of its own."""
    key_columns = [row for row in rows if row[2]]
    if len(key_columns) != 1 or key_columns[0][1].upper() != b"INTEGER":
        return False
    origins = database.execute("SELECT origin FROM pragma_index_list(?)", (name,)).fetchall()
    return (b"pk",) not in origins


def _statement(name: str, sql: str) -> str:
    """Return ``sql`` as a statement of its own, or refuse what the sqlite3 program would read differently."""
    unquoted = _QUOTED_OR_COMMENT.sub(
        lambda match: "" if "\r\n" not in match.group() or match.group()[0] in "-/" else "\0", sql
    )
    if "\0" in unquoted:
        raise SourceError(
            f"the definition of {name!r} holds CR LF inside quotes, which the sqlite3 program does not keep{USE_NATIVE}"
        )
    if _TERMINATOR.search(unquoted):
        raise SourceError(
            f"the definition of {name!r} holds a line of its own with / or go, at which the sqlite3 program"
            f" stops reading{USE_NATIVE}"
        )
    for end in (";\n", "\n;\n"):  # the second for a definition that ends in a comment
        if sqlite3.complete_statement(sql + end):
            return sql + end
    raise SourceError(f"the definition of {name!r} is not a complete statement{USE_NATIVE}")


def _rehearse(schema: Schema, names: list[str], expected: list[tuple[str, str, str, str]]) -> None:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)) as memory:
        guard = Guard(memory)
        for statement in (*schema.layout, *schema.settings):
            memory.execute(statement)
        for name, statement in zip(names, (*schema.table_statements, *schema.index_statements), strict=True):
            try:
                memory.execute(statement)
            except (sqlite3.Error, sqlite3.Warning) as error:
                reason = guard.refusal or " ".join(str(error).split())
                raise SourceError(f"SQL text cannot carry {name!r}: {reason}{USE_NATIVE}") from error
        rehearsed = _Catalog(_as_bytes(memory)).fingerprint(without=[])
    for row in _differences(expected, rehearsed):
        raise SourceError(f"SQL text cannot carry {row[1]!r}: it would come back different{USE_NATIVE}")


def _as_bytes(database: sqlite3.Connection) -> sqlite3.Connection:
    database.text_factory = bytes
    return database


def _differences(
    expected: list[tuple[str, str, str, str]], found: list[tuple[str, str, str, str]]
) -> Iterator[tuple[str, str, str, str]]:
    # A build with STAT4 adds its empty table, which is no loss.
    yield from sorted(set(expected) ^ {row for row in found if not _STATISTICS.fullmatch(row[2])})
