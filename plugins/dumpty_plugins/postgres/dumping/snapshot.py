"""Holds one snapshot of a database while pg_dump reads it, and counts the rows that it must find there.

TRUNCATE and most DDL do not obey snapshots: after a snapshot was exported, they make pg_dump write an empty table
and exit with 0. So every table is locked first (ACCESS SHARE, as pg_dump itself does) and the snapshot taken
afterwards; the locks are held until pg_dump has ended.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from dumpty import Locked, ObjectEvidence, Worker
from dumpty_plugins.postgres.schema.fingerprint import settle
from dumpty_plugins.postgres.schema.tables import Table, count, list_tables
from dumpty_plugins.postgres.server.connection import interruptible, rows
from dumpty_plugins.postgres.server.errors import database_errors, explained
from dumpty_plugins.postgres.server.waiting import Stopping, aside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty_plugins.postgres.server.connection import Address

_ATTEMPTS = 5
_LOCKED_TOGETHER = 200
_DROPPED = ("42P01", "3F000", "42809")  # a table or its schema is gone meanwhile, or is something else now


class Snapshot:
    """A snapshot in use.

    ``id`` is for ``pg_dump --snapshot``; ``name`` says which transactions it sees; ``counting`` counts the rows of its
    tables once it is started, beside pg_dump: on the pages that it reads anyway.
    """

    def __init__(
        self, address: Address, connection: Connection, tables: list[Table], *, counts: bool, prints: bool
    ) -> None:
        self._address = address
        self._connection = connection
        self.tables = tables
        self.id, self.name = rows(connection, "SELECT pg_export_snapshot(), txid_current_snapshot()::text")[0]
        counted = functools.partial(count, connection, tables, prints=prints) if counts else tuple
        self.counting: Worker[tuple[ObjectEvidence, ...]] = Worker(aside(counted), "dumpty-count")

    def counted(self) -> tuple[ObjectEvidence, ...]:
        """Return the counts, proving that the snapshot was held to this moment.

        Raises:
            SourceError: the session was lost, so the dump proves nothing.
        """
        with explained(self._address, "holding the snapshot of"):
            found = self.counting.result()
            rows(self._connection, "SELECT pg_export_snapshot()")
            return found


@contextlib.contextmanager
def snapshot(
    address: Address, connection: Connection, *, lock_timeout: int, counts: bool, prints: bool
) -> Iterator[Snapshot]:
    """Take and hold a snapshot on ``connection`` (which must be in autocommit mode).

    With ``counts`` the rows are counted beside pg_dump, with ``prints`` their fingerprints taken, too.

    Raises:
        Locked: a table's lock was not to be had within ``lock_timeout`` seconds, or tables kept changing.
        SourceError: a right is missing, or the connection was lost.
    """
    with explained(address, "locking the tables of"):
        for name, value in (
            ("lock_timeout", f"{lock_timeout}s"),
            ("row_security", "off"),  # an error instead of a part of the rows
            ("max_parallel_workers_per_gather", "0"),  # counting stays in the background
        ):
            rows(connection, "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s", value, name)
        if prints:
            settle(connection)
        held = interruptible(connection, lambda: _locked(address, connection, counts=counts, prints=prints))
    stopping = Stopping(connection)
    try:
        held.counting.start()
        yield held
    finally:
        held.counting.end(stopping)
        stopping.settle()
    with contextlib.suppress(*database_errors()):
        rows(connection, "ROLLBACK")


def _locked(address: Address, connection: Connection, *, counts: bool, prints: bool) -> Snapshot:
    for _attempt in range(_ATTEMPTS):
        before = list_tables(connection, configuration=True)
        lockable = [t.sql for t in before if t.lockable]
        rows(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            for start in range(0, len(lockable), _LOCKED_TOGETHER):
                names = ", ".join(f"ONLY {name}" for name in lockable[start : start + _LOCKED_TOGETHER])
                rows(connection, f"LOCK TABLE {names} IN ACCESS SHARE MODE")
        except database_errors() as error:
            if getattr(error, "pgcode", "") not in _DROPPED:
                raise
            rows(connection, "ROLLBACK")
            continue
        if list_tables(connection, configuration=True) == before:
            return Snapshot(address, connection, before, counts=counts, prints=prints)
        rows(connection, "ROLLBACK")
    raise Locked(f"the tables of {address.label} keep changing; back it up when no schema change is under way")
