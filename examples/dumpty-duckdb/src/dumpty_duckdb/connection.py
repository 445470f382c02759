"""Opening DuckDB files, and saying in one line why one cannot be opened.

*Hazard:* DuckDB locks a file with POSIX locks, which belong to the process: closing any descriptor of that file drops
them. Nothing here opens a source or a target with ``open()``; a child process copies where bytes are to be copied.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import duckdb

from dumpty import DumptyError, IntegrityError, Locked, MissingFile, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


def scalar(database: duckdb.DuckDBPyConnection, query: str, *values: object) -> object:
    """Return the one value that ``query`` yields."""
    row = database.execute(query, list(values)).fetchone()
    return row[0] if row else None


@contextlib.contextmanager
def reading(path: str, *, shared: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """Hold ``path`` open for reading.

    Where this very process has the file open for writing, ``shared`` joins it: a transaction then is what keeps
    one moment. Without it, nobody at all can write while the block lasts.

    Raises:
        Locked: somebody else holds it.
        SourceError: it is no DuckDB database, or cannot be read.
    """
    with duckdb_errors(path):
        try:
            # The same settings every time: with others, a second backup in this process would be refused.
            database = duckdb.connect(path, read_only=True, config=OFFLINE)
        except duckdb.ConnectionException:
            if not shared:
                raise
            database = duckdb.connect(path)
        with contextlib.closing(database):
            set_time_zone(database)
            yield database


@contextlib.contextmanager
def building(path: str, *, readable: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open ``path``, a file of our own, for writing, locked in: statements from a dump reach no other file.

    ``readable`` is the one directory whose files may be read. At the end everything is in the file itself.
    """
    with contextlib.closing(duckdb.connect(path, config=OFFLINE)) as database:
        set_time_zone(database)
        if readable is not None:
            database.execute(f"SET allowed_directories = [{literal(str(readable))}]")
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
        yield database
        database.execute("CHECKPOINT")


def set_time_zone(database: duckdb.DuckDBPyConnection) -> None:
    """Make values print alike wherever this runs."""
    database.execute("SET SESSION TimeZone = 'UTC'")


def identifier(name: str) -> str:
    """Quote a name."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text."""
    return "'" + text.replace("'", "''") + "'"


@contextlib.contextmanager
def duckdb_errors(path: str) -> Iterator[None]:
    """Turn what DuckDB raises inside into dumpty's errors, ``path`` named."""
    try:
        yield
    except duckdb.Error as error:
        raise explain(error, path) from error


@contextlib.contextmanager
def load_errors() -> Iterator[None]:
    """Report what DuckDB finds wrong while loading a dump as damage of the dump."""
    try:
        yield
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise SourceError(f"no room left for the database being restored: {first_line(error)}") from error
        raise IntegrityError(f"the dump does not load: {first_line(error)}; restore another backup") from error


def first_line(error: Exception) -> str:
    """Return the first line of what DuckDB says; the rest is stack traces and advice."""
    return str(error).strip().partition("\n")[0].strip()


def explain(error: duckdb.Error, path: str) -> DumptyError:
    """Return the error to raise instead of ``error`` about ``path``."""
    text = first_line(error)
    if isinstance(error, duckdb.ConnectionException) and "configuration" in text:
        return Locked(f"{path} is open in this process with other settings; close that connection first")
    if "Could not set lock" in text:
        return Locked(f"{path} is held by another process ({text}); close it there, or try again later")
    if "not a valid DuckDB database" in text or "sqlite_scanner" in text:
        return SourceError(f"{path} is not a DuckDB database")
    if "database does not exist" in text:
        return MissingFile(f"there is no database file {path}")
    if "encrypt" in text.lower():
        return SourceError(f"{path} is encrypted, which this driver does not read: {text}")
    return SourceError(f"DuckDB failed on {path}: {text}")
