"""A database made beside another one, and put into its place by two renames in one transaction."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Self

from dumpty import DumptyError, Locked, SourceError, Unfinished, commit_point
from dumpty_plugins.postgres.loading.confinement import confinement_of
from dumpty_plugins.postgres.schema.properties import (
    creation_options,
    read_properties,
    setting_statement,
    surroundings_statements,
)
from dumpty_plugins.postgres.schema.recovery import NEW, OLD, sibling_name
from dumpty_plugins.postgres.schema.tables import identifier
from dumpty_plugins.postgres.server.connection import psycopg2, rows
from dumpty_plugins.postgres.server.errors import commit_restore, translated_error
from dumpty_plugins.postgres.server.target import open_maintenance
from dumpty_plugins.postgres.server.waiting import shorten_stall, was_dropped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty_plugins.postgres.loading.optional_parts import Parts
    from dumpty_plugins.postgres.server.connection import Address

_SESSION_END_SECONDS = 1.0
_HAS_FORCE = 130000

_INHERITED = """
    SELECT spcname, datistemplate FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace
    WHERE datname = %s"""


def may_create(server: Connection, name: str) -> bool:
    """Tell whether this user may create databases, and rename ``name`` where it exists."""
    sql = """SELECT (rolsuper OR rolcreatedb)
               AND coalesce((SELECT rolsuper OR pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = %s), true)
             FROM pg_roles WHERE rolname = current_user"""
    return bool(rows(server, sql, name)[0][0])


class ReplacementDatabase:
    """A new database under a name of its own, removed at the end of the block unless it was swapped in."""

    def __init__(self, address: Address, server: Connection, name: str, *, exists: bool, parts: Parts) -> None:
        self._parts = parts
        self._address = address
        self._server = server
        self._final = name
        self._exists = exists
        self.name = sibling_name(name, NEW)
        self._template = False
        self._surroundings: Mapping[str, Any] = {}
        self._unfinished: Unfinished | None = None
        self._settings: list[str] = []
        self._confinement = confinement_of(address)

    def __enter__(self) -> Self:
        if self._exists:
            self._refuse_sessions()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._unfinished is None:
            return
        with contextlib.suppress(psycopg2().Error, DumptyError):  # the failure that led here is the one to report
            shorten_stall(self._server)
            try:
                rows(self._server, "ROLLBACK")
                self._drop(self._server)
            except psycopg2().Error:
                if not self._server.closed and not was_dropped(self._server):
                    raise
                connection = open_maintenance(self._address.with_short_stall())
                if connection is None:
                    return
                with contextlib.closing(connection):
                    self._drop(connection)
            self._unfinished.settle()

    def _drop(self, server: Connection) -> None:
        force = " WITH (FORCE)" if server.info.server_version >= _HAS_FORCE else ""
        rows(server, f"DROP DATABASE IF EXISTS {identifier(self.name)}{force}")

    def create(self, properties_of_backup: Mapping[str, Any]) -> None:
        """Create it: as the old one where there is one, else as the backup's properties say.

        Raises:
            SourceError: the server refuses; most often it lacks the locale.
        """
        properties = read_properties(self._server, self._final) if self._exists else dict(properties_of_backup)
        self._settings = list(properties.get("settings", ()))
        self._surroundings = properties.get("surroundings", {})
        options = creation_options(properties, self._server.info.server_version // 10000)
        tablespace = "pg_default"
        if self._exists:
            tablespace, self._template = rows(self._server, _INHERITED, self._final)[0]
        if tablespace != "pg_default":  # naming the default needs a right that using it does not
            options += f" TABLESPACE {identifier(tablespace)}"
        drop = f"DROP DATABASE {identifier(self.name)}"
        self._unfinished = Unfinished(f"the database {self.name} on the server of {self._address.label} ({drop})")
        try:
            rows(self._server, f"CREATE DATABASE {identifier(self.name)} {options}")
        except psycopg2().Error as error:
            translated = translated_error(self._address, "creating a database for", error)
            if not self._exists and getattr(error, "pgcode", "") in ("42809", "22023", "0A000"):
                text = f"{translated}; create {self._final} yourself with a locale of this server, and restore into it"
                raise SourceError(text) from error
            raise translated from error
        if self._confinement is not None:
            self._confinement.prepare(self.name)

    def swap(self) -> tuple[str, ...]:
        """Give the new database the old one's owner, privileges, settings and name; drop the old one; return notes.

        Raises:
            Locked: somebody uses the old one. It is as it was.
        """
        server, old_name = self._server, sibling_name(self._final, OLD)
        notes = self._apply_surroundings()
        commit_point()
        rows(server, "SET synchronous_commit = on")  # whatever its user's setting is: this is what was promised
        try:
            rows(server, "BEGIN")
            if self._exists:
                rows(server, f"ALTER DATABASE {identifier(self._final)} RENAME TO {identifier(old_name)}")
            rows(server, f"ALTER DATABASE {identifier(self.name)} RENAME TO {identifier(self._final)}")
            commit_restore(self._address, server)
        except psycopg2().errors.ObjectInUse as error:
            rows(server, "ROLLBACK")
            self._refuse_sessions()
            raise Locked(f"{self._final} of {self._address.label} is in use; nothing was changed: {error}") from error
        if self._unfinished is not None:
            self._unfinished.settle()
            self._unfinished = None
        if self._confinement is not None:
            self._confinement.grant_access(self._final)
        if self._exists:
            try:
                with contextlib.suppress(psycopg2().errors.InsufficientPrivilege):
                    rows(server, f"ALTER DATABASE {identifier(old_name)} IS_TEMPLATE false")
                rows(server, f"DROP DATABASE {identifier(old_name)}")
            except psycopg2().Error as error:
                reason = self._address.scrub(str(error))
                return (*notes, f"the old database is still there, as {old_name}: {reason}")
        return notes

    def _refuse_sessions(self) -> None:
        sql = """SELECT count(*), string_agg(DISTINCT coalesce(usename, '?') || ' (' ||
                        coalesce(nullif(application_name, ''), 'pid ' || pid) || ')', ', ')
                 FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"""
        # A session that was closed a moment ago, our own look at the target among them, takes a moment to leave.
        deadline = time.monotonic() + _SESSION_END_SECONDS
        while (sessions := rows(self._server, sql, self._final)[0])[0] and time.monotonic() < deadline:
            time.sleep(0.02)
        number, names = sessions
        if number:
            raise Locked(
                f"{number} session(s) use the database {self._final} of {self._address.label}: {names}; "
                "end them and try again. Nothing was changed"
            )

    def _apply_surroundings(self) -> tuple[str, ...]:
        server, new_name = self._server, identifier(self.name)
        if self._confinement is not None and not self._confinement.on_private_server:
            return ()  # what is loaded beside other databases gets no privileges and settings from a dump's evidence
        statements = [setting_statement(f"ALTER DATABASE {new_name}", text) for text in self._settings]
        statements += surroundings_statements(self._surroundings, new_name)
        if self._exists:
            rows(server, f"ALTER DATABASE {new_name} IS_TEMPLATE {str(self._template).lower()}")
            for statement in statements:
                rows(server, statement)
            return ()
        # Another server, perhaps, without the roles of the old one, or another user, who may not set all of it: the
        # data is worth more than its surroundings.
        notes = []
        for statement in filter(lambda s: self._parts.include(s.encode()), statements):
            try:
                rows(server, statement)
            except psycopg2().Error as error:
                if server.closed:
                    raise
                reason = self._address.scrub(str(error)).partition("LINE 1")[0].strip()
                remedy = statement.replace(new_name, identifier(self._final))
                notes.append(f"what the database itself had is not all there ({reason}); when that is mended: {remedy}")
        return tuple(notes)
