"""Where a database is, for programs of people: libpq's variables, and a connection string without secrets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dumpty_plugins.postgres.server.connection import SECRET_PARAMETERS, conninfo

if TYPE_CHECKING:
    from dumpty_plugins.postgres.server.connection import Address

_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}
"""The parameters of a connection string that have a variable of libpq's."""


def client_environment(address: Address) -> dict[str, str | None]:
    """Return what variables lead libpq's programs to ``address``, the password included; None for one to take away.

    What a service's file says comes before the variables, and may name another database: without its name a program
    may find no server, but never the wrong one.
    """
    given = {_VARIABLES[name]: value for name, value in address.parameters.items() if name in _VARIABLES}
    return {"PGSERVICE": None} | ({"PGHOSTADDR": None} if "host" in address.parameters else {}) | given


def client_conninfo(address: Address) -> str:
    """Return a connection string for a command line: what is secret is left to the environment."""
    public = {k: v for k, v in address.parameters.items() if k not in ("password", *SECRET_PARAMETERS)}
    service = os.environ.get("PGSERVICE")
    if service and "host" not in public:  # then it is what names the server
        public.setdefault("service", service)
    return conninfo(public)
