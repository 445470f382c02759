"""A copy of a scratch database on its own server, by CREATE DATABASE … TEMPLATE.

That copies what is in the database, and nothing of what the server knows of it: its settings, the privileges on it,
its owner, limit and comment. Those are read and given to the copy, as a restore gives them to a new database.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

from dumpty import DumptyError, SourceError
from dumpty_plugins.postgres.schema.properties import read_properties, setting_statement, surroundings_statements
from dumpty_plugins.postgres.schema.tables import identifier
from dumpty_plugins.postgres.server.connection import interruptible, psycopg2, rows
from dumpty_plugins.postgres.server.errors import translate_errors
from dumpty_plugins.postgres.server.target import open_maintenance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty_plugins.postgres.server.connection import Address

_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
_TRIES = 5
"""How often a session that was ended may be replaced by another before its database is given up."""


@contextlib.contextmanager
def cloned(address: Address, template: str) -> Iterator[str]:
    """Copy the database ``template``, yield the copy's name, and drop it whatever happens, whoever is connected.

    What its name begins with makes it go, at the latest, with its template.

    Args:
        address: of the server, as somebody who owns the template, and may create databases.
        template: its name; nobody is connected to it.

    Raises:
        Locked: somebody is.
        SourceError: the server refuses.
    """
    name = f"{template}_{secrets.token_hex(4)}"
    try:
        with _server(address, "copying a database of") as server:
            properties = read_properties(server, template)
            new = identifier(name)
            copy = f"CREATE DATABASE {new} TEMPLATE {identifier(template)}"
            interruptible(server, lambda: rows(server, copy))
            for text in properties["settings"]:
                rows(server, setting_statement(f"ALTER DATABASE {new}", text))
            for statement in surroundings_statements(properties["surroundings"], new):
                rows(server, statement)
        yield name
    except BaseException:
        with contextlib.suppress(DumptyError):  # the failure that led here is the one to report
            _drop(address, name)
        raise
    _drop(address, name)


def _drop(address: Address, name: str) -> None:
    with _server(address, "dropping a copy on") as server:
        for remaining in reversed(range(_TRIES)):
            rows(server, _SESSIONS, name)
            try:
                rows(server, f"DROP DATABASE IF EXISTS {identifier(name)}")
            except psycopg2().errors.ObjectInUse:  # a pool has connected again
                if not remaining:
                    raise
            else:
                return


@contextlib.contextmanager
def _server(address: Address, action: str) -> Iterator[Connection]:
    server = open_maintenance(address)
    if server is None:
        raise SourceError(f"the server of {address.label} was lost")
    with contextlib.closing(server), translate_errors(address, action):
        yield server
