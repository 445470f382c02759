"""What stands at a URL, without changing it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from dumpty import Evidence, Inspection, OptionError, SourceError
from dumpty_plugins.postgres.accounts.catalog import hashes_grant, may_read_hashes, open_server
from dumpty_plugins.postgres.schema.fingerprint import OLDEST, apply_settings
from dumpty_plugins.postgres.schema.privileges import missing_privileges
from dumpty_plugins.postgres.schema.properties import estimate
from dumpty_plugins.postgres.schema.recovery import recovery_notes
from dumpty_plugins.postgres.schema.tables import count, list_tables
from dumpty_plugins.postgres.server.connection import Address, interruptible, psycopg2, rows, version
from dumpty_plugins.postgres.server.errors import translate_errors
from dumpty_plugins.postgres.server.target import database_name, first_object, open_maintenance, open_target

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

_LOCAL = {"localhost", "127.0.0.1", "::1"}
_PORT = 5432
_ACCOUNTS = """
    SELECT 1 FROM pg_roles WHERE rolname !~ '^pg_' AND oid <> 10 AND rolname <> session_user
    UNION ALL SELECT 1 FROM pg_tablespace WHERE spcname !~ '^pg_' LIMIT 1"""


def inspect_database(address: Address, evidence: str = "off", *, privileges: bool = False) -> Inspection:
    """Return what there is at ``address``.

    With ``evidence`` counts or fingerprint, also what its tables hold; with ``privileges``, also those that a backup
    would miss.
    """
    connection = open_target(address)
    name = database_name(address)
    if connection is None:
        server = open_maintenance(address)
        if server is None:
            raise SourceError(f"the server of {address.label} was lost while it was looked at; try again")
        with closing(server), translate_errors(address, "looking at"):
            return Inspection(
                exists=False,
                empty=True,
                identity=_identity(server, name),
                name=name,
                versions=_versions(server),
                notes=recovery_notes(server, name),
            )
    with closing(connection), translate_errors(address, "looking at"):
        name = connection.info.dbname
        return Inspection(
            exists=True,
            empty=not first_object(connection),
            estimated_bytes=estimate(connection),
            identity=_identity(connection, name),
            name=name,
            versions=_versions(connection),
            notes=recovery_notes(connection, name),
            evidence=None
            if evidence == "off"
            else _evidence(address, connection, fingerprints=evidence == "fingerprint"),
            lacks=missing_privileges(connection) if privileges else (),
        )


def inspect_server(address: Address, *, privileges: bool = False) -> Inspection:
    """Return what there is of accounts on the server of ``address``; with ``privileges``, what a backup would miss."""
    with closing(open_server(address)) as connection, translate_errors(address, "looking at"):
        host, port = connection.info.host.lower(), connection.info.port
        name = "localhost" if host in _LOCAL or host.startswith(("/", "@")) or not host else host
        lacks = f"the hashes of passwords: {hashes_grant(connection)}; or leave them out: -o hashes=off"
        return Inspection(
            exists=True,
            empty=not rows(connection, _ACCOUNTS),
            identity=_identity(connection, ""),
            name=name if port == _PORT else f"{name}:{port}",
            versions=_versions(connection),
            lacks=(lacks,) if privileges and not may_read_hashes(connection) else (),
        )


def _evidence(address: Address, connection: Connection, *, fingerprints: bool) -> Evidence:
    if fingerprints:
        major, text = version(connection)
        if major < OLDEST:
            raise OptionError(f"fingerprints need PostgreSQL {OLDEST} or newer, and {address.label} is {text}")
        apply_settings(connection)
    rows(connection, "SET row_security = off")  # an error instead of a part of the rows
    rows(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    tables = list_tables(connection)
    objects = interruptible(connection, lambda: count(connection, tables, fingerprint=fingerprints))
    rows(connection, "COMMIT")
    return Evidence(objects=objects, versions=_versions(connection))


def _versions(connection: Connection) -> dict[str, str]:
    return {"server": version(connection)[1]}


def _identity(connection: Connection, database: str) -> str:
    """Return one name for the database, whichever way the server was reached.

    A server on this machine has many addresses (sockets, localhost, ...): there its system identifier speaks. It
    alone would not do, because a copy of a cluster carries the same.
    """
    host, port = connection.info.host.lower(), connection.info.port
    if host in _LOCAL or host.startswith(("/", "@")) or not host:
        try:
            ((system_identifier,),) = rows(connection, "SELECT system_identifier FROM pg_control_system()")
            host = f"local-{system_identifier}"
        except psycopg2().Error:  # not everybody's everywhere
            host = host or "local"
    return f"postgresql://{f'[{host}]' if ':' in host else host}:{port}/{database}"
