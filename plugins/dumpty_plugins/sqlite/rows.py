"""The rows of one table, as they are at one moment."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty import SourceError
from dumpty_plugins.sqlite.files.connection import file_path, snapshot, translate_errors
from dumpty_plugins.sqlite.schema.checks import add_collations, identifier, path_of, query

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from dumpty import Options, RowValue, Source

_TABLES = """
    SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL %'
    AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"""


class FileRows:
    """``dumpty.types.TableRows`` of a table in a database file."""

    def __init__(self, database: sqlite3.Connection, name: str, path: str) -> None:
        self._database = database
        self._path = path
        self._encoding = {b"UTF-16le": "utf-16-le", b"UTF-16be": "utf-16-be"}.get(
            database.execute("PRAGMA encoding").fetchone()[0], ""
        )
        described = database.execute(
            "SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid", (name,)
        ).fetchall()
        try:
            columns = [(column.decode(), place) for column, place in described]
        except UnicodeDecodeError:
            raise SourceError(f"a column of the table {path_of(name)} in {path} has a name that is no text") from None
        self.columns = tuple(column for column, _ in columns)
        self.key = tuple(column for place, column in sorted((place, column) for column, place in columns if place))
        # NOT INDEXED: the table itself is read, never an index that happens to hold every column.
        from_clause = f"{identifier(name)} NOT INDEXED"
        # Adds the stand-ins that the table needs.
        query(database, f"SELECT * FROM {from_clause} LIMIT 0")  # noqa: S608 - a quoted identifier
        self._select = f"SELECT {', '.join(map(self._cell, self.columns))} FROM {from_clause}"  # noqa: S608 - quoted

    def _cell(self, column: str) -> str:
        name = identifier(column)
        if not self._encoding:
            return name
        # Text comes converted to UTF-8, and what is no valid UTF-16 would be lost in that.
        return f"CASE typeof({name}) WHEN 'text' THEN hex(CAST({name} AS BLOB)) ELSE {name} END"

    def _text(self, data: bytes) -> str:
        if self._encoding:
            return bytes.fromhex(data.decode()).decode(self._encoding, "surrogatepass")
        return data.decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[tuple[RowValue, ...]]:
        """Return the rows."""
        self._database.text_factory = self._text
        with translate_errors(self._path):
            yield from self._database.execute(self._select)


@contextlib.contextmanager
def read_table(source: Source, table: str, options: Options) -> Iterator[FileRows]:
    """Lend the rows of the table of this path.

    Raises:
        MissingFile: there is no such file.
        SourceError: there is no such table, it is virtual, or it cannot be read.
        Locked: somebody holds the file exclusively for longer than ``busy_timeout``.
    """
    with snapshot(source, options) as database:
        path = file_path(source)
        names = [name.decode("utf-8", "replace") for (name,) in database.execute(_TABLES)]
        name = next((name for name in names if path_of(name) == table), None)
        if name is None:
            raise SourceError(f"{path} has no table {table} that holds rows of its own")
        add_collations(database)
        yield FileRows(database, name, path)
