"""What small objects of a repository elsewhere held when this machine last read them: they never change.

One SQLite file for each repository, in the user's own cache directory. It is worth nothing but time: what cannot be
read from it is read from the store, and whatever is wrong with it is no error.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from typing import TYPE_CHECKING

import platformdirs

from dumpty.process.owned_directory import open_owned_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Key", "SmallObjectCache"]

Key = tuple[str, str]
"""An object's name and tag."""

_TABLE = "CREATE TABLE IF NOT EXISTS objects (name TEXT, tag TEXT, content BLOB, PRIMARY KEY (name, tag))"
_SECONDS = 2.0
"""How long another process that writes is waited for."""


class SmallObjectCache:
    """The small objects of one repository, as this machine has read them before.

    Args:
        location: of the repository, without secrets.
    """

    def __init__(self, location: str) -> None:
        self._name = hashlib.sha256(location.encode("utf-8", "surrogatepass")).hexdigest()[:32] + ".sqlite"

    def read(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """Return the contents that are known."""
        contents: dict[Key, bytes] = {}

        def work(database: sqlite3.Connection) -> None:
            for key in keys:
                row = database.execute("SELECT content FROM objects WHERE name = ? AND tag = ?", key).fetchone()
                if row is not None and isinstance(row[0], bytes):
                    contents[key] = row[0]

        self._run(work)
        return contents

    def write(self, contents: Sequence[tuple[Key, bytes]]) -> None:
        """Remember contents."""
        rows = [(*key, content) for key, content in contents]
        self._run(lambda database: database.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", rows))

    def keep_only(self, keys: Iterable[Key]) -> None:
        """Forget what is not in the repository any more."""
        wanted = frozenset(keys)

        def work(database: sqlite3.Connection) -> None:
            known = database.execute("SELECT name, tag FROM objects").fetchall()
            gone = [key for key in known if key not in wanted]
            if gone:
                database.executemany("DELETE FROM objects WHERE name = ? AND tag = ?", gone)

        self._run(work)

    def _run(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do ``work`` in one transaction, as far as that can be done; a file that is damaged is removed."""
        path = ""
        try:
            path = os.path.join(_private_directory(), self._name)
            with contextlib.closing(sqlite3.connect(path, timeout=_SECONDS)) as database, database:
                database.execute(_TABLE)
                work(database)
        except sqlite3.OperationalError:  # locked, full, or not to be written
            return
        except (sqlite3.Error, OSError):
            with contextlib.suppress(OSError):
                os.unlink(path)


def _private_directory() -> str:
    """Return the cache directory, made where it is missing.

    Raises:
        OSError: there is none that is this user's own.
    """
    try:
        path = platformdirs.user_cache_dir("dumpty", appauthor=False)
    except RuntimeError as error:  # an account without a home, as newer versions tell it
        raise FileNotFoundError(str(error)) from error
    if not os.path.isabs(path):
        raise FileNotFoundError(path)  # and as older ones do
    os.makedirs(path, mode=0o700, exist_ok=True)
    os.close(open_owned_directory(path))
    return path
