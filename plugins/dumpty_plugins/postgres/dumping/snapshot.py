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
from dumpty_plugins.postgres.dumping.plan import Plan
from dumpty_plugins.postgres.schema.fingerprint import apply_settings
from dumpty_plugins.postgres.schema.tables import Table, count, list_tables, require_names_now
from dumpty_plugins.postgres.server.connection import interruptible, rows
from dumpty_plugins.postgres.server.errors import database_errors, translate_errors
from dumpty_plugins.postgres.server.waiting import Canceller, for_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty_plugins.postgres.server.connection import Address

    MakePlan = Callable[[Connection, list[Table]], Plan]

_ATTEMPTS = 5
_TABLES_PER_LOCK = 200
_TABLE_CHANGED = ("42P01", "3F000", "42809")  # a table or its schema is gone meanwhile, or is something else now


class Snapshot:
    """A snapshot in use.

    ``id`` is for ``pg_dump --snapshot``; ``name`` says which transactions it sees; ``plan`` which rows are to come in
    parts, if any. ``count_worker`` counts the rows of the other tables once it is started, beside pg_dump: on the pages
    that it reads anyway.
    """

    def __init__(
        self,
        address: Address,
        connection: Connection,
        tables: list[Table],
        *,
        counts: bool,
        fingerprints: bool,
        make_plan: MakePlan | None,
    ) -> None:
        self._address = address
        self._connection = connection
        self.tables = tables
        self.plan = Plan() if make_plan is None else make_plan(connection, tables)
        self.id, self.name = rows(connection, "SELECT pg_export_snapshot(), txid_current_snapshot()::text")[0]
        count_tables = functools.partial(count, connection, tables, fingerprint=fingerprints, skipped=self.plan.oids)
        count_rows = count_tables if counts else tuple
        self.count_worker: Worker[tuple[ObjectEvidence, ...]] = Worker(for_worker(count_rows), "dumpty-count")

    def wait_for_counts(self) -> tuple[ObjectEvidence, ...]:
        """Return the counts, proving that the snapshot was held to this moment.

        Raises:
            SourceError: the session was lost, or a schema renamed, so the dump proves nothing.
        """
        with translate_errors(self._address, "holding the snapshot of"):
            objects = self.count_worker.result()
            rows(self._connection, "SELECT pg_export_snapshot()")
            require_names_now(self._connection, [table for table in self.tables if table.lockable])
            return objects


@contextlib.contextmanager
def hold_snapshot(
    address: Address,
    connection: Connection,
    *,
    lock_timeout: int,
    counts: bool,
    fingerprints: bool,
    make_plan: MakePlan | None = None,
) -> Iterator[Snapshot]:
    """Take and hold a snapshot on ``connection`` (which must be in autocommit mode).

    With ``counts`` the rows are counted beside pg_dump, with ``fingerprints`` their fingerprints taken, too; what
    ``make_plan`` says is to come in parts is counted there.

    Raises:
        Locked: a table's lock was not to be had within ``lock_timeout`` seconds, or tables kept changing.
        SourceError: a right is missing, or the connection was lost.
    """
    with translate_errors(address, "locking the tables of"):
        for name, value in (
            ("lock_timeout", f"{lock_timeout}s"),
            ("row_security", "off"),  # an error instead of a part of the rows
            ("max_parallel_workers_per_gather", "0"),  # counting stays in the background
        ):
            rows(connection, "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s", value, name)
        if fingerprints:
            apply_settings(connection)
        take = functools.partial(
            Snapshot, address, connection, counts=counts, fingerprints=fingerprints, make_plan=make_plan
        )
        snapshot = interruptible(connection, lambda: _lock_tables(address, connection, take))
    canceller = Canceller(connection)
    try:
        snapshot.count_worker.start()
        yield snapshot
    finally:
        snapshot.count_worker.end(canceller)
        canceller.settle()
    with contextlib.suppress(*database_errors()):
        rows(connection, "ROLLBACK")


def _lock_tables(address: Address, connection: Connection, take: Callable[[list[Table]], Snapshot]) -> Snapshot:
    for _attempt in range(_ATTEMPTS):
        tables = list_tables(connection, configuration=True)
        lockable = [t.sql for t in tables if t.lockable]
        rows(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            for start in range(0, len(lockable), _TABLES_PER_LOCK):
                names = ", ".join(f"ONLY {name}" for name in lockable[start : start + _TABLES_PER_LOCK])
                rows(connection, f"LOCK TABLE {names} IN ACCESS SHARE MODE")
        except database_errors() as error:
            if getattr(error, "pgcode", "") not in _TABLE_CHANGED:
                raise
            rows(connection, "ROLLBACK")
            continue
        if list_tables(connection, configuration=True) == tables:
            return take(tables)
        rows(connection, "ROLLBACK")
    raise Locked(f"the tables of {address.label} keep changing; back it up when no schema change is under way")
