"""Writes a dump in parts: tables, then rows, several parts at once over the sessions of one snapshot, then the rest.

Order within: rows that a lock keeps still come before all others, over the session that holds it; then all other rows,
those apart whose times are given in a zone of their own. Each table is somewhere, each row of it once:
that is checked of what was planned and again of what was written, before the last part is.
"""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from dumpty import IntegrityError, ObjectEvidence, run_together
from dumpty_plugins.mysql.dumping.evidence import table_evidence, table_notes
from dumpty_plugins.mysql.dumping.plan import plan_parts, require_each_row_once
from dumpty_plugins.mysql.dumping.row_by_row import dump_rows
from dumpty_plugins.mysql.dumping.script_writer import Script
from dumpty_plugins.mysql.schema.generated_columns import UTC, in_zone, zone_to_load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dumpty import PartSink, Section, Sink
    from dumpty_plugins.mysql.dumping.plan import Piece
    from dumpty_plugins.mysql.dumping.ranges import RangeReader
    from dumpty_plugins.mysql.dumping.row_by_row import RowReader
    from dumpty_plugins.mysql.dumping.snapshot import Snapshot
    from dumpty_plugins.mysql.dumping.spans import Span
    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.server.session import Session

    WriteRows = Callable[[Span, Script], int]

T = TypeVar("T")
ROWS_SUFFIX, LAST_SUFFIX = ".rows.sql", ".objects.sql"
"""How the names of parts end, those of the first one excepted, which has the format's own."""


class PartsWriter:
    """Writes one dump in parts. ``longest`` is the longest statement of all.

    Args:
        sink: where to.
        snapshot: what they see.
        reader: reads rows over its sessions.
        jobs: how many parts are to be loaded at once.
        part_size: see ``plan_parts``.
        fingerprinted: whether to take the fingerprints of tables.
    """

    def __init__(
        self,
        sink: Sink,
        snapshot: Snapshot,
        reader: RangeReader | RowReader,
        *,
        jobs: int,
        part_size: int,
        fingerprinted: bool,
    ) -> None:
        self._sink = sink
        self._snapshot = snapshot
        self._reader = reader
        self._jobs = jobs
        self._part_size = part_size
        self._fingerprinted = fingerprinted
        self._lock = threading.Lock()
        self._written: list[Piece] = []
        self._counts: dict[str, int] = {}
        self.longest = 0

    def write(self) -> list[ObjectEvidence]:
        """Write all tables and their rows, and return the evidence.

        Raises:
            IntegrityError: rows that the server counts could not be had, or are not in the parts once.
            SourceError: a connection was lost, or the server gave up midway.
        """
        # As in a script of everything: those that a lock may keep still first, merged tables among them.
        tables = sorted(self._snapshot.catalog.tables, key=lambda t: (t.transactional, t.name))
        with self._part("pre-data") as (_, script):
            for table in tables:
                script.create_table(table)
        locked = [t for t in tables if not t.transactional and not t.merged]
        frozen = [t for t in tables if t.transactional]
        objects = self._write_locked(locked)
        self._snapshot.release_locks()
        self._write_frozen(frozen)
        require_each_row_once([*locked, *frozen], self._written)
        objects += self._together([functools.partial(self._evidence, table) for table in frozen])
        return [*objects, *(ObjectEvidence(path=t.name) for t in tables if t.merged)]

    def write_last(self) -> None:
        """Write the stored objects."""
        with self._part("post-data", LAST_SUFFIX) as (_, script):
            script.stored_objects(self._snapshot.catalog.stored_objects)

    def _write_locked(self, tables: Sequence[Table]) -> list[ObjectEvidence]:
        """Write what no snapshot freezes, over the session that keeps writers out of it."""
        if not tables:
            return []
        session = self._snapshot.table_lock_session
        if session is None:
            raise IntegrityError(f"table {tables[0].name} was to be locked, and is not: take the backup again")
        zones = self._zones(session, tables)
        for zone in sorted(set(zones.values())):
            pieces = self._plan(session, [t for t in tables if zones[t.name] == zone], whole=True)
            with in_zone([session], zone):
                for piece in pieces:
                    self._write_rows(piece, functools.partial(dump_rows, session), zone)
        return [table_evidence(session, t, self._counts[t.name], fingerprinted=self._fingerprinted) for t in tables]

    def _write_frozen(self, tables: Sequence[Table]) -> None:
        zones = self._zones(self._snapshot.sessions[0], tables)
        for zone in sorted(set(zones.values())):
            # Where times are given in another zone, bounds of keys would be, too.
            pieces = self._plan(
                self._snapshot.lock_session, [t for t in tables if zones[t.name] == zone], whole=zone != UTC
            )
            with in_zone([*self._snapshot.sessions, self._snapshot.lock_session], zone):
                self._together(
                    [functools.partial(self._write_rows, piece, self._reader.dump_rows, zone) for piece in pieces]
                )

    def _plan(self, session: Session, tables: Sequence[Table], *, whole: bool) -> list[Piece]:
        return plan_parts(session.rows, tables, jobs=self._jobs, part_size=self._part_size, whole=whole)

    def _together(self, work: Sequence[Callable[[], T]]) -> list[T]:
        return run_together(work, jobs=self._reader.writers, stop=self._reader.abandon, name="dumpty-parts")

    def _evidence(self, table: Table) -> ObjectEvidence:
        with self._reader.session() as session:
            return table_evidence(session, table, self._counts[table.name], fingerprinted=self._fingerprinted)

    def _zones(self, session: Session, tables: Sequence[Table]) -> dict[str, str]:
        """Return the time zone in which a restore computes of a table's rows what it stores; note what it cannot."""
        zones = {}
        for table in tables:
            zone = zone_to_load(session, table)
            self._snapshot.notes += table_notes(session, table, zone)
            zones[table.name] = zone or UTC
        return zones

    @contextmanager
    def _part(self, section: Section, suffix: str = "", at_once: int = 1) -> Iterator[tuple[PartSink, Script]]:
        lock_session = self._snapshot.lock_session
        with self._sink.part(section=section, suffix=suffix, at_once=at_once) as part:
            script = Script(part)
            script.begin(self._snapshot.catalog, lock_session.version, mariadb=lock_session.mariadb, section=section)
            yield part, script
            script.end()
        with self._lock:
            self.longest = max(self.longest, script.longest)

    def _write_rows(self, piece: Piece, rows: WriteRows, zone: str = UTC) -> None:
        counts: dict[str, int] = {}
        with self._part("data", ROWS_SUFFIX, self._reader.writers) as (part, script):
            for span in piece.spans:
                name = span.table.name
                script.begin_part_of_table(span.table, zone)
                counts[name] = rows(span, script)
                script.end_rows(span.table)
                part.holds(name, rows=counts[name], range=span.label)
        with self._lock:
            self._written.append(piece)
            for name, count in counts.items():
                self._counts[name] = self._counts.get(name, 0) + count
