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
    from collections.abc import Iterator


def require_sound(database: sqlite3.Connection) -> None:
    """Check the structure of a database that was just built.

    Raises:
        IntegrityError: it is corrupt.
    """
    damage = interruptible(database, functools.partial(checks.findings, database)).damage
    if damage:
        raise IntegrityError(f"the restored database is corrupt: {damage}; restore another backup")


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
