"""One backup, from the snapshot to the last line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import Evidence, IntegrityError, ObjectEvidence, SourceError
from dumpty_plugins.mysql.dumping.ranges import RangeReader
from dumpty_plugins.mysql.dumping.row_by_row import dump_rows
from dumpty_plugins.mysql.dumping.script import Script
from dumpty_plugins.mysql.dumping.snapshot import Snapshot
from dumpty_plugins.mysql.schema.binary_log import LOGGED, logged
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
LEFT_OUT = {"views": "view", "triggers": "trigger", "routines": "routine", "events": "event"}


def dump(source: Source, sink: Sink, options: Options) -> Evidence:
    """Write a dump of ``source`` into ``sink``.

    Raises:
        SourceError: see ``Snapshot``; or the connection was lost.
        IntegrityError: the server's counts and what it delivered do not agree.
    """
    database = database_of(source)
    fast = options["formatting"] == "server"
    jobs = max(1, int(str(options["jobs"]))) if fast else 1
    printed = bool(options["fingerprint"])
    skip = {kind for option, kind in LEFT_OUT.items() if not options[option]}
    with Snapshot(source, database, jobs=jobs, lock_timeout=int(str(options["lock_timeout"])), skip=skip) as snapshot:
        catalog = snapshot.catalog
        for table in catalog.tables:
            _check_table(table)
            check_definition(snapshot.keeper, database, table)
        sink.expect(int(sum(t.data_bytes for t in catalog.tables) * 1.1) + 1024)
        script = Script(sink)
        keeper = snapshot.keeper
        script.begin(catalog, keeper.version, mariadb=keeper.mariadb)
        # Tables under a lock come first, over the session that holds it: writers wait for them.
        tables = sorted(catalog.tables, key=lambda t: (t.transactional, t.name))
        if fast:
            reader = RangeReader(snapshot.sessions, keeper)
            try:
                objects = _tables(tables, script, reader.dump_rows, snapshot, printed=printed)
            except BaseException:
                reader.stop()
                raise
            reader.close()
        else:
            only = snapshot.sessions[0]
            objects = _tables(tables, script, lambda t, s: dump_rows(only, t, s), snapshot, printed=printed)
        script.code(catalog.code)
        snapshot.release_locks()
        _still_there([*snapshot.sessions, keeper])
        script.end()
        notes = list(snapshot.notes)
        properties: dict[str, object] = {"snapshot": snapshot.method}
        asked = logged(keeper, database, catalog.code)
        if asked:
            properties[LOGGED] = asked
        if printed:
            properties[DANGLING] = dangling(snapshot.sessions[0], database)
        if script.longest > _COMMON_PACKET:
            notes.append(
                f"the longest row needs max_allowed_packet of {script.longest + 1024} bytes or more to be restored"
            )
        return Evidence(
            objects=tuple(sorted(objects, key=lambda o: o.path)),
            consistent=True,
            versions=versions(keeper),
            notes=tuple(notes),
            properties=properties,
        )


def _tables(
    tables: list[Table], script: Script, rows: Callable[[Table, Script], int], snapshot: Snapshot, *, printed: bool
) -> list[ObjectEvidence]:
    objects = []
    for table in tables:
        if table.transactional:
            snapshot.release_locks()
        reader = snapshot.locker or snapshot.sessions[0]
        zone = zone_to_load(reader, table)
        snapshot.notes += _notes(reader, table, zone)
        every = [*snapshot.sessions, snapshot.keeper, *([snapshot.locker] if snapshot.locker else [])]
        with in_zone(every, zone or UTC):
            script.begin_table(table, zone or UTC)
            if table.merged:
                count = None
            else:
                count = dump_rows(snapshot.locker, table, script) if snapshot.locker else rows(table, script)
            script.end_table(table)
        mark = None
        if printed and count is not None:
            # Each over a session of the snapshot, or over the one that holds the lock.
            seen, mark = fingerprint(reader, table)
            if seen != count:
                raise IntegrityError(f"table {table.name} delivered {count} rows, but its fingerprint is of {seen}")
        objects.append(ObjectEvidence(path=table.name, rows=count, fingerprint=mark))
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
    lost = session.number(table.momentary) if table.versioned else 0
    if lost:
        notes.append(
            f"table {table.name}: {lost} versions of rows that were replaced in the very moment in which they were "
            "written are left out: they were never valid, and no table takes them back"
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
    unclear = b"?" in table.create or not table.create.isascii()
    for column in table.columns:
        if column.type in {"enum", "set"} and column.charset in {"", "binary"} and unclear:
            raise SourceError(
                f"column {table.name}.{column.name} is an {column.type.upper()} in the character set binary, and the "
                "server does not tell its members exactly: give the column another character set"
            )


def _still_there(sessions: list[Session]) -> None:
    """Ask every session for a last answer: one that was killed did not hold its snapshot to the end."""
    for session in sessions:
        session.rows("SELECT 1")
