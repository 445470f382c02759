"""One backup, from the snapshot to the last line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import Evidence, IntegrityError, ObjectEvidence, SourceError
from dumpty_plugins.mysql.dumping.ranges import RangeReader
from dumpty_plugins.mysql.dumping.row_by_row import dump_rows
from dumpty_plugins.mysql.dumping.script_writer import Script
from dumpty_plugins.mysql.dumping.snapshot import Snapshot
from dumpty_plugins.mysql.schema.binary_log import BINARY_LOG_PROPERTY, restricted_objects
from dumpty_plugins.mysql.schema.catalog import REMOTE
from dumpty_plugins.mysql.schema.checks import DANGLING, dangling
from dumpty_plugins.mysql.schema.fingerprint import fingerprint
from dumpty_plugins.mysql.schema.generated_columns import UTC, in_zone, zone_to_load
from dumpty_plugins.mysql.schema.restorable import check_definition
from dumpty_plugins.mysql.server.connection import database_of
from dumpty_plugins.mysql.server.session import versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty import Options, Sink, Source
    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.server.session import Session

_COMMON_PACKET = 16 << 20
"""``max_allowed_packet`` where nobody set it: MariaDB's default, and MySQL's client's."""
SKIP_OPTIONS = {"views": "view", "triggers": "trigger", "routines": "routine", "events": "event"}


def dump(source: Source, sink: Sink, options: Options) -> Evidence:
    """Write a dump of ``source`` into ``sink``.

    Raises:
        SourceError: see ``Snapshot``; or the connection was lost.
        IntegrityError: the server's counts and what it delivered do not agree.
    """
    database = database_of(source)
    on_server = options["formatting"] == "server"
    jobs = max(1, int(str(options["jobs"]))) if on_server else 1
    fingerprinted = bool(options["fingerprint"])
    skip = {kind for option, kind in SKIP_OPTIONS.items() if not options[option]}
    with Snapshot(source, database, jobs=jobs, lock_timeout=int(str(options["lock_timeout"])), skip=skip) as snapshot:
        catalog = snapshot.catalog
        for table in catalog.tables:
            _check_table(table)
            check_definition(snapshot.lock_session, database, table)
        sink.expect(int(sum(t.data_bytes for t in catalog.tables) * 1.1) + 1024)
        script = Script(sink)
        lock_session = snapshot.lock_session
        script.begin(catalog, lock_session.version, mariadb=lock_session.mariadb)
        # Tables under a lock come first, over the session that holds it: writers wait for them.
        tables = sorted(catalog.tables, key=lambda t: (t.transactional, t.name))
        if on_server:
            reader = RangeReader(snapshot.sessions, lock_session)
            try:
                objects = _tables(tables, script, reader.dump_rows, snapshot, fingerprinted=fingerprinted)
            except BaseException:
                reader.stop()
                raise
            reader.close()
        else:
            session = snapshot.sessions[0]
            objects = _tables(
                tables, script, lambda t, s: dump_rows(session, t, s), snapshot, fingerprinted=fingerprinted
            )
        script.stored_objects(catalog.stored_objects)
        snapshot.release_locks()
        _require_alive([*snapshot.sessions, lock_session])
        script.end()
        notes = list(snapshot.notes)
        properties: dict[str, object] = {"snapshot": snapshot.method}
        restricted = restricted_objects(lock_session, database, catalog.stored_objects)
        if restricted:
            properties[BINARY_LOG_PROPERTY] = restricted
        if fingerprinted:
            properties[DANGLING] = dangling(snapshot.sessions[0], database)
        if script.longest > _COMMON_PACKET:
            notes.append(
                f"the longest row needs max_allowed_packet of {script.longest + 1024} bytes or more to be restored"
            )
        return Evidence(
            objects=tuple(sorted(objects, key=lambda o: o.path)),
            consistent=True,
            versions=versions(lock_session),
            notes=tuple(notes),
            properties=properties,
        )


def _tables(
    tables: list[Table],
    script: Script,
    rows: Callable[[Table, Script], int],
    snapshot: Snapshot,
    *,
    fingerprinted: bool,
) -> list[ObjectEvidence]:
    objects = []
    for table in tables:
        if table.transactional:
            snapshot.release_locks()
        reader = snapshot.table_lock_session or snapshot.sessions[0]
        zone = zone_to_load(reader, table)
        snapshot.notes += _notes(reader, table, zone)
        all_sessions = [
            *snapshot.sessions,
            snapshot.lock_session,
            *([snapshot.table_lock_session] if snapshot.table_lock_session else []),
        ]
        with in_zone(all_sessions, zone or UTC):
            script.begin_table(table, zone or UTC)
            if table.merged:
                count = None
            else:
                count = (
                    dump_rows(snapshot.table_lock_session, table, script)
                    if snapshot.table_lock_session
                    else rows(table, script)
                )
            script.end_table(table)
        digest = None
        if fingerprinted and count is not None:
            # Each over a session of the snapshot, or over the one that holds the lock.
            rows_fingerprinted, digest = fingerprint(reader, table)
            if rows_fingerprinted != count:
                raise IntegrityError(
                    f"table {table.name} delivered {count} rows, but its fingerprint is of {rows_fingerprinted}"
                )
        objects.append(ObjectEvidence(path=table.name, rows=count, fingerprint=digest))
    return objects


def _notes(session: Session, table: Table, zone: str | None) -> list[str]:
    """Return what a restore of ``table`` cannot bring back, though nobody is to blame for it."""
    notes = []
    if zone is None:
        names = ", ".join(c.name for c in table.computed)
        notes.append(
            f"table {table.name}: what its generated columns ({names}) store could not be shown to be what their "
            "expressions give in any one time zone, and a restore computes them anew: compare them afterwards, or take "
            "fingerprints for drills"
        )
    momentary_rows = session.number(table.momentary_count) if table.versioned else 0
    if momentary_rows:
        notes.append(
            f"table {table.name}: {momentary_rows} versions of rows that were replaced in the very moment in which "
            "they were written are left out: they were never valid, and no table takes them back"
        )
    return notes


def _check_table(table: Table) -> None:
    """See that the definition can be written, and that the rows are the table's own.

    Raises:
        SourceError: a dump could not bring it back.
    """
    if table.engine.lower() in REMOTE:
        raise SourceError(
            f"table {table.name} is of the engine {table.engine}, which keeps its rows elsewhere: a dump cannot hold "
            "them, and a restore would write there; drop the table, or move it into a database of its own"
        )
    if table.merged and b"`." in table.create.rpartition(b"UNION=(")[2]:
        raise SourceError(
            f"table {table.name} is made of tables in other databases, which are not in this dump: bring them into the "
            "same database, or drop it"
        )
    # The server prints members that are bytes as if they were text, with a question mark for what is none.
    ambiguous = b"?" in table.create or not table.create.isascii()
    for column in table.columns:
        if column.type in {"enum", "set"} and column.charset in {"", "binary"} and ambiguous:
            raise SourceError(
                f"column {table.name}.{column.name} is an {column.type.upper()} in the character set binary, and the "
                "server does not tell its members exactly: give the column another character set"
            )


def _require_alive(sessions: list[Session]) -> None:
    """Ask every session for a last answer: one that was killed did not hold its snapshot to the end."""
    for session in sessions:
        session.rows("SELECT 1")
