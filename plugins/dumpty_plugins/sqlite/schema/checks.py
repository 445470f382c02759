"""What proves a copy: SQLite's own check, and the rows of every table."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dumpty import Evidence, IntegrityError, ObjectEvidence
from dumpty_plugins.sqlite.schema import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable

DANGLING = "dangling references"
"""The property of a dump's evidence that holds what ``dangling_references`` found in the original."""

_MISSING = re.compile(r"(no such collation sequence|unknown function): (.+)")
_ODDITY = re.compile(r"(NULL|NUMERIC|TEXT|non-[A-Z]+) value in ")
_MOST_FINDINGS = 100
_FINDINGS_SHOWN = 3


def identifier(name: str) -> str:
    """Return ``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def folded(name: str) -> str:
    """Return ``name`` as SQLite compares it: letters of ASCII are equal in both cases, and no others are."""
    return name.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def versions() -> dict[str, str]:
    """Return the versions that belong into evidence."""
    return {"sqlite": sqlite3.sqlite_version}


def query(database: sqlite3.Connection, sql: str) -> list[tuple[Any, ...]]:
    """Run ``sql`` and return its rows, with stand-ins for collations and functions that only the application has.

    Counting rows and checking structure open indexes, for which SQLite demands that their collation exists, and look
    whether generated columns are NULL; neither depends on an order or on any other value.
    """
    stand_ins: set[str] = set()
    while True:
        try:
            return database.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            missing = _MISSING.fullmatch(str(error))
            if missing is None or missing[0] in stand_ins:
                raise
            stand_ins.add(missing[0])
            kind, name = missing.groups()
            if kind == "unknown function":
                database.create_function(name.removesuffix("()"), -1, _zero, deterministic=True)
            else:
                database.create_collation(name, _byte_order)


def add_collations(database: sqlite3.Connection) -> None:
    """Add stand-ins for the collations of all indexes, before any is used.

    An index that was once planned without its collation is out of use until the schema is read again, and a WITHOUT
    ROWID table with it ("no query solution").
    """
    collations = database.execute(
        "SELECT DISTINCT coll FROM sqlite_master AS s, pragma_index_list(s.name) AS i, pragma_index_xinfo(i.name)"
        " WHERE s.type = 'table'"
    ).fetchall()
    for (name,) in collations:  # PRAGMA collation_list also has those that are only named somewhere
        if name is not None and _text(name).upper() not in {"BINARY", "NOCASE", "RTRIM"}:
            database.create_collation(_text(name), _byte_order)


def _zero(*_: object) -> int:
    return 0  # not None, which a generated column may forbid


def _byte_order(left: str, right: str) -> int:
    return (left > right) - (left < right)


@dataclass(frozen=True)
class Findings:
    """What SQLite's check found: ``damage`` to the file, and ``oddities``, rows that their own schema forbids.

    Both are texts for a message, "" where there is nothing.
    """

    damage: str
    oddities: str


def findings(database: sqlite3.Connection) -> Findings:
    """Run ``PRAGMA quick_check``, which reads every page and record of every table, not the order of indexes.

    It reports damage to pages before it looks into rows. Rows that break a CHECK constraint are not looked for. What
    it says of rows has to be confirmed by ``integrity_check``: from 3.40.0 to 3.41.0 it confuses the columns of a
    WITHOUT ROWID table whose key has them in another order, and finds NULL where there is none.
    """
    database.execute("PRAGMA ignore_check_constraints=ON")
    complaints = _complaints(database, "quick_check")
    oddities = [line for line in complaints if _ODDITY.match(line)]
    damage = [line for line in complaints if line not in oddities]
    if oddities and not damage:
        oddities = [line for line in _complaints(database, "integrity_check") if _ODDITY.match(line)]
    return Findings(damage="; ".join(damage[:_FINDINGS_SHOWN]), oddities="; ".join(oddities[:_FINDINGS_SHOWN]))


def check_integrity(database: sqlite3.Connection) -> list[str]:
    """Run ``PRAGMA integrity_check``, which also compares every index with its table.

    ``database`` has no stand-ins. Where an index needs a collation or function that only its application has, every
    page and row is read as ``findings`` does, and the other tables are checked one by one.

    Returns: for each table whose indexes could not be compared, what SQLite says is missing.

    Raises:
        IntegrityError: the file is damaged, or an index does not fit its table.
    """
    database.execute("PRAGMA ignore_check_constraints=ON")
    try:
        _require_sound(_lines(database.execute(f"PRAGMA integrity_check({_MOST_FINDINGS})")))
    except sqlite3.OperationalError as error:
        if not _MISSING.fullmatch(str(error)):
            raise
    else:
        return []
    names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0 ORDER BY name")
    missing = []
    for name in [_text(name) for (name,) in names.fetchall()]:
        try:
            _require_sound(_lines(database.execute(f"PRAGMA integrity_check({identifier(name)})")))
        except sqlite3.OperationalError as error:
            if not _MISSING.fullmatch(str(error)):
                raise
            missing.append(f"table {name!r}: {error}")
    # Last: stand-ins stay.
    _require_sound(_complaints(database, "quick_check"))
    return missing


def _require_sound(complaints: list[str]) -> None:
    damage = [line for line in complaints if not _ODDITY.match(line)]
    if damage:
        raise IntegrityError(
            f"integrity_check finds the restored database corrupt: {'; '.join(damage[:_FINDINGS_SHOWN])}"
        )


def _complaints(database: sqlite3.Connection, pragma: str) -> list[str]:
    add_collations(database)
    return _lines(query(database, f"PRAGMA {pragma}({_MOST_FINDINGS})"))


def _lines(rows: Iterable[tuple[Any, ...]]) -> list[str]:
    lines = [" ".join(_text(row[0]).split()) for row in rows]
    return [line for line in lines if line != "ok"]


def count_tables(database: sqlite3.Connection, *, fingerprints: bool = False) -> tuple[ObjectEvidence, ...]:
    """Return every table with its rows, and on request the fingerprint of its content, sorted by name.

    A virtual table keeps its rows in other tables (or nowhere), which are counted: it has None.

    Raises:
        IntegrityError: a table reads as another number of rows than it counts.
    """
    add_collations(database)
    tables = database.execute(
        "SELECT name, sql LIKE 'CREATE VIRTUAL %' FROM sqlite_master"
        " WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    return tuple(_count(database, name, virtual=bool(virtual), fingerprinted=fingerprints) for name, virtual in tables)


def _count(database: sqlite3.Connection, name: bytes, *, virtual: bool, fingerprinted: bool) -> ObjectEvidence:
    try:
        path = name.decode()
    except UnicodeDecodeError:
        # Python cannot pass such a name to SQLite, so nobody here can count.
        return ObjectEvidence(path=name.decode("utf-8", "backslashreplace"))
    if virtual:
        return ObjectEvidence(path=path_of(path))
    return count_table(database, path, fingerprinted=fingerprinted)


def count_table(database: sqlite3.Connection, path: str, *, fingerprinted: bool = False) -> ObjectEvidence:
    """Return the rows of the table named ``path``, which is not virtual, and on request its fingerprint.

    Raises:
        IntegrityError: it reads as another number of rows than it counts.
    """
    rows = query(database, f"SELECT count(*) FROM {identifier(path)}")[0][0]  # noqa: S608 - a quoted identifier
    if not fingerprinted:
        return ObjectEvidence(path=path_of(path), rows=rows)
    # Adds the stand-ins that the table needs. NOT INDEXED: the table itself is read, never an index that happens to
    # hold every column.
    from_clause = f"{identifier(path)} NOT INDEXED"
    query(database, f"SELECT * FROM {from_clause} LIMIT 0")  # noqa: S608 - a quoted identifier
    rows_read, digest = fingerprint.of_table(database, path, from_clause)
    if digest is not None and rows_read != rows:
        raise IntegrityError(miscount_message(path, rows_read, rows))
    return ObjectEvidence(path=path_of(path), rows=rows, fingerprint=digest)


def has_virtual_tables(database: sqlite3.Connection) -> bool:
    """Return whether there is a table that a module keeps, perhaps in other tables."""
    return bool(
        database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND rootpage = 0 LIMIT 1").fetchall()
    )


def is_checked_alone(name: str) -> bool:
    """Return whether ``damage_of_table`` looks at the table of that name alone, in every version of SQLite.

    Older ones take a number for that of the findings that are asked for, and look at all tables.
    """
    return not name.lstrip("+-").isdigit()


def damage_of_table(database: sqlite3.Connection, name: str) -> str:
    """Run ``PRAGMA quick_check`` on one table, and return what it finds, as ``Findings.damage``."""
    lines = _lines(query(database, f"PRAGMA main.quick_check({identifier(name)})"))
    return "; ".join([line for line in lines if not _ODDITY.match(line)][:_FINDINGS_SHOWN])


def path_of(name: str) -> str:
    """Return what evidence calls a table: its name, which SQLite lets be empty, and evidence does not."""
    return name or identifier(name)


def miscount_message(path: str, rows_read: int, counted: int) -> str:
    """Return the message for a table that reads as another number of rows than it counts."""
    return (
        f"table {path!r} gave {rows_read} rows, but counts {counted}: one of its indexes is damaged; repair it with"
        " REINDEX, or restore an older backup"
    )


def dangling_references(database: sqlite3.Connection) -> list[str]:
    """Run ``PRAGMA foreign_key_check``, and return for each table and its parent how many rows refer to nothing.

    SQLite allows such rows, unless told otherwise by each connection.
    """
    try:
        references = query(
            database, 'SELECT "table", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 ORDER BY 1, 2'
        )
    except sqlite3.OperationalError as error:
        if "foreign key mismatch" not in str(error):
            raise
        return [" ".join(str(error).split())]
    return [f"{count} of {_text(table)} refer to nothing in {_text(parent)}" for table, parent, count in references]


def evidence(database: sqlite3.Connection, *, fingerprints: bool, notes: tuple[str, ...] = ()) -> Evidence:
    """Return what is to be recorded of a database: its tables, and the references that lead nowhere already."""
    references = dangling_references(database)
    return Evidence(
        objects=count_tables(database, fingerprints=fingerprints),
        versions=versions(),
        notes=notes,
        properties={DANGLING: references} if references else {},
    )


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def image_size(database: sqlite3.Connection) -> int:
    """Return the size in bytes of an image of the database, as its header says."""
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    return int(pages * database.execute("PRAGMA page_size").fetchone()[0])


def is_empty(database: sqlite3.Connection) -> bool:
    """Return whether it holds nothing."""
    return database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
