"""The database that a restore goes to, or that somebody asks about: is it there, and does it hold anything."""

from __future__ import annotations

import getpass
import os
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from dumpty import SourceError
from dumpty_plugins.postgres.server.connection import Address, rows

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

MAINTENANCE = ("postgres", "template1")

# Whatever CREATE DATABASE ... TEMPLATE template0 made has an oid below 16384 (FirstNormalObjectId).
_CONTENTS = """
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
    parameters = address.parameters
    return (
        parameters.get("dbname")
        or os.environ.get("PGDATABASE")
        or parameters.get("user")
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
    except SourceError as error:
        # The server's language is its own, so the text does not tell: another database of the server does.
        server = open_maintenance(address)
        if server is None:
            raise
        with closing(server):
            if rows(server, "SELECT 1 FROM pg_database WHERE datname = %s", database_name(address)):
                raise error from None
        return None


def open_maintenance(address: Address) -> Connection | None:
    """Connect to a database of the server that is not ``address``'s own, or return None where none lets us in."""
    for name in MAINTENANCE:
        if name != database_name(address):
            with suppress(SourceError):
                return address.for_database(name).connect()
    return None


def first_object(connection: Connection) -> str:
    """Return something that a restore could harm (``relation public.t``), or "" for an empty database."""
    matches = rows(connection, _CONTENTS)
    return str(matches[0][0]) if matches else ""
