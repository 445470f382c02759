"""Restores of single tables: beside what a database holds, in one transaction; or into a new one, put in its place."""

from __future__ import annotations

from contextlib import closing, contextmanager, nullcontext
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty import Evidence, SourceError, commit_point
from dumpty.process import BLOCK
from dumpty_plugins.postgres.loading.archive import ArchiveLoader
from dumpty_plugins.postgres.loading.definitions import Definitions
from dumpty_plugins.postgres.loading.optional_parts import Parts
from dumpty_plugins.postgres.loading.room import Room, names_of
from dumpty_plugins.postgres.loading.rows import load_rows
from dumpty_plugins.postgres.loading.swap import ReplacementDatabase, may_create
from dumpty_plugins.postgres.loading.tables import TableLoader
from dumpty_plugins.postgres.schema.properties import read_properties
from dumpty_plugins.postgres.schema.recovery import recovery_notes
from dumpty_plugins.postgres.schema.tables import identifier
from dumpty_plugins.postgres.server.connection import psycopg2, rows, version
from dumpty_plugins.postgres.server.errors import commit_restore, translate_errors
from dumpty_plugins.postgres.server.remote_programs import remote_of
from dumpty_plugins.postgres.server.target import database_name, open_maintenance, open_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Dump, Options
    from dumpty_plugins.postgres.loading.names import Name
    from dumpty_plugins.postgres.server.connection import Address

__all__ = ["restore_tables"]

_MAY_CREATE = "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"


def restore_tables(
    address: Address, dump: Dump, tables: Mapping[str, str], *, overwrite: bool, options: Options
) -> Evidence:
    """Restore tables of ``dump`` into ``address``, and return what was counted in them, by their paths in the dump.

    Raises:
        CommandError: pg_restore or pg_dump is missing, too old, or failed.
        DependencyError: psycopg2 is not installed.
        IntegrityError: the dump is cut off, or what it gave is not what the backup's evidence says.
        Locked: somebody uses a table that is to be replaced.
        SourceError: the server cannot be reached, refuses, or lacks what the tables need.
        TargetNotEmpty: the database has a table of such a name, and ``overwrite`` is False.
    """
    psycopg2()
    names = names_of(tables, dump.evidence)
    target = open_target(address)
    if target is not None:
        address = address.pinned(target)
    with closing(target) if target is not None else nullcontext(), translate_errors(address, "looking at"):
        name, server = database_name(address), open_maintenance(address)
        if server is None:
            raise SourceError(
                f"the definitions of tables are put together in a database of their own, and {address.label} lets this "
                "user into no other database, from which it could be made"
            )
        with closing(server):
            job = _Job(address, dump, names, options, server, name)
            if target is not None:
                return job.into(target, overwrite=overwrite)
            return job.into_new_database()


class _Job:
    def __init__(
        self,
        address: Address,
        dump: Dump,
        names: Mapping[str, Name],
        options: Options,
        server: Connection,
        database: str,
    ) -> None:
        self._address = address
        self._dump = dump
        self._names = names
        self._options = options
        self._server = server
        self._database = database
        self._parts = Parts.of(options)
        self._remote = remote_of(address.source, options)
        self._archive = None
        self._notes: list[str] = []
        if dump.format != "sql":
            self._archive = ArchiveLoader(address, dump, options, self._parts, None, self._remote)

    def into(self, target: Connection, *, overwrite: bool) -> Evidence:
        """Load into a database that is there."""
        properties = read_properties(self._server, self._database)
        abandoned = recovery_notes(self._server, self._database)
        with translate_errors(self._address, "restoring tables into"):
            rows(target, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            evidence = self._load(self._address, target, properties, overwrite=overwrite)
            commit_point()
            commit_restore(self._address, target)
        return replace(evidence, notes=(*abandoned, *evidence.notes))

    def into_new_database(self) -> Evidence:
        """Load into a database that is missing, under another name first."""
        if not may_create(self._server, self._database):
            missing = f"the database {self._database} of {self._address.label} does not exist"
            raise SourceError(f"{missing}, and this user may not create it")
        properties = dict(self._dump.evidence.properties)
        with self._new_database(properties) as replacement:
            new_address = self._address.for_database(replacement.name)
            with closing(new_address.connect()) as connection:
                rows(connection, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
                evidence = self._load(new_address, connection, properties, overwrite=False)
                rows(connection, "COMMIT")
            notes = replacement.swap()
        return replace(evidence, notes=(*evidence.notes, *notes))

    @contextmanager
    def _new_database(self, properties: Mapping[str, object]) -> Iterator[ReplacementDatabase]:
        """Lend a new database beside the target, which is gone behind the block unless it took the target's place."""
        if not rows(self._server, _MAY_CREATE)[0][0]:
            raise SourceError(
                f"the definitions of tables are put together in a database of their own, and this user may not create "
                f"one beside {self._address.label}: grant it CREATEDB, or restore all of the backup"
            )
        database = ReplacementDatabase(self._address, self._server, self._database, exists=False, parts=self._parts)
        with database as replacement:
            replacement.create(properties)
            yield replacement
        # It is dropped without a word where something failed; here nothing did.
        if rows(self._server, "SELECT 1 FROM pg_database WHERE datname = %s", replacement.name):
            drop = f"DROP DATABASE {identifier(replacement.name)}"
            self._notes.append(f"the scratch database {replacement.name} could not be dropped; do so: {drop}")

    def _load(
        self, address: Address, target: Connection, properties: Mapping[str, object], *, overwrite: bool
    ) -> Evidence:
        """Load and count in the transaction that the session ``target`` is in, at ``address``."""
        loader = TableLoader(address, target, self._names, self._dump.evidence)
        room = Room(address, target, self._names, self._dump.evidence)
        room.require(overwrite=overwrite)
        with self._new_database(properties) as scratch:
            scratch_address = self._address.for_database(scratch.name)
            with closing(scratch_address.connect()) as connection:
                rows(connection, "SET synchronous_commit = off")
                definitions = Definitions(scratch_address, connection, self._options, self._parts, self._remote)
                self._read_definitions(definitions, version(connection)[0])
                with translate_errors(self._address, "putting the definitions of tables together beside"):
                    definitions.choose(self._names, triggers=bool(self._options["triggers"]))
                room.make(overwrite=overwrite)
                with translate_errors(self._address, "putting the definitions of tables together beside"):
                    definitions.rename(room.free_name)
                    before, behind = definitions.statements("pre-data"), definitions.statements("post-data")
                    values, facts = definitions.sequence_values(), definitions.facts()
        loader.require_possible([*before, *behind])
        loader.run(before)
        loader.require_same_types(facts)
        room.require_sequences()
        if "privileges" not in self._parts.excluded:
            loader.revoke_defaults(name for name, _, _ in values)
        loader.reset()
        self._read_rows(loader, target)
        loader.reset()
        loader.set_sequences(values)
        loader.run(behind)
        evidence = loader.count()
        loader.run([*before, *behind], privileges=True)
        return replace(evidence, notes=(*definitions.notes, *room.notes, *self._parts.notes, *self._notes))

    def _read_definitions(self, definitions: Definitions, server: int) -> None:
        if self._archive is not None:
            self._archive.load_definitions(server, definitions.load)
            return
        with closing(self._dump.open()) as reader:
            definitions.load(lambda: reader.read(BLOCK))

    def _read_rows(self, loader: TableLoader, target: Connection) -> None:
        if self._archive is None:
            with closing(self._dump.open()) as reader:
                loader.load_rows(lambda: reader.read(BLOCK))
            return
        self._archive.load_data(version(target)[0], self._names.keys(), loader.load_rows)
        for part in self._archive.parts_of(self._names.keys()):
            load_rows(self._address, target, part, renamed=loader.into_target)
