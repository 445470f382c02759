"""The rows of one table, as they are at one moment, each value as a dump would write it."""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty import SourceError
from dumpty_plugins.mysql.schema.catalog import base_tables, listing
from dumpty_plugins.mysql.schema.catalog_reader import CatalogReader
from dumpty_plugins.mysql.schema.columns import require_json
from dumpty_plugins.mysql.server.connection import connect, database_of
from dumpty_plugins.mysql.server.session import address, decode
from dumpty_plugins.mysql.server.sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty import RowValue, Source
    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.schema.columns import Column
    from dumpty_plugins.mysql.server.session import Session

_MEMBERS = frozenset({"enum", "set"})
_UTF8 = frozenset({"utf8mb4", "utf8mb3", "utf8"})
_WIDE = frozenset({"ucs2", "utf16", "utf16le", "utf32"})
_BATCH = 1000
_LOCK_SECONDS = 60


class ServerRows:
    """``dumpty.types.TableRows`` of a table, in the snapshot that ``session`` has."""

    def __init__(self, session: Session, table: Table) -> None:
        self._session = session
        self._table = table
        self.columns = tuple(column.name for column in table.columns)
        self.key = () if table.versioned else _key(session, table)

    def __iter__(self) -> Iterator[tuple[RowValue, ...]]:
        """Return the rows."""
        self._session.return_bytes()
        readings = [_reading(column) for column in self._table.columns]
        readers = [read for _, read in readings]
        # There may be no column but computed ones, and rows are to be told from none.
        sql = f"SELECT {','.join(value for value, _ in readings) or '1'} FROM {self._table.rows_from}"
        for batch in self._session.stream(sql, _BATCH):
            for row in batch:
                yield tuple([None if value is None else read(value) for read, value in zip(readers, row)])  # noqa: B905 - strict costs


def _reading(column: Column) -> tuple[str, Callable[[bytes], RowValue]]:
    """Return SQL for the values of a column, and what makes of each what it stands for."""
    name = identifier(column.name)
    if column.type in _MEMBERS:
        # By their texts, for members change their numbers with the column; the value 0 of an ENUM has none.
        return f"IF({column.value}=0,'0',CONCAT('=',CAST({name} AS BINARY)))", lambda value: _member(value, column)
    if column.type == "json":
        return column.value, lambda value: _text(require_json(value, column))
    if column.charset:
        return name, lambda value: _in_charset(value, column.charset)
    if column.form == "hex":
        return name, bytes
    return column.value, _number if column.integer else _ascii


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _latin1(value: bytes) -> str:
    # The server's latin1 is cp1252; no text that only the other one reads comes out the same.
    try:
        return value.decode("cp1252")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _member(value: bytes, column: Column) -> RowValue:
    return _in_charset(value[1:], column.charset) if value.startswith(b"=") else int(value)


def _in_charset(value: bytes, charset: str) -> str:
    """Return a text; of a character set that has several codes for one character, the bytes as a literal of SQL."""
    if charset in _UTF8 or (value.isascii() and charset not in _WIDE):
        return _text(value)
    return _latin1(value) if charset == "latin1" else f"_{charset} X'{value.hex().upper()}'"


def _ascii(value: bytes) -> str:
    return value.decode("ascii", "backslashreplace")


def _number(value: bytes) -> int:
    return int(value)


def _key(session: Session, table: Table) -> tuple[str, ...]:
    """Return the columns of the primary key, or of a unique one without NULL; () where there is none."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for row in session.rows(
        "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART, NULLABLE FROM information_schema.STATISTICS "
        f"WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME={literal(table.name)} AND NON_UNIQUE=0 "
        "ORDER BY INDEX_NAME, SEQ_IN_INDEX"
    ):
        index, name, part, nullable = map(decode, row)
        found.setdefault(index, []).append((name, not part and nullable != "YES"))
    columns = {column.name for column in table.columns}
    for index in sorted(found, key=lambda index: (index != "PRIMARY", len(found[index]), index)):
        if all(usable and name in columns for name, usable in found[index]):
            return tuple(name for name, _ in found[index])
    return ()


def _held(session: Session, database: str, entries: frozenset[tuple[str, ...]]) -> Table | None:
    """Begin a snapshot that holds the one table in ``entries``, and return it; None where a view has taken its name.

    A view would be read with the rights of whoever asks: so it is looked at what it is once nobody can change that.
    """
    (name,) = base_tables(entries)
    session.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    session.rows(f"SELECT 1 FROM {identifier(name)} LIMIT 0")
    (table,) = CatalogReader(session, database, entries, ()).tables()
    return table if table.create.startswith(b"CREATE TABLE") else None


@contextlib.contextmanager
def read_table(source: Source, name: str) -> Iterator[ServerRows]:
    """Lend the rows of a table.

    Raises:
        SourceError: there is no such database or table, or it may not be read.
    """
    database = database_of(source)
    session = connect(source, database)
    try:
        session.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.execute(f"SET SESSION lock_wait_timeout={_LOCK_SECONDS}")
        entries = frozenset(entry for entry in listing(session, database) if entry[:2] == ("table", name))
        table = _held(session, database, entries) if base_tables(entries) else None
        if table is None or table.merged:
            raise SourceError(f"{database} on {address(source)} has no table {name} that holds rows of its own")
        yield ServerRows(session, table)
    finally:
        session.abandon()  # there may be rows that nobody read
