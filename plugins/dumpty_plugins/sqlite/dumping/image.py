"""The native format: an image of the database's pages, made by SQLite's online backup API.

Source: https://www.sqlite.org/backup.html. The copy runs inside a read transaction that the source connection
already holds: without one, every commit of another process makes the backup start again, and under a steady writer
it never ends.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from typing import TYPE_CHECKING

from dumpty import Evidence, IntegrityError, SourceError, raise_if_cancelled, send_file
from dumpty_plugins.sqlite.files.connection import connect, corruption_error, interruptible, translate_errors
from dumpty_plugins.sqlite.schema import checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Sink

_STEP_PAGES = 2048
"""Pages copied between two looks at pending signals."""

_COPY_PAGE_BYTES = 65536
"""The largest page of SQLite."""

UNCHECKED = "copied without a check of its structure"


def write_image(database: sqlite3.Connection, sink: Sink, *, check: bool, fingerprints: bool) -> Evidence:
    """Copy the database that ``database`` holds a read transaction on, and write the copy into ``sink``.

    Raises:
        SourceError: ``check`` is True and the image is corrupt.
    """
    source = os.fsdecode(database.execute("PRAGMA database_list").fetchone()[2])
    copy = os.path.join(sink.workspace(), "image.db")
    _copy(database, copy)
    database.execute("ROLLBACK")  # the source is free again: checking and compressing need only the copy
    # Opened anew: what was opened before knows the encoding that was asked for, not the one that the header tells.
    with contextlib.closing(connect(copy, "rw")) as image:
        size = os.path.getsize(copy)
        if size != checks.image_size(image):
            raise IntegrityError(
                f"the copy of {source} has {size} bytes, but its header says {checks.image_size(image)}"
            )
        prove = functools.partial(_prove, image, source, check=check, fingerprints=fingerprints)
        return interruptible(image, prove, meanwhile=functools.partial(send_file, path=copy, sink=sink))


def copy_file(path: str, copy: str) -> None:
    """Copy the database in the file ``path``, what is in its write-ahead log included, into a new file.

    Raises:
        SourceError: it cannot be read, or there is no room.
    """
    with translate_errors(path), contextlib.closing(connect(path, "rw")) as database:
        interruptible(database, functools.partial(_copy, database, copy))


def _copy(database: sqlite3.Connection, copy: str) -> None:
    encoding = database.execute("PRAGMA encoding").fetchone()[0].decode()
    with _explain_full_disk(copy), contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as image:
        image.execute("PRAGMA synchronous=OFF")
        image.execute("PRAGMA journal_mode=OFF")
        # A table, whose pages the copy replaces, keeps SQLite from taking on the source's page size before the end: the
        # content is the same, and 64 KiB are written at a time, not 4 (measured: in half the time).
        image.execute(f"PRAGMA page_size={_COPY_PAGE_BYTES}")
        image.execute(f"PRAGMA encoding='{encoding}'")
        image.execute("CREATE TABLE replaced (x)")
        # The callback is also where a pending Ctrl-C gets its turn.
        database.backup(image, pages=_STEP_PAGES, progress=lambda *_: raise_if_cancelled())


@contextlib.contextmanager
def _explain_full_disk(copy: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "is full" not in str(error):
            raise
        raise SourceError(
            f"no room for the copy of the database in {copy}: free some space on its file system, or back it up with"
            " format sql, which needs none there"
        ) from error


def _prove(image: sqlite3.Connection, source: str, *, check: bool, fingerprints: bool) -> Evidence:
    if not check:
        # A damaged page is what the user chose to keep; counting may stumble over it.
        with contextlib.suppress(sqlite3.DatabaseError):
            return checks.evidence(image, fingerprints=fingerprints, notes=(UNCHECKED,))
        return Evidence(versions=checks.versions(), notes=(UNCHECKED, "rows were not counted: the database is damaged"))
    findings = checks.findings(image)
    if findings.damage:
        raise corruption_error(source, findings.damage)
    return checks.evidence(image, fingerprints=fingerprints, notes=(findings.oddities,) if findings.oddities else ())
