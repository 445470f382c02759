"""The database that a restore goes to, or that somebody asks about: is it there, is it empty, whose is it."""

from __future__ import annotations

import getpass
import os
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from dumpty import Evidence, Inspection, OptionError, SourceError
from dumpty_plugins.postgres.connection import Address, explained, interruptible, psycopg2, rows, version
from dumpty_plugins.postgres.fingerprint import OLDEST, settle
from dumpty_plugins.postgres.leftovers import leftovers
from dumpty_plugins.postgres.properties import estimate
from dumpty_plugins.postgres.rights import lacking
from dumpty_plugins.postgres.tables import count, list_tables

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

_MAINTENANCE = ("postgres", "template1")
_LOCAL = {"localhost", "127.0.0.1", "::1"}

# Whatever CREATE DATABASE ... TEMPLATE template0 made has an oid below 16384 (FirstNormalObjectId).
_HOLDINGS = """
    SELECT 'relation ' || oid::regclass::text FROM pg_class
    WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace
    UNION ALL SELECT 'function ' || oid::regprocedure::text FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT 'type ' || oid::regtype::text FROM pg_type WHERE oid >= 16384
    UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE oid >= 16384
              AND nspname !~ '^pg_(toast_)?temp_' AND nspname <> 'public'
    UNION ALL SELECT 'extension ' || extname FROM pg_extension WHERE oid >= 16384
    UNION ALL SELECT 'operator ' || oid::regoperator::text FROM pg_operator WHERE oid >= 16384
    UNION ALL SELECT 'operator family ' || opfname FROM pg_opfamily WHERE oid >= 16384
    UNION ALL SELECT 'cast' FROM pg_cast WHERE oid >= 16384
    UNION ALL SELECT 'collation ' || collname FROM pg_collation
              WHERE oid >= 16384 AND collnamespace <> 'pg_catalog'::regnamespace
    UNION ALL SELECT 'conversion ' || conname FROM pg_conversion WHERE oid >= 16384
    UNION ALL SELECT 'text search configuration ' || cfgname FROM pg_ts_config WHERE oid >= 16384
    UNION ALL SELECT 'text search dictionary ' || dictname FROM pg_ts_dict WHERE oid >= 16384
    UNION ALL SELECT 'foreign-data wrapper ' || fdwname FROM pg_foreign_data_wrapper WHERE oid >= 16384
    UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger WHERE oid >= 16384
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication WHERE oid >= 16384
    UNION ALL SELECT 'language ' || lanname FROM pg_language WHERE oid >= 16384
    UNION ALL SELECT 'large object ' || oid::text FROM pg_largeobject_metadata
    LIMIT 1"""


def database_name(address: Address) -> str:
    """Return the database's name, found as libpq finds it."""
    given = address.parameters
    return (
        given.get("dbname")
        or os.environ.get("PGDATABASE")
        or given.get("user")
        or os.environ.get("PGUSER")
        or getpass.getuser()
    )


def open_target(address: Address) -> Connection | None:
    """Connect to the database, or return None where the server has none of that name.

    Raises:
        SourceError: the server cannot be reached, or does not let us in.
    """
    try:
        return address.connect()
    except SourceError as refused:
        # The server's language is its own, so the text does not tell: another database of the server does.
        server = open_maintenance(address)
        if server is None:
            raise
        with closing(server):
            if rows(server, "SELECT 1 FROM pg_database WHERE datname = %s", database_name(address)):
                raise refused from None
        return None


def open_maintenance(address: Address) -> Connection | None:
    """Connect to a database of the server that is not ``address``'s own, or return None where none lets us in."""
    for name in _MAINTENANCE:
        if name != database_name(address):
            with suppress(SourceError):
                return address.at(name).connect()
    return None


def holding(connection: Connection) -> str:
    """Return something that a restore could harm (``relation public.t``), or "" for an empty database."""
    found = rows(connection, _HOLDINGS)
    return str(found[0][0]) if found else ""


def look(address: Address, evidence: str = "off", *, rights: bool = False) -> Inspection:
    """Return what there is at ``address``.

    With ``evidence`` counts or fingerprint, also what its tables hold; with ``rights``, also which a backup would miss.
    """
    connection = open_target(address)
    name = database_name(address)
    if connection is None:
        server = open_maintenance(address)
        if server is None:
            raise SourceError(f"the server of {address.label} was lost while it was looked at; try again")
        with closing(server), explained(address, "looking at"):
            return Inspection(
                exists=False,
                empty=True,
                identity=_identity(server, name),
                name=name,
                versions=_versions(server),
                notes=leftovers(server, name),
            )
    with closing(connection), explained(address, "looking at"):
        name = connection.info.dbname
        return Inspection(
            exists=True,
            empty=not holding(connection),
            estimated_bytes=estimate(connection),
            identity=_identity(connection, name),
            name=name,
            versions=_versions(connection),
            notes=leftovers(connection, name),
            evidence=None if evidence == "off" else _evidence(address, connection, prints=evidence == "fingerprint"),
            lacks=lacking(connection) if rights else (),
        )


def _evidence(address: Address, connection: Connection, *, prints: bool) -> Evidence:
    if prints:
        major, text = version(connection)
        if major < OLDEST:
            raise OptionError(f"fingerprints need PostgreSQL {OLDEST} or newer, and {address.label} is {text}")
        settle(connection)
    rows(connection, "SET row_security = off")  # an error instead of a part of the rows
    rows(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    tables = list_tables(connection)
    objects = interruptible(connection, lambda: count(connection, tables, prints=prints))
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
            ((identifier,),) = rows(connection, "SELECT system_identifier FROM pg_control_system()")
            host = f"local-{identifier}"
        except psycopg2().Error:  # not everybody's everywhere
            host = host or "local"
    return f"postgresql://{f'[{host}]' if ':' in host else host}:{port}/{database}"
