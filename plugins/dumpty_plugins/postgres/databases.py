"""Which databases a server has."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from dumpty import MalformedURL, SourceError
from dumpty_plugins.postgres.server.connection import Address, psycopg2, rows
from dumpty_plugins.postgres.server.encodings import UNKNOWN
from dumpty_plugins.postgres.server.target import MAINTENANCE

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Source

_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate"


def list_databases(address: Address) -> list[Source]:
    """Return the databases of a server, those that this role may not read included.

    Raises:
        SourceError: the server cannot be reached, or does not let us into a database where we could ask.
    """
    source = address.source
    if "dbname" in source.query:  # it would decide, whatever the path says, and every backup be of that one
        raise MalformedURL(f"{source.url} names a database by dbname= as well: leave one of the two out")
    with closing(_connect(address)) as connection:
        # Of names only the bytes are known: each was made in the encoding of whatever database its maker was in.
        # Those are what a client asks for, and text that is none here must not hide the others.
        psycopg2().extensions.register_type(psycopg2().extensions.BYTES, connection)
        connection.undecoded = True  # type: ignore[attr-defined]
        rows(connection, f"SET client_encoding = {UNKNOWN}")
        names = [str(name) for (name,) in rows(connection, _DATABASES)]
    return [source.replace(database=name) for name in sorted(names)]


def _connect(address: Address) -> Connection:
    """Connect to a database that every server has, and that none of its users works in."""
    first, second = (address.for_database(name) for name in MAINTENANCE)
    try:
        return first.connect()
    except SourceError as error:
        try:
            return second.connect()
        except SourceError:
            raise error from None
