"""Restores: into a new database beside the old one, checked and swapped in by rename; or in one transaction.

The old database is dropped only after the new one stands in its place. Without the right to create databases, an
existing empty database is filled in a single transaction, which is committed when everything was found right.
"""

from __future__ import annotations

import functools
from contextlib import closing
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dumpty import (
    Evidence,
    SourceError,
    commit_point,
    refuse_full_target,
    require_same_evidence,
)
from dumpty.process import BLOCK
from dumpty_plugins.postgres.loading.archive import ArchiveLoader
from dumpty_plugins.postgres.loading.confinement import confinement_of
from dumpty_plugins.postgres.loading.indexes import require_valid_indexes
from dumpty_plugins.postgres.loading.loader import load
from dumpty_plugins.postgres.loading.optional_parts import Parts
from dumpty_plugins.postgres.loading.swap import ReplacementDatabase, may_create
from dumpty_plugins.postgres.schema.properties import DROPPED
from dumpty_plugins.postgres.schema.recovery import recovery_notes
from dumpty_plugins.postgres.schema.tables import count, list_tables, without_forced_row_security
from dumpty_plugins.postgres.server.connection import interruptible, prepare, psycopg2, rows, version
from dumpty_plugins.postgres.server.errors import commit_restore, translate_errors
from dumpty_plugins.postgres.server.remote_programs import remote_of
from dumpty_plugins.postgres.server.target import database_name, first_object, open_maintenance, open_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Dump, Options
    from dumpty_plugins.postgres.server.connection import Address


_COMMON = {"SCHEMA public": ("GRANT USAGE ON SCHEMA public TO PUBLIC",), "EXTENSION plpgsql": ()}
"""What every new database holds, with what else a new one has of it."""


def restore_dump(address: Address, dump: Dump, *, overwrite: bool, options: Options) -> Evidence:
    """Restore ``dump`` into ``address`` and return what was counted there.

    Raises:
        CommandError: pg_restore is missing, too old, or failed.
        DependencyError: psycopg2 is not installed.
        IntegrityError: the dump is cut off, or what it gave is not what the backup's evidence says.
        Locked: somebody uses the database that is to be replaced.
        SourceError: the server cannot be reached, refuses, or lacks roles, extensions or a locale that are needed.
        TargetNotEmpty: the database holds something, and ``overwrite`` is False.
    """
    psycopg2()
    target = open_target(address)
    existing_object = ""
    if target is not None:
        with closing(target), translate_errors(address, "looking at"):
            address = address.pinned(target)
            existing_object = first_object(target)
    name = database_name(address)
    refuse_full_target(
        target=f"the database {name} of {address.label}",
        empty=not existing_object,
        overwrite=overwrite,
        content=existing_object,
    )
    job = _Job(address, dump, options)
    server = open_maintenance(address)
    if server is not None:
        with closing(server), translate_errors(address, "restoring into"):
            job.check_requirements(server)
            if may_create(server, name):
                return job.replace_database(server, name, exists=target is not None)
    if target is None:
        raise SourceError(f"the database {name} of {address.label} does not exist, and this user may not create it")
    if existing_object:
        raise SourceError(
            f"the database {name} of {address.label} cannot be replaced without the right to create databases and to "
            "rename this one; grant CREATEDB to its owner and use that, or restore into an empty database"
        )
    return job.in_one_transaction()


class _Job:
    def __init__(self, address: Address, dump: Dump, options: Options) -> None:
        self._address = address
        self._dump = dump
        self._options = options
        self._parts = Parts.of(options)
        self._confinement = confinement_of(address)
        self._remote = remote_of(address.source, options)
        self._archive = None
        if dump.format != "sql":
            self._archive = ArchiveLoader(address, dump, options, self._parts, self._confinement, self._remote)

    def check_requirements(self, server: Connection) -> None:
        """Check, before anything is loaded, that the server has the roles and extensions that the dump needs."""
        properties = self._dump.evidence.properties
        contents = self._archive.contents if self._archive else None
        roles = self._required_roles()
        extensions = set(properties.get("extensions", contents.extensions if contents else []))
        roles -= {r for (r,) in rows(server, "SELECT rolname FROM pg_roles")}
        extensions -= {e for (e,) in rows(server, "SELECT name FROM pg_available_extensions")}
        tablespaces = set(properties.get("tablespaces", ())) if "tablespaces" not in self._parts.excluded else set()
        tablespaces -= {t for (t,) in rows(server, "SELECT spcname FROM pg_tablespace")}
        missing = [
            f"the {kind} {', '.join(sorted(names))}"
            for kind, names in (("roles", roles), ("extensions", extensions), ("tablespaces", tablespaces))
            if names
        ]
        if missing:
            remedies = (
                (roles, "CREATE ROLE, or leave them out: -o owner=off -o privileges=off"),
                (extensions, "install its packages"),
                (tablespaces, "CREATE TABLESPACE, or leave them out: -o tablespaces=off"),
            )
            advice = [text for names, text in remedies if names]
            raise SourceError(
                f"the server of {self._address.label} lacks {' and '.join(missing)}, which the dump needs; "
                f"add them first ({', '.join(advice)}), then restore again"
            )

    def _required_roles(self) -> set[str]:
        """Return the roles that the dump needs, less those that only parts need which are left out."""
        properties = self._dump.evidence.properties
        excluded = self._parts.excluded
        if "roles" not in properties:
            return set(self._archive.contents.roles) if self._archive and "owner" not in excluded else set()
        roles = set(properties["roles"])
        by_part = properties.get("roles_by_part")
        if by_part is None:
            return set() if excluded >= {"owner", "privileges"} else roles
        needed = {r for part, names in by_part.items() if part not in excluded for r in names}
        # The server's first superuser is the only role on which nothing is said to depend.
        pinned = {properties.get("superuser")} if "owner" in excluded else set()
        return needed | (roles - {r for names in by_part.values() for r in names} - pinned)

    def replace_database(self, server: Connection, name: str, *, exists: bool) -> Evidence:
        """Load into a new database, check it, and give it the name."""
        abandoned = recovery_notes(server, name)
        with ReplacementDatabase(self._address, server, name, exists=exists, parts=self._parts) as replacement:
            replacement.create(self._properties())
            new_address = self._address.for_database(replacement.name)
            differences = self._drop(new_address)
            if self._archive is None:
                with closing(self._dump.open()) as reader:
                    self._load(new_address, lambda: reader.read(BLOCK))
            else:
                load_script = functools.partial(self._load, new_address)
                self._archive.load_into(new_address, version(server)[0], load_script)
            with closing(new_address.connect()) as connection:
                evidence = self._evidence(new_address, connection)
            notes = (*abandoned, *differences, *replacement.swap(), *self._parts.notes)
        return Evidence(objects=evidence.objects, versions=evidence.versions, notes=notes)

    def in_one_transaction(self) -> Evidence:
        """Load into the existing empty database; nothing is there before the last check has passed."""
        with closing(self._address.connect()) as target, translate_errors(self._address, "restoring into"):
            if not rows(target, "SELECT has_database_privilege(current_database(), 'CREATE')")[0][0]:
                raise SourceError(f"this user may not create anything in {self._address.label}: grant it CREATE there")
            self.check_requirements(target)
            rows(target, "BEGIN")
            self._create_common(target)
            load_script = functools.partial(self._load_in_transaction, target)
            if self._archive is None:
                with closing(self._dump.open()) as reader:
                    load_script(lambda: reader.read(BLOCK))
            else:
                self._archive.load_in_order(target, load_script)
            rows(target, "RESET ALL")
            rows(target, "SET client_encoding = 'UTF8'")
            prepare(target)
            evidence = self._evidence(self._address, target)
            commit_point()
            commit_restore(self._address, target)
            return replace(evidence, notes=(*evidence.notes, *self._parts.notes))

    def _drop(self, new_address: Address) -> tuple[str, ...]:
        """Drop from the new database what the original had not, though every new one has it; return notes."""
        notes = []
        dropped = [d for d in self._dump.evidence.properties.get("dropped", ()) if d in _COMMON]
        with closing(new_address.connect()) as connection:
            for created_by_default in dropped:
                try:
                    rows(connection, f"DROP {created_by_default}")
                except psycopg2().Error as error:
                    if connection.closed:
                        raise
                    reason = new_address.scrub(str(error))
                    notes.append(f"the original has no {created_by_default}, the new database does: {reason}")
        return tuple(notes)

    def _create_common(self, target: Connection) -> None:
        """Create what no dump creates, because every new database has it, where somebody dropped it."""
        missing = {d for (d,) in rows(target, DROPPED)} - set(self._dump.evidence.properties.get("dropped", ()))
        for created_by_default, grants in _COMMON.items():
            if created_by_default in missing:
                for statement in (f"CREATE {created_by_default}", *grants):
                    rows(target, statement)

    def _properties(self) -> dict[str, Any]:
        properties = dict(self._dump.evidence.properties)
        if "encoding" not in properties and self._archive is not None and self._archive.contents.encoding:
            properties["encoding"] = self._archive.contents.encoding
        return properties

    def _load(self, new_address: Address, read: Callable[[], bytes]) -> None:
        with closing(new_address.connect()) as connection:
            # A crash loses this database, not the old one: only the swap itself has to be on disk when it returns,
            # and the log that it waits for holds everything before it.
            rows(connection, "SET synchronous_commit = off")
            load(
                new_address,
                connection,
                read,
                single_transaction=False,
                parts=self._parts,
                confinement=self._confinement,
            )

    def _load_in_transaction(self, target: Connection, read: Callable[[], bytes]) -> None:
        load(self._address, target, read, single_transaction=True, parts=self._parts)

    def _evidence(self, new_address: Address, connection: Connection) -> Evidence:
        with translate_errors(new_address, "counting the rows of"):
            rows(connection, "SET row_security = off")
            require_valid_indexes(connection)
            tables = list_tables(connection)
            with without_forced_row_security(connection):
                objects = interruptible(connection, lambda: count(connection, tables))
            versions = {"server": version(connection)[1], "psycopg2": psycopg2().__version__.split()[0]}
            evidence = Evidence(objects=objects, versions=versions)
            expected: Evidence = self._dump.evidence
            require_same_evidence(expected=expected, found=evidence, subject="the restored database", ignore={"added"})
            return evidence
