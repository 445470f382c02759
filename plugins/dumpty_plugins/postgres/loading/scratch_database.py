"""A scratch database once a dump is loaded: the server's own checks, and queries."""

from __future__ import annotations

import contextlib
from contextlib import closing
from typing import TYPE_CHECKING, Any

from dumpty import IntegrityError, SourceError
from dumpty_plugins.postgres.loading.clone import cloned
from dumpty_plugins.postgres.loading.confinement import confinement_of
from dumpty_plugins.postgres.loading.indexes import require_valid_indexes
from dumpty_plugins.postgres.schema.tables import identifier
from dumpty_plugins.postgres.server.client_settings import client_conninfo, client_environment
from dumpty_plugins.postgres.server.clients import find_clients
from dumpty_plugins.postgres.server.connection import Address, interruptible, psycopg2, rows, version
from dumpty_plugins.postgres.server.errors import translate_errors
from dumpty_plugins.postgres.server.target import open_maintenance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Source
    from dumpty_plugins.postgres.loading.version_comparison import VersionComparison

_HAS_HEAP_CHECK = 14
_UNHEARD = "that the server warned of nothing while it loaded the dump: a superuser's load is not listened to"

_BTREES = """
    SELECT i.indexrelid, i.indexrelid::regclass::text FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
    WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.oid >= 16384 AND c.relpersistence <> 't'
      AND i.indisvalid AND i.indisready ORDER BY 2"""

_AMCHECK = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'amcheck'"

_HEAPS = """
    SELECT c.oid, c.oid::regclass::text FROM pg_class c JOIN pg_am a ON a.oid = c.relam
    WHERE a.amname = 'heap' AND c.relkind IN ('r', 'm') AND c.oid >= 16384 AND c.relpersistence <> 't' ORDER BY 2"""


class ScratchDatabase:
    """A scratch database, as ``dumpty.types.Scratch`` has it. It does not exist before the restore.

    ``notes`` says with whose privileges the dump is loaded. ``comparison`` is None where its server is of the dump's
    own major version; where it is not, because somebody asked for that, ``rehearsal`` says so. ``bindir`` is where psql
    is, "" for where it is found.
    """

    def __init__(
        self,
        target: Source,
        *,
        notes: tuple[str, ...],
        comparison: VersionComparison | None = None,
        rehearsal: str = "",
        bindir: str = "",
    ) -> None:
        self._bindir = bindir
        self.target = target
        self.notes = notes
        self.rehearsal = rehearsal
        self._comparison = comparison
        self._address = Address(target)

    @property
    def not_proved(self) -> tuple[str, ...]:
        """What of the dump was left out."""
        confinement = confinement_of(self._address)
        unknown = self._comparison.unknown if self._comparison is not None else ()
        if confinement is not None:
            return (*confinement.left_out, *unknown)
        return (*unknown, _UNHEARD) if self._comparison is not None else ()

    @property
    def differs(self) -> tuple[str, ...]:
        """What is not as on the dump's own server, where this one is of another major version; and its warnings."""
        if self._comparison is None:
            return ()
        with closing(self._address.connect()) as connection, translate_errors(self._address, "comparing"):
            differences = self._comparison.differences(connection)
        confinement = confinement_of(self._address)
        return differences if confinement is None else (*differences, *confinement.warnings)

    @property
    def versions(self) -> Mapping[str, str]:
        """The server's version."""
        server = open_maintenance(self._address)
        if server is None:
            raise SourceError(f"the server of {self.target.url} was lost")
        with closing(server):
            return {"server": version(server)[1]}

    def environment(self) -> Mapping[str, str | None]:
        """Return libpq's variables for it, without any that would lead to another server or database."""
        return client_environment(self._address)

    def shell(self) -> tuple[str, ...]:
        """Return the arguments of a psql, whose password is in the environment.

        Raises:
            CommandError: there is none.
        """
        return find_clients("psql", self._bindir)[0].path, f"--dbname={client_conninfo(self._address)}"

    @contextlib.contextmanager
    def clone(self) -> Iterator[ScratchDatabase]:
        """Yield a copy on the same server, with the settings and privileges that this one has."""
        confinement = confinement_of(self._address)
        admin = confinement.admin if confinement is not None else None
        address = self._address if admin is None else Address(admin)
        with cloned(address, str(self.target.database)) as name:
            target = self.target.replace(database=name)
            yield ScratchDatabase(target, notes=self.notes, rehearsal=self.rehearsal, bindir=self._bindir)

    def check(self) -> tuple[str, ...]:
        """Check indexes against their tables and tables against themselves with amcheck; return what was run.

        Raises:
            IntegrityError: something is damaged.
        """
        with closing(self._address.connect()) as connection, translate_errors(self._address, "checking"):
            checks = [self._constraints(connection)]
            if not _has_amcheck(connection):
                return tuple(checks)
            checks.append(interruptible(connection, lambda: self._indexes(connection)))
            if version(connection)[0] >= _HAS_HEAP_CHECK:
                checks.append(interruptible(connection, lambda: self._heaps(connection)))
            return tuple(checks)

    def ask(self, statement: str, /) -> list[tuple[Any, ...]]:
        """Run a query as the database's own sessions would, read-only, and return its rows."""
        with (
            closing(self._address.connect()) as connection,
            translate_errors(self._address, f"asking {statement!r} of"),
        ):
            rows(connection, "RESET search_path")
            rows(connection, "SET default_transaction_read_only = on")
            return interruptible(connection, lambda: rows(connection, statement))

    def _constraints(self, connection: Connection) -> str:
        require_valid_indexes(connection)
        count = rows(
            connection,
            "SELECT count(*) FROM pg_constraint WHERE contype IN ('c', 'f') AND convalidated AND oid >= 16384",
        )[0][0]
        return f"{count} foreign-key and check constraints validated while loading"

    def _indexes(self, connection: Connection) -> str:
        indexes = rows(connection, _BTREES)
        for oid, name in indexes:
            try:
                rows(connection, "SELECT bt_index_check(%s::regclass, true)", oid)
            except (psycopg2().errors.IndexCorrupted, psycopg2().errors.DataCorrupted) as error:
                raise IntegrityError(
                    f"amcheck: the index {name} is damaged: {self._address.scrub(str(error))}"
                ) from error
        return f"amcheck bt_index_check with heapallindexed of {len(indexes)} indexes"

    def _heaps(self, connection: Connection) -> str:
        tables = rows(connection, _HEAPS)
        for oid, name in tables:
            damage = rows(connection, "SELECT blkno, offnum, msg FROM verify_heapam(%s::regclass) LIMIT 1", oid)
            if damage:
                raise IntegrityError(f"amcheck: the table {name} is damaged at block {damage[0][0]}: {damage[0][2]}")
        return f"amcheck verify_heapam of {len(tables)} tables"


def _has_amcheck(connection: Connection) -> bool:
    """Return whether amcheck can be had, in the schema where our sessions look."""
    try:
        installed = rows(connection, _AMCHECK)
        if installed:
            rows(connection, f"SET search_path = pg_catalog, {installed[0][0]}")
            return True
        for (trigger,) in rows(connection, "SELECT evtname FROM pg_event_trigger WHERE evtenabled <> 'D'"):
            rows(connection, f"ALTER EVENT TRIGGER {identifier(trigger)} DISABLE")  # of this scratch database
        rows(connection, "CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA pg_catalog")
        rows(connection, f"SET search_path = pg_catalog, {rows(connection, _AMCHECK)[0][0]}")
    except psycopg2().Error:
        if connection.closed:
            raise
        return False
    return True
