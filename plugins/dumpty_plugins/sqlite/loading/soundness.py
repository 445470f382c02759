"""Whether a database that was just built is sound, and what it means where it is not."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from typing import TYPE_CHECKING

from dumpty import IntegrityError
from dumpty_plugins.sqlite.files.connection import interruptible, translated_error
from dumpty_plugins.sqlite.schema import checks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


def require_sound(database: sqlite3.Connection, tables: Collection[str] | None = None) -> None:
    """Check the structure of a database that was just built, in which ``tables``, if given, alone have their rows.

    A full-text index without the rows of the tables that it is kept in is corrupt, and SQLite says so since 3.44. So
    where there are virtual tables, only ``tables`` are checked then.

    Raises:
        IntegrityError: it is corrupt.
    """
    damage = interruptible(database, functools.partial(_damage, database, tables))
    if damage:
        raise IntegrityError(f"the restored database is corrupt: {damage}; restore another backup")


def _damage(database: sqlite3.Connection, tables: Collection[str] | None) -> str:
    if tables is None or not checks.has_virtual_tables(database):
        return checks.findings(database).damage
    # Rows that break a CHECK constraint were so when they were backed up.
    database.execute("PRAGMA ignore_check_constraints=ON")
    checks.add_collations(database)
    names = ("" if table == checks.path_of("") else table for table in sorted(tables))
    return "; ".join(filter(None, (checks.damage_of_table(database, name) for name in names)))


@contextlib.contextmanager
def report_damage(part: str) -> Iterator[None]:
    """Report what SQLite finds wrong with a freshly written ``part`` as damage of the dump."""
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning) as error:
        if isinstance(error, sqlite3.OperationalError) and ("is full" in str(error) or "I/O" in str(error)):
            raise translated_error(error, part) from error
        text = " ".join(str(error).split())
        raise IntegrityError(f"the dump does not load: {text}; restore another backup") from error
