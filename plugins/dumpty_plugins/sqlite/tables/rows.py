"""Rows copied from one database to another, each cell as it is stored."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from dumpty import IntegrityError, SourceError
from dumpty_plugins.sqlite.dumping.literals import CODECS, NOT_THROUGH_UTF16
from dumpty_plugins.sqlite.files.connection import connect, create_file, uri_of
from dumpty_plugins.sqlite.schema.checks import folded, identifier
from dumpty_plugins.sqlite.tables.definitions import define

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dumpty_plugins.sqlite.tables.catalog import Catalog
    from dumpty_plugins.sqlite.tables.selection import Selected

ATTACHED = '"dumpty scratch"'
"""By what name the scratch database is attached."""


def encoding_of(database: sqlite3.Connection) -> str:
    """Return how a database stores text."""
    return str(database.execute("PRAGMA encoding").fetchone()[0].decode())


def attach(database: sqlite3.Connection, path: str) -> None:
    """Attach a database that nobody writes, to be read."""
    database.execute(f"ATTACH ? AS {ATTACHED}", (uri_of(path, "ro&immutable=1"),))


def copy_rows(database: sqlite3.Connection, selected: Selected) -> None:
    """Copy the rows of a table of the attached database into the new one, inside SQLite.

    Raises:
        SourceError: the rows break their own definition, or that needs what only its application has.
        IntegrityError: they cannot be read, or did not all come.
    """
    columns = ",".join(selected.table.dumped_columns)
    # OR ABORT: a column's own ON CONFLICT would leave rows out, or alter them. NOT INDEXED: in the table's own order.
    statement = (
        f"INSERT OR ABORT INTO main.{identifier(selected.new)}({columns})"  # noqa: S608 - quoted identifiers
        f" SELECT {columns} FROM {ATTACHED}.{identifier(selected.old)} NOT INDEXED"
    )
    with _explained(selected):
        define(database, statement)


@contextlib.contextmanager
def _explained(selected: Selected) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise SourceError(
            f"rows of {selected.path} break its own definition ({_text(error)}), so it cannot be restored alone:"
            " restore all of the backup into a new database"
        ) from error
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT:
            raise IntegrityError(
                f"the rows of {selected.path} cannot be copied ({_text(error)}): the backup or the target is damaged"
            ) from error
        if "unknown function" in str(error) or "no such" in str(error):
            raise SourceError(
                f"{selected.path} needs what only its application has ({_text(error)}), so it cannot be restored alone:"
                " restore all of the backup into a new database"
            ) from error
        raise


def recode(
    scratch: sqlite3.Connection, catalog: Catalog, selection: Iterable[Selected], encoding: str, path: str
) -> None:
    """Make the selected tables again in a new database ``path`` that stores text in another encoding.

    Raises:
        SourceError: a text is not valid in its own encoding, so it has no equal in another.
    """
    create_file(path)
    with contextlib.closing(connect(path, "rw")) as copy:
        copy.execute("PRAGMA journal_mode=OFF")
        copy.execute("PRAGMA synchronous=OFF")
        copy.execute(f"PRAGMA encoding='{encoding}'")
        copy.execute("PRAGMA ignore_check_constraints=ON")
        copy.execute("BEGIN")
        for selected in selection:
            name = folded(selected.old)
            [sql] = [e.sql for e in catalog.entries if e.kind == "table" and folded(e.name) == name]
            define(copy, sql)
            with _explained(selected):
                _recode_rows(scratch, copy, selected, encoding)
        copy.execute("COMMIT")


def _recode_rows(scratch: sqlite3.Connection, copy: sqlite3.Connection, selected: Selected, encoding: str) -> None:
    columns = selected.table.dumped_columns
    # Text comes as text, in hexadecimal digits of what is stored, so that it is not taken for a blob.
    cells = ",".join(f"CASE typeof({c}) WHEN 'text' THEN hex(CAST({c} AS BLOB)) ELSE {c} END" for c in columns)
    parameters = ",".join("?" * len(columns))
    insert = f"INSERT OR ABORT INTO {identifier(selected.old)}({','.join(columns)}) VALUES ({parameters})"  # noqa: S608
    codec = CODECS[encoding_of(scratch)]
    altered = () if encoding == "UTF-8" else NOT_THROUGH_UTF16
    text_factory, scratch.text_factory = scratch.text_factory, str
    try:
        rows = scratch.execute(f"SELECT {cells} FROM {identifier(selected.old)} NOT INDEXED")  # noqa: S608
        copy.executemany(insert, ([_recoded(cell, codec, altered) for cell in row] for row in rows))
    except UnicodeError as error:
        raise SourceError(
            f"{selected.path} holds text that its database stores as {codec}, and that has no equal in {encoding}, as"
            " the target stores text: restore the table into a new database"
        ) from error
    finally:
        scratch.text_factory = text_factory


def _recoded(cell: object, codec: str, altered: Iterable[str]) -> object:
    if not isinstance(cell, str):
        return cell
    text = bytes.fromhex(cell).decode(codec)
    if any(character in text for character in altered):
        raise UnicodeError("SQLite's own conversion would alter a character")
    return text


def copy_sequence(database: sqlite3.Connection, scratch: sqlite3.Connection, selected: Selected) -> None:
    """Let AUTOINCREMENT go on where it was."""
    numbers = scratch.execute(
        "SELECT CAST(seq AS INTEGER) FROM sqlite_sequence WHERE name = ?", (selected.old,)
    ).fetchall()
    database.execute("DELETE FROM main.sqlite_sequence WHERE name = ?", (selected.new,))
    for (number,) in numbers:
        database.execute("INSERT INTO main.sqlite_sequence(name, seq) VALUES (?, ?)", (selected.new, number))


def _text(error: Exception) -> str:
    return " ".join(str(error).split())
