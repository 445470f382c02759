"""Writes a dump as one script: each table with its rows, in an order that lets go of locks first, then the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.mysql.dumping.evidence import table_evidence, table_notes
from dumpty_plugins.mysql.dumping.row_by_row import dump_rows
from dumpty_plugins.mysql.dumping.script_writer import Script
from dumpty_plugins.mysql.dumping.spans import Span
from dumpty_plugins.mysql.schema.generated_columns import UTC, in_zone, zone_to_load

if TYPE_CHECKING:
    from dumpty import ObjectEvidence, Sink
    from dumpty_plugins.mysql.dumping.ranges import RangeReader
    from dumpty_plugins.mysql.dumping.row_by_row import RowReader
    from dumpty_plugins.mysql.dumping.snapshot import Snapshot
    from dumpty_plugins.mysql.schema.catalog import Table


class ScriptWriter:
    """Writes one dump as one script.

    Args:
        sink: where to.
        snapshot: what is written.
        reader: reads rows over its sessions.
        fingerprinted: whether to take the fingerprints of tables.
    """

    def __init__(self, sink: Sink, snapshot: Snapshot, reader: RangeReader | RowReader, *, fingerprinted: bool) -> None:
        self._snapshot = snapshot
        self._reader = reader
        self._fingerprinted = fingerprinted
        self._script = Script(sink)

    @property
    def longest(self) -> int:
        """The length of the longest statement."""
        return self._script.longest

    def write(self) -> list[ObjectEvidence]:
        """Write all tables with their rows, and return the evidence.

        Raises:
            IntegrityError: rows that the server counts could not be had.
            SourceError: a connection was lost, or the server gave up midway.
        """
        snapshot = self._snapshot
        lock_session = snapshot.lock_session
        self._script.begin(snapshot.catalog, lock_session.version, mariadb=lock_session.mariadb)
        objects = []
        # Tables under a lock come first, over the session that holds it: writers wait for them.
        for table in sorted(snapshot.catalog.tables, key=lambda t: (t.transactional, t.name)):
            if table.transactional:
                snapshot.release_locks()
            objects.append(self._write_table(table))
        self._script.stored_objects(snapshot.catalog.stored_objects)
        return objects

    def write_last(self) -> None:
        """Write the line that makes the dump complete."""
        self._script.end()

    def _write_table(self, table: Table) -> ObjectEvidence:
        snapshot, script = self._snapshot, self._script
        session = snapshot.table_lock_session or snapshot.sessions[0]
        zone = zone_to_load(session, table)
        snapshot.notes += table_notes(session, table, zone)
        sessions = [*snapshot.sessions, snapshot.lock_session]
        sessions += [snapshot.table_lock_session] if snapshot.table_lock_session else []
        count = None
        with in_zone(sessions, zone or UTC):
            script.create_table(table)
            script.begin_rows(table, zone or UTC)
            if not table.merged:
                count = (
                    dump_rows(snapshot.table_lock_session, Span(table=table), script)
                    if snapshot.table_lock_session
                    else self._reader.dump_rows(Span(table=table), script)
                )
            script.end_rows(table)
        return table_evidence(session, table, count, fingerprinted=self._fingerprinted)
