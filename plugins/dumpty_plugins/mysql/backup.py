"""One backup, from the snapshot to the last line."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty import Evidence, OptionError, SourceError
from dumpty_plugins.mysql.dumping.parallel import PartsWriter
from dumpty_plugins.mysql.dumping.ranges import RangeReader
from dumpty_plugins.mysql.dumping.row_by_row import RowReader
from dumpty_plugins.mysql.dumping.single import ScriptWriter
from dumpty_plugins.mysql.dumping.snapshot import Snapshot
from dumpty_plugins.mysql.schema.binary_log import BINARY_LOG_PROPERTY, restricted_objects
from dumpty_plugins.mysql.schema.catalog import REMOTE
from dumpty_plugins.mysql.schema.checks import DANGLING, dangling
from dumpty_plugins.mysql.schema.restorable import check_definition
from dumpty_plugins.mysql.server.connection import database_of
from dumpty_plugins.mysql.server.session import versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Options, Sink, Source
    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.server.session import Session

_COMMON_PACKET = 16 << 20
"""``max_allowed_packet`` where nobody set it: MariaDB's default, and MySQL's client's."""
SKIP_OPTIONS = {"views": "view", "triggers": "trigger", "routines": "routine", "events": "event"}


def dump(source: Source, sink: Sink, options: Options, *, in_parts: bool = False) -> Evidence:
    """Write a dump of ``source`` into ``sink``, as one script or in parts.

    Raises:
        OptionError: ``part_size`` is no size.
        SourceError: see ``Snapshot``; or the connection was lost.
        IntegrityError: the server's counts and what it delivered do not agree.
    """
    database = database_of(source)
    on_server = options["formatting"] == "server"
    jobs = max(1, int(str(options["jobs"])))
    part_size = int(str(options["part_size"]))
    if part_size < 0:
        raise OptionError("part_size is a number of bytes, or 0 for what suits")
    fingerprinted = bool(options["fingerprint"])
    skip = {kind for option, kind in SKIP_OPTIONS.items() if not options[option]}
    lock_timeout = int(str(options["lock_timeout"]))
    sessions = jobs if on_server else 1
    with Snapshot(source, database, jobs=sessions, lock_timeout=lock_timeout, skip=skip) as snapshot:
        catalog = snapshot.catalog
        for table in catalog.tables:
            _check_table(table)
            check_definition(snapshot.lock_session, database, table)
        sink.expect(int(sum(t.data_bytes for t in catalog.tables) * 1.1) + 1024)
        lock_session = snapshot.lock_session
        writer: PartsWriter | ScriptWriter
        with _reader(snapshot, on_server=on_server, in_parts=in_parts) as reader:
            if in_parts:
                writer = PartsWriter(
                    sink, snapshot, reader, jobs=jobs, part_size=part_size, fingerprinted=fingerprinted
                )
            else:
                writer = ScriptWriter(sink, snapshot, reader, fingerprinted=fingerprinted)
            objects = writer.write()
        snapshot.release_locks()
        _require_alive([*snapshot.sessions, lock_session])
        writer.write_last()
        notes = list(snapshot.notes)
        properties: dict[str, object] = {"snapshot": snapshot.method}
        restricted = restricted_objects(lock_session, database, catalog.stored_objects)
        if restricted:
            properties[BINARY_LOG_PROPERTY] = restricted
        if fingerprinted:
            properties[DANGLING] = dangling(snapshot.sessions[0], database)
        if writer.longest > _COMMON_PACKET:
            notes.append(
                f"the longest row needs max_allowed_packet of {writer.longest + 1024} bytes or more to be restored"
            )
        return Evidence(
            objects=tuple(sorted(objects, key=lambda o: o.path)),
            consistent=True,
            versions=versions(lock_session),
            notes=tuple(notes),
            properties=properties,
        )


@contextlib.contextmanager
def _reader(snapshot: Snapshot, *, on_server: bool, in_parts: bool) -> Iterator[RangeReader | RowReader]:
    reader: RangeReader | RowReader
    if on_server:
        writers = len(snapshot.sessions) if in_parts else 1
        reader = RangeReader(snapshot.sessions, snapshot.lock_session, writers=writers)
    else:
        reader = RowReader(snapshot.sessions[0])
    try:
        yield reader
    except BaseException:
        reader.stop()
        raise
    reader.close()


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
