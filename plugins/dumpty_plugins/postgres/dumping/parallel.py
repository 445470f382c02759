"""Writes a dump in parts: pg_dump's archive of everything but the rows of large tables, and these by several sessions.

All see one snapshot, and every session has its locks before anything is written: one that came to a table later would
wait behind whoever waits for an exclusive lock, who waits for us. Each table is somewhere, and once: that the archive's
table of contents and the parts name it so is checked, and that each part has as many rows as the server counted.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Self, cast

from msgspec import structs

from dumpty import CommandError, FormatNotSupported, IntegrityError, SourceError, run_together
from dumpty_plugins.postgres.dumping.archive import CustomCheck
from dumpty_plugins.postgres.dumping.line_counter import LineCounter
from dumpty_plugins.postgres.dumping.rows_script import END, head
from dumpty_plugins.postgres.schema.tables import archived_path, require_names
from dumpty_plugins.postgres.server.connection import prepare, rows
from dumpty_plugins.postgres.server.errors import translate_errors
from dumpty_plugins.postgres.server.psql import Psql, PsqlError, open_psql
from dumpty_plugins.postgres.server.waiting import for_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import ObjectEvidence, Sink
    from dumpty_plugins.postgres.dumping.archive import Contents
    from dumpty_plugins.postgres.dumping.plan import Plan, Range
    from dumpty_plugins.postgres.dumping.snapshot import Snapshot
    from dumpty_plugins.postgres.server.connection import Address
    from dumpty_plugins.postgres.server.programs import WatchedProgram

__all__ = ["RowSessions", "excluded_rows", "require_each_table_once", "require_no_pooler", "with_counts", "write_parts"]

_LEAVING_SECONDS = 5.0
"""What a session gets to be gone."""
_SETTINGS = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "row_security": "off",  # an error instead of a part of the rows
    "synchronize_seqscans": "off",
    "enable_tidscan": "on",
    "max_parallel_workers_per_gather": "0",
}
"""What pg_dump sets for itself, so that what it reads says the same everywhere, and how ranges are read."""


def require_no_pooler(address: Address, connection: Connection) -> None:
    """Check that a session is one of the server's own, as far as libpq can tell: a pooler invents its number.

    Raises:
        FormatNotSupported: it is a pooler's, which may spread several over servers, and forgets what was set in one.
    """
    told = getattr(connection.info, "backend_pid", None)  # which psql does not tell
    if told is not None and told != connection.backend_pid:  # type: ignore[attr-defined]
        raise FormatNotSupported(
            f"{address.label} is a pooler, and a parallel dump needs sessions of the server itself: connect to that"
        )


def excluded_rows(plan: Plan) -> tuple[str, ...]:
    """Return the arguments by which pg_dump leaves out the rows that come in parts."""
    return tuple(f"--exclude-table-data={table.sql}" for table in plan.tables)


class RowSessions:
    """As many sessions in a snapshot as its plan allows, each with locks on all tables of that. A context manager.

    Args:
        address: the server's.
        snapshot: what they see.
        bindir: the directory of the psql to use; "" for the one on the PATH.
        encoding: that of the dump.
        lock_timeout: seconds to wait for the locks.
    """

    def __init__(self, address: Address, snapshot: Snapshot, *, bindir: str, encoding: str, lock_timeout: int) -> None:
        self._address = address
        self._bindir = bindir
        self._snapshot = snapshot
        self._jobs = min(snapshot.plan.jobs, len(snapshot.plan.ranges))
        self._encoding = encoding
        self._lock_timeout = lock_timeout
        self.sessions: list[Psql] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for _number in range(self._jobs):
                try:
                    session = self._open()
                except (CommandError, SourceError) as error:
                    if isinstance(error.__cause__, PsqlError) and error.__cause__.stalled:
                        raise  # no other format would fare better
                    if not self.sessions:
                        raise FormatNotSupported(f"no session reads its rows: {error}") from error
                    self._leave_room()
                    break
                stack.enter_context(contextlib.closing(session))
                self.sessions.append(session)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stop(self) -> None:
        """End all, from any thread."""
        for session in self.sessions:
            session.abandon()

    def _leave_room(self) -> None:
        """Where the server has room for no more, end the last session: pg_dump needs one, too."""
        if len(self.sessions) > 1:
            last = self.sessions.pop()
            last.close()
            connection = cast("Connection", cast("object", self.sessions[0]))
            deadline = time.monotonic() + _LEAVING_SECONDS
            ask = "SELECT pg_stat_clear_snapshot(), count(*) FROM pg_stat_get_activity(%s)"
            while rows(connection, ask, last.backend_pid)[0][1] and time.monotonic() < deadline:
                time.sleep(_LEAVING_SECONDS / 100)

    def _open(self) -> Psql:
        with contextlib.ExitStack() as stack, translate_errors(self._address, "joining the snapshot of"):
            connection = stack.enter_context(contextlib.closing(open_psql(self._address, self._bindir)))
            prepare(connection)
            rows(connection, f"SET client_encoding = '{self._encoding}'")
            # At once: where the server is far, each statement takes as long as the way there and back.
            settings = _SETTINGS | {"lock_timeout": f"{self._lock_timeout}s"}
            rows(connection, "SELECT " + ", ".join(f"set_config('{n}', '{v}', false)" for n, v in settings.items()))
            rows(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            rows(connection, f"SET TRANSACTION SNAPSHOT '{self._snapshot.id}'")
            names = ", ".join(f"ONLY {table.sql}" for table in self._snapshot.plan.tables)
            rows(connection, f"LOCK TABLE {names} IN ACCESS SHARE MODE")
            # Now only what holds an index (REINDEX) can be in the way, which does not wait for us.
            rows(connection, "SET lock_timeout = 0")
            require_names(connection, self._snapshot.plan.tables)
            stack.pop_all()  # it is the caller's now
        return cast("Psql", cast("object", connection))


def write_parts(
    archive: WatchedProgram, sink: Sink, address: Address, sessions: RowSessions, ranges: Sequence[Range], encoding: str
) -> tuple[Contents, dict[str, int]]:
    """Write the archive that a pg_dump writes, and the rows of all ranges beside it.

    Returns:
        The archive's table of contents, and the rows of each table that came in parts, by its path.

    Raises:
        CommandError: pg_dump or a psql failed.
        IntegrityError: what they wrote is not whole.
        SourceError: the server refused, or was lost.
    """
    writer = _PartsWriter(sink, address, ranges, encoding, at_once=len(sessions.sessions) + 1)
    first = archive.read()  # it has its locks by now: until then it may give up, and nothing was written
    contents: list[Contents] = []
    pieces: list[Callable[[], None]] = [
        lambda: contents.append(writer.write_archive(archive, first)),
        *(functools.partial(writer.write_rows, session) for session in sessions.sessions),
    ]

    def stop() -> None:
        archive.stop()
        sessions.stop()

    run_together([for_worker(piece) for piece in pieces], jobs=len(pieces), stop=stop, name="dumpty-parts")
    if writer.ranges_written != len(ranges):
        raise IntegrityError(f"{writer.ranges_written} of {len(ranges)} parts were written; take the backup again")
    return contents[0], writer.counts


class _PartsWriter:
    def __init__(self, sink: Sink, address: Address, ranges: Sequence[Range], encoding: str, *, at_once: int) -> None:
        self._sink = sink
        self._address = address
        self._encoding = encoding
        self._at_once = at_once
        self._remaining = deque(ranges)
        self._lock = threading.Lock()
        self.counts = {piece.table.path: 0 for piece in ranges}
        self.ranges_written = 0

    def write_archive(self, archive: WatchedProgram, piece: bytes) -> Contents:
        check = CustomCheck()
        with self._sink.part(section="whole", at_once=self._at_once) as part:
            while piece:
                part.write(piece)
                check.feed(piece)
                piece = archive.read()
            return check.finish()

    def write_rows(self, session: Psql) -> None:
        """Write one range after another, as long as there are any."""
        while (piece := self._take_range()) is not None:
            count = self._write_range(session, piece)
            with self._lock:
                self.counts[piece.table.path] += count
                self.ranges_written += 1

    def _take_range(self) -> Range | None:
        with self._lock:
            return self._remaining.popleft() if self._remaining else None

    def _write_range(self, session: Psql, piece: Range) -> int:
        path, counter = piece.table.path, LineCounter()
        with self._sink.part(suffix=".rows.sql", at_once=self._at_once) as part:
            label = f"{path}, {piece.label}" if piece.label else path
            part.write(head(label, self._encoding, piece.table.sql, piece.columns))
            connection = cast("Connection", cast("object", session))
            with translate_errors(self._address, f"copying {path} of"):
                require_names(connection, [piece.table])
                for block in session.copy_out(piece.copy_statement):
                    part.write(block)
                    counter.feed(block)
                require_names(connection, [piece.table])
            if counter.lines != session.rows_copied:
                raise IntegrityError(
                    f"of {path} came {counter.lines} rows, and the server says that it sent {session.rows_copied}; "
                    "take the backup again"
                )
            part.write(END)
            part.holds(path, rows=counter.lines, range=piece.label)
        return counter.lines


def require_each_table_once(contents: Contents, snapshot: Snapshot, counts: Mapping[str, int]) -> None:
    """Check that the rows of every table are in the archive or in parts, and not in both.

    Raises:
        IntegrityError: they are not.
    """
    archived = Counter(
        archived_path(entry.namespace, entry.tag, contents.encoding)
        for entry in contents.entries
        if entry.kind == "TABLE DATA"
    )
    expected = {table.path for table in snapshot.tables if table.kind == "r"}
    twice = sorted({path for path, number in archived.items() if number > 1} | (archived.keys() & counts.keys()))
    missing = sorted(expected - archived.keys() - counts.keys())
    for paths, fault in ((missing, "nowhere in the dump"), (twice, "in the dump twice")):
        if paths:
            more = f" and {len(paths) - 1} more tables" if len(paths) > 1 else ""
            raise IntegrityError(f"the rows of {paths[0]}{more} are {fault}; take the backup again")


def with_counts(objects: Sequence[ObjectEvidence], counts: Mapping[str, int]) -> tuple[ObjectEvidence, ...]:
    """Return evidence with the rows of those tables that came in parts.

    Raises:
        IntegrityError: they are not as many as were counted in the snapshot.
    """
    completed = []
    for entry in objects:
        rows_of_parts = counts.get(entry.path, entry.rows)
        if entry.rows not in (None, rows_of_parts):
            raise IntegrityError(
                f"the parts hold {rows_of_parts} rows of {entry.path}, which has {entry.rows}; take the backup again"
            )
        completed.append(structs.replace(entry, rows=rows_of_parts))
    return tuple(completed)
