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

from dumpty import Evidence, IntegrityError, SourceError, open_regular
from dumpty.process import BLOCK
from dumpty_plugins.sqlite import proof
from dumpty_plugins.sqlite.connection import connect, corrupt, explain, interruptible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

    from dumpty import Dump, Sink

_STEP_PAGES = 2048
"""Pages copied between two looks at pending signals."""

_COPY_PAGE_BYTES = 65536
"""The largest page of SQLite."""

_UNCHECKED = "copied without a check of its structure"


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
        if size != _pages_size(image):
            raise IntegrityError(f"the copy of {source} has {size} bytes, but its header says {_pages_size(image)}")
        sink.expect(size)
        prove = functools.partial(_prove, image, source, check=check, fingerprints=fingerprints)
        return interruptible(image, prove, meanwhile=functools.partial(_send, copy, sink))


def _copy(database: sqlite3.Connection, copy: str) -> None:
    encoding = database.execute("PRAGMA encoding").fetchone()[0].decode()
    with _room_for(copy), contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as image:
        image.execute("PRAGMA synchronous=OFF")
        image.execute("PRAGMA journal_mode=OFF")
        # A table, whose pages the copy replaces, keeps SQLite from taking on the source's page size before the end: the
        # content is the same, and 64 KiB are written at a time, not 4 (measured: in half the time).
        image.execute(f"PRAGMA page_size={_COPY_PAGE_BYTES}")
        image.execute(f"PRAGMA encoding='{encoding}'")
        image.execute("CREATE TABLE replaced (x)")
        # The empty callback is where a pending Ctrl-C gets its turn.
        database.backup(image, pages=_STEP_PAGES, progress=lambda *_: None)


@contextlib.contextmanager
def _room_for(copy: str) -> Iterator[None]:
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
            return proof.evidence(image, fingerprints=fingerprints, notes=(_UNCHECKED,))
        return Evidence(versions=proof.versions(), notes=(_UNCHECKED, "rows were not counted: the database is damaged"))
    found = proof.findings(image)
    if found.damage:
        raise corrupt(source, found.damage)
    return proof.evidence(image, fingerprints=fingerprints, notes=(found.oddities,) if found.oddities else ())


def _pages_size(database: sqlite3.Connection) -> int:
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    return int(pages * database.execute("PRAGMA page_size").fetchone()[0])


def _send(path: str, sink: Sink) -> None:
    block = memoryview(bytearray(BLOCK))
    with open(path, "rb", buffering=0) as stream:
        while count := stream.readinto(block):
            sink.write(block[:count])


def load_image(dump: Dump, part: str, *, check: bool) -> Evidence:
    """Write the image into the file ``part`` and prove it.

    Raises:
        IntegrityError: it is not a sound database, or not the one that was dumped.
    """
    with contextlib.closing(dump.open()) as reader, open(_own_file(part), "r+b", buffering=0) as stream:
        while block := reader.read(BLOCK):
            _write(stream, block, part)
        size = stream.tell()
    with damage(part), contextlib.closing(connect(part, "rw")) as database:
        if size == 0 or size != _pages_size(database):
            raise IntegrityError(f"the image has {size} bytes, but its header says {_pages_size(database)}")
        if check:
            require_sound(database)
        if not check and not dump.evidence.objects:
            return Evidence(versions=proof.versions(), notes=(_UNCHECKED,))
        objects = interruptible(database, functools.partial(proof.count_tables, database))
        proof.require_same(dump.evidence, objects)
    return Evidence(objects=objects, versions=proof.versions())


def _own_file(part: str) -> int:
    try:
        return open_regular(part, os.O_RDWR)  # whoever may write to the directory could have put a link there
    except OSError as error:
        raise SourceError(f"{part} cannot be written: {error.strerror}") from error


def _write(stream: FileIO, block: bytes, part: str) -> None:
    view = memoryview(block)
    try:
        while view:
            view = view[stream.write(view) :]
    except OSError as error:
        raise SourceError(
            f"{part} cannot be written: {error.strerror}; the restored database is built there: free some space on its"
            " file system, or restore elsewhere"
        ) from error


def require_sound(database: sqlite3.Connection) -> None:
    """Check the structure of a database that was just built.

    Raises:
        IntegrityError: it is corrupt.
    """
    damaged = interruptible(database, functools.partial(proof.findings, database)).damage
    if damaged:
        raise IntegrityError(f"the restored database is corrupt: {damaged}; restore another backup")


@contextlib.contextmanager
def damage(part: str) -> Iterator[None]:
    """Report what SQLite finds wrong with a freshly written ``part`` as damage of the dump."""
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning) as error:
        if isinstance(error, sqlite3.OperationalError) and ("is full" in str(error) or "I/O" in str(error)):
            raise explain(error, part) from error
        text = " ".join(str(error).split())
        raise IntegrityError(f"the dump does not load: {text}; restore another backup") from error
