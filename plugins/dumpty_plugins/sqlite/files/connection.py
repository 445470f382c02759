"""Opening database files: the checks before, the read transaction, and SQLite's errors as dumpty's."""

from __future__ import annotations

import contextlib
import math
import os
import random
import sqlite3
import stat
import time
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from dumpty import (
    DumptyError,
    Locked,
    MalformedURL,
    SourceError,
    database_file,
    open_regular,
    pause,
    require_file,
    run_in_worker,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty import Options, Source

T = TypeVar("T")

SIBLINGS = ("-journal", "-wal", "-shm")
"""What SQLite keeps beside a database file."""

_PARAMETERS = {"mode", "timeout"}
_MODES = {"ro", "rw", "rwc"}


def file_path(source: Source) -> str:
    """Return the absolute path of the database file, links resolved.

    Raises:
        MalformedURL: the URL names no file, or asks for something this driver does not do.
    """
    if source.query.get("mode") == "memory":
        raise MalformedURL(f"{source.url} names no file: a database in memory cannot be reached; write sqlite:///FILE")
    path = database_file(source=source, parameters=_PARAMETERS)
    if source.query.get("mode", "rw") not in _MODES:
        raise MalformedURL(f"mode={source.query['mode']} in {source.url} is not one of {', '.join(sorted(_MODES))}")
    return path


def busy_seconds(source: Source, options: Options) -> float:
    """Return how long to wait for a lock, in seconds: the URL's ``timeout``, else the option."""
    text = source.query.get("timeout", str(options["busy_timeout"]))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 1e6:  # noqa: PLR2004 - beyond it SQLite's milliseconds overflow
        raise MalformedURL(f"a busy timeout of {text!r} is not a number of seconds from 0 to 1000000")
    return seconds


def connect(path: str, mode: str, busy: float = 0.0) -> sqlite3.Connection:
    """Open ``path`` through SQLite, in ``mode`` ``ro`` or ``rw``; text comes back as bytes.

    No statement begins a transaction on its own, and nothing in the file is trusted to call functions with side
    effects. The connection may be used from another thread, one at a time.

    Raises:
        SourceError: it, or what lies beside it, is not SQLite's.
    """
    _refuse_planted(path)
    # cached_statements: the statements of a dump are large and never come twice.
    database = sqlite3.connect(
        uri_of(path, mode), uri=True, timeout=busy, isolation_level=None, check_same_thread=False, cached_statements=0
    )
    database.text_factory = bytes
    try:
        database.execute("PRAGMA trusted_schema=OFF")
    except BaseException:
        database.close()
        raise
    return database


def uri_of(path: str, mode: str) -> str:
    """Return the name by which SQLite opens ``path`` in ``mode``."""
    return f"file:{quote(os.fsencode(path))}?mode={mode}"


def create_file(path: str) -> None:
    """Make an empty file, its owner's alone, where none is.

    Raises:
        SourceError: it cannot be made.
    """
    try:
        os.close(open_regular(path, os.O_CREAT | os.O_EXCL | os.O_RDWR))
    except OSError as error:
        raise SourceError(f"{path} cannot be created: {error.strerror}") from error


def _refuse_planted(path: str) -> None:
    """Refuse what no SQLite made: it would wait for ever for a pipe's other end, and write where a link leads."""
    for suffix in ("", *SIBLINGS):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if not stat.S_ISREG(os.lstat(path + suffix).st_mode):
                raise SourceError(
                    f"{path}{suffix} is not a regular file, so SQLite did not make it: look who did, and remove it"
                )


@contextlib.contextmanager
def snapshot(source: Source, options: Options) -> Iterator[sqlite3.Connection]:
    """Hold a read transaction on the source; every read on the connection sees that one moment.

    Raises:
        MissingFile: there is no such file.
        SourceError: it cannot be read, or is not a sound database.
        Locked: somebody holds it exclusively for longer than ``busy_timeout``.
    """
    path = file_path(source)
    require_file(path=path)
    with read_transaction(path, busy_seconds(source, options)) as database:
        yield database


@contextlib.contextmanager
def read_transaction(path: str, busy: float) -> Iterator[sqlite3.Connection]:
    """Hold a read transaction on the file ``path``; the errors are those of ``snapshot``."""
    had_no_wal = not os.path.lexists(f"{path}-wal")
    with translate_errors(path):
        database = _begin_read_transaction(path, busy)
        try:
            yield database
        finally:
            database.close()
            if had_no_wal and os.path.lexists(f"{path}-wal"):
                _remove_wal(path)


def _begin_read_transaction(path: str, busy: float) -> sqlite3.Connection:
    try:
        return _read_in_mode(path, "ro", busy)
    except sqlite3.OperationalError as error:
        # A crashed writer left a hot journal: rolling it back needs to write, and any reader is expected to do it.
        if not needs_rollback(error):
            raise
    require_header(path)
    return _read_in_mode(path, "rw", busy)


def needs_rollback(error: sqlite3.Error) -> bool:
    """Tell whether a read-only connection failed because somebody has to roll a journal back first."""
    return "readonly" in str(error)


def require_header(path: str) -> None:
    """Raise ``sqlite3.DatabaseError`` where ``path`` does not begin as a database does, journals left alone.

    A file of another kind would lose its ``-journal`` to a connection that may write. Ignoring journals and locks
    is right for this one look, and for nothing else: no content is read.
    """
    with contextlib.closing(connect(path, "ro&immutable=1")) as database:
        database.execute("PRAGMA schema_version").fetchone()


def _read_in_mode(path: str, mode: str, busy: float) -> sqlite3.Connection:
    database = connect(path, mode)
    try:
        _begin(database, time.monotonic() + busy)
        database.execute(f"PRAGMA busy_timeout={int(busy * 1000)}")
        database.execute("PRAGMA query_only=ON")
    except BaseException:
        database.close()
        raise
    return database


def _begin(database: sqlite3.Connection, deadline: float) -> None:
    """Begin reading, trying until ``deadline``.

    SQLite's own waiting sleeps longer and longer, up to 100 ms; in rollback mode busy writers leave gaps that are
    much shorter, and a reader that sleeps through them starves.
    """
    database.execute("BEGIN")
    while True:
        try:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            if "is locked" not in str(error) or time.monotonic() >= deadline:
                raise
            pause(random.uniform(0.0005, 0.005))  # noqa: S311 - only not in step with a writer
        else:
            return


def interruptible(
    database: sqlite3.Connection, work: Callable[[], T], meanwhile: Callable[[], object] = lambda: None
) -> T:
    """Run ``work``, which asks ``database`` for what may take minutes, so that Ctrl-C ends it at once.

    SQLite gives signals no turn; so the work is done in another thread while this one does what there is
    ``meanwhile``, and waits.
    """
    return run_in_worker(work, stop=database.interrupt, meanwhile=meanwhile, name="sqlite-worker")


def _remove_wal(path: str) -> None:
    # Reading an idle database in WAL mode left -wal and -shm behind, which a read-only connection cannot remove.
    # A writing one does so when it is the last to close, and only then.
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connect(path, "rw")) as database:
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()


@contextlib.contextmanager
def translate_errors(path: str) -> Iterator[None]:
    """Turn what the sqlite3 module raises inside into dumpty's errors, ``path`` named."""
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise translated_error(error, path) from error


def translated_error(error: Exception, path: str) -> DumptyError:
    """Return the error to raise instead of ``error`` about ``path``."""
    text = " ".join(str(error).split())
    # The low byte is the primary result code; what Python's own checks raise has none.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return Locked(f"{path} is locked by another connection ({text}); wait for it, or raise -o busy_timeout")
    if code == sqlite3.SQLITE_CORRUPT:
        return corruption_error(path, text)
    if code in _MEANINGS:
        return SourceError(f"{path} {_MEANINGS[code]} ({text})")
    return SourceError(f"SQLite failed on {path}: {text}")


_PERMISSIONS = (
    "cannot be opened as needed: check the permissions of the file and of its directory, where SQLite has to write too"
    " if the database is in WAL mode, or its last writer crashed"
)
_MEANINGS = {
    sqlite3.SQLITE_NOTADB: "is not a SQLite database, or it is encrypted",
    sqlite3.SQLITE_CANTOPEN: _PERMISSIONS,
    sqlite3.SQLITE_READONLY: _PERMISSIONS,
    sqlite3.SQLITE_FULL: "ran out of room: free some space on its file system",
}
"""By SQLite's primary result code: what it means for the file."""


def corruption_error(path: str, finding: str) -> SourceError:
    """Return the error for a damaged database; ``finding`` is what SQLite says."""
    return SourceError(
        f"{path} is corrupt: {finding}; save what can be saved with: sqlite3 FILE .recover, or restore an older backup"
    )


def remove_database(path: str) -> None:
    """Remove a database file and what SQLite keeps beside it, where they are."""
    for suffix in ("", *SIBLINGS):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)
