"""A database made beside another one, and put into its place by two renames in one transaction."""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any

from dumpty import Locked, SourceError
from dumpty_plugins.postgres.connection import explanation, psycopg2, rows
from dumpty_plugins.postgres.properties import creation, read_properties, setting
from dumpty_plugins.postgres.tables import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty_plugins.postgres.connection import Address

_NAME_BYTES = 63
_LEAVING_SECONDS = 1.0

_CARRIED = """
    SELECT d.oid, pg_get_userbyid(datdba), spcname, datconnlimit, datistemplate,
           shobj_description(d.oid, 'pg_database'), datacl IS NOT NULL
    FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = %s"""

_GRANTS = """
    SELECT privilege_type, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
           is_grantable
    FROM pg_database, aclexplode(datacl) WHERE datname = %s"""

_ROLE_SETTINGS = """
    SELECT pg_get_userbyid(setrole), unnest(setconfig) FROM pg_db_role_setting
    WHERE setdatabase = %s AND setrole <> 0"""


def may_create(server: Connection, name: str) -> bool:
    """Tell whether this user may create databases, and rename ``name`` where it exists."""
    sql = """SELECT (rolsuper OR rolcreatedb)
               AND coalesce((SELECT rolsuper OR pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = %s), true)
             FROM pg_roles WHERE rolname = current_user"""
    return bool(rows(server, sql, name)[0][0])


class Beside:
    """A new database under a name of its own, removed at the end of the block unless it was swapped in."""

    def __init__(self, address: Address, server: Connection, name: str, *, exists: bool) -> None:
        self._address = address
        self._server = server
        self._final = name
        self._exists = exists
        self.name = _besides(name, "dumpty")
        self._created = False
        self._settings: list[str] = []

    def __enter__(self) -> Beside:
        if self._exists:
            self._refuse_sessions()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._created:
            with contextlib.suppress(psycopg2().Error):
                rows(self._server, "ROLLBACK")
            with contextlib.suppress(psycopg2().Error):
                rows(self._server, f"DROP DATABASE IF EXISTS {quoted(self.name)} WITH (FORCE)")

    def create(self, recorded: Mapping[str, Any]) -> None:
        """Create it: as the old one where there is one, else as the backup's properties say.

        Raises:
            SourceError: the server refuses; most often it lacks the locale.
        """
        properties = read_properties(self._server, self._final) if self._exists else dict(recorded)
        self._settings = list(properties.get("settings", ()))
        options = creation(properties, self._server.info.server_version // 10000)
        tablespace = rows(self._server, _CARRIED, self._final)[0][2] if self._exists else "pg_default"
        if tablespace != "pg_default":  # naming the default needs a right that using it does not
            options += f" TABLESPACE {quoted(tablespace)}"
        try:
            rows(self._server, f"CREATE DATABASE {quoted(self.name)} {options}")
        except psycopg2().Error as error:
            why = explanation(self._address, "creating a database for", error)
            if not self._exists and getattr(error, "pgcode", "") in ("42809", "22023", "0A000"):
                text = f"{why}; create {self._final} yourself with a locale of this server, and restore into it"
                raise SourceError(text) from error
            raise why from error
        self._created = True

    def swap(self) -> tuple[str, ...]:
        """Give the new database the old one's owner, rights, settings and name; drop the old one; return notes.

        Raises:
            Locked: somebody uses the old one. It is as it was.
        """
        server, old = self._server, _besides(self._final, "dumpty_old")
        self._dress()
        try:
            rows(server, "BEGIN")
            if self._exists:
                rows(server, f"ALTER DATABASE {quoted(self._final)} RENAME TO {quoted(old)}")
            rows(server, f"ALTER DATABASE {quoted(self.name)} RENAME TO {quoted(self._final)}")
            rows(server, "COMMIT")
        except psycopg2().errors.ObjectInUse as error:
            rows(server, "ROLLBACK")
            self._refuse_sessions()
            raise Locked(f"{self._final} of {self._address.label} is in use; nothing was changed: {error}") from error
        self._created = False
        if self._exists:
            try:
                with contextlib.suppress(psycopg2().errors.InsufficientPrivilege):
                    rows(server, f"ALTER DATABASE {quoted(old)} IS_TEMPLATE false")
                rows(server, f"DROP DATABASE {quoted(old)}")
            except psycopg2().Error as error:
                why = self._address.scrub(str(error))
                return (f"the old database is still there, as {old}: {why}",)
        return ()

    def _refuse_sessions(self) -> None:
        sql = """SELECT count(*), string_agg(DISTINCT coalesce(usename, '?') || ' (' ||
                        coalesce(nullif(application_name, ''), 'pid ' || pid) || ')', ', ')
                 FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"""
        # A session that was closed a moment ago, our own look at the target among them, takes a moment to leave.
        deadline = time.monotonic() + _LEAVING_SECONDS
        while (found := rows(self._server, sql, self._final)[0])[0] and time.monotonic() < deadline:
            time.sleep(0.02)
        number, who = found
        if number:
            raise Locked(
                f"{number} session(s) use the database {self._final} of {self._address.label}: {who}; "
                "end them and try again. Nothing was changed"
            )

    def _dress(self) -> None:
        server, new = self._server, quoted(self.name)
        for text in self._settings:
            rows(server, setting(f"ALTER DATABASE {new}", text))
        if not self._exists:
            return
        oid, owner, _tablespace, limit, template, comment, has_acl = rows(server, _CARRIED, self._final)[0]
        for role, text in rows(server, _ROLE_SETTINGS, oid):
            rows(server, setting(f"ALTER ROLE {quoted(role)} IN DATABASE {new}", text))
        if comment is not None:
            rows(server, f"COMMENT ON DATABASE {new} IS {literal(comment)}")
        rows(server, f"ALTER DATABASE {new} WITH CONNECTION LIMIT {limit} IS_TEMPLATE {str(template).lower()}")
        if has_acl:
            rows(server, f"REVOKE ALL ON DATABASE {new} FROM PUBLIC, CURRENT_USER")
        rows(server, f"ALTER DATABASE {new} OWNER TO {quoted(owner)}")
        if has_acl:
            for privilege, grantee, grantable in rows(server, _GRANTS, self._final):
                option = " WITH GRANT OPTION" if grantable else ""
                rows(server, f"GRANT {privilege} ON DATABASE {new} TO {grantee}{option}")


def _besides(name: str, tag: str) -> str:
    suffix = f"__{tag}_{secrets.token_hex(4)}"
    kept = name.encode()[: _NAME_BYTES - len(suffix)].decode("utf-8", "ignore")
    return kept + suffix
