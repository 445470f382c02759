"""Client programs where a way leads: found, and given what this machine's would have."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from dumpty import CommandError, OptionError
from dumpty.process import run
from dumpty_plugins.postgres.server.clients import WELL_KNOWN, Client, client_of, without_wrappers
from dumpty_plugins.postgres.server.connection import SECRET_PARAMETERS, conninfo, psycopg2
from dumpty_plugins.postgres.server.waiting import KEEPALIVE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dumpty import Endpoint, Options, Remote, Source
    from dumpty_plugins.postgres.server.connection import Address

_FIND = f"""
program=$1
if [ "$2" ]; then set -- "$2/$program"; else
set -- "$(command -v "$program")" {" ".join(f'{directory}/"$program"' for directory in WELL_KNOWN)}; fi
for path do
    if [ -f "$path" ] && [ -x "$path" ]; then
        real=$(readlink -f "$path") || real=$path
        printf '%s\\t%s\\t%s\\n' "$path" "$real" "$("$path" --version)"
    fi
done 2>/dev/null
"""
_FIELDS = 3

_FILES = {
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslkeylogfile": "",
}
"""What names files of this machine, and how the environment says it."""
_SYSTEM = "system"
"""As sslrootcert: the certificates that every system has."""
_DEMANDS = {
    "require_auth": "PGREQUIREAUTH",
    "sslcertmode": "PGSSLCERTMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "sslsni": "PGSSLSNI",
}
"""What an older libpq would ignore as a variable; as a parameter that it does not know, it is an error."""
_AS_HERE = (
    "PGSSLMODE",
    "PGREQUIREPEER",
    "PGKRBSRVNAME",
    "PGTARGETSESSIONATTRS",
    "PGOPTIONS",
    "PGAPPNAME",
    "PGCONNECT_TIMEOUT",
)
_NOT_AS_THERE = (
    *("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGSERVICEFILE", "PGLOADBALANCEHOSTS"),
    *("PGCLIENTENCODING", "PGDATESTYLE", "PGTZ", "PGGEQO", "PGREQUIRESSL"),
    *filter(None, _FILES.values()),
    *_DEMANDS.values(),
)
"""What the environment there may say, and the connection string says, or nobody."""


def remote_of(source: Source, options: Options) -> Remote | None:
    """Return where client programs are to run, None for this machine: what the option ``programs`` says.

    Raises:
        DependencyError: psycopg2 is not installed, by which it is found out how to log in there.
        OptionError: it says there, and there is no way.
    """
    if options["programs"] == "here":
        return None
    if source.remote is None:
        raise OptionError("programs=there runs pg_dump and pg_restore where --via leads: it needs --via")
    psycopg2()
    return source.remote


def find_remote_clients(remote: Remote, program: str, bindir: str) -> list[Client]:
    """Return the ``program``s that are installed there, the preferred one first; ``bindir`` forces one directory.

    Raises:
        CommandError: there is none.
    """
    listed = run(["sh", "-c", _FIND, "dumpty", program, bindir], env={"LC_ALL": "C"}, remote=remote)
    clients, wrappers, real_paths = [], set(), set()
    for line in listed.splitlines():
        fields = line.split("\t")
        if len(fields) != _FIELDS or fields[1] in real_paths:
            continue
        path, real_path, version = fields
        client = client_of(path, version)
        if not (path.startswith("/") and client.major):  # what does not tell its version is none
            continue
        real_paths.add(real_path)
        clients.append(client)
        if os.path.basename(real_path) == "pg_wrapper":
            wrappers.add(path)
    if not clients:
        where = f"in {bindir} there; correct the option bindir" if bindir else "there; install it there"
        raise CommandError(f"{program}, to be run by {remote.shown}, was not found {where}", argv=(program,))
    return without_wrappers(clients, wrappers)


def session_there(address: Address, remote: Remote) -> tuple[str, dict[str, str | None]]:
    """Return what a client program needs there: a connection string without secrets, and changes to its environment.

    It logs in as the same user, with the same password, and with the same demands on the connection as this machine.

    Raises:
        DependencyError: psycopg2 is not installed.
        OptionError: its URL, or this environment, names files or secrets that a program there cannot have.
        SourceError: the server cannot be reached.
    """
    endpoint, parameters = remote.endpoint, address.parameters
    files = {n: parameters.get(n) or (os.environ.get(v, "") if v else "") for n, v in _FILES.items()}
    if endpoint.sockets:  # where there is no TLS
        files = {}
    named = [n for n in SECRET_PARAMETERS if n in parameters]
    named += [n for n, value in files.items() if value not in {"", _SYSTEM}]
    if named:
        raise OptionError(
            f"{', '.join(named)} of {address.label} cannot be handed to a program there: leave programs=there out"
        )
    with contextlib.closing(address.connect()) as connection:
        user, password = connection.info.user, connection.info.password
    left_out = {"host", "hostaddr", "port", "password", "passfile", *_FILES}
    public = {n: value for n, value in parameters.items() if n not in left_out}
    public |= _place(endpoint, address) | {"user": user, **{n: value for n, value in files.items() if value}}
    for name, variable in _DEMANDS.items():
        if os.environ.get(variable):
            public.setdefault(name, os.environ[variable])
    if files.get("sslrootcert") == _SYSTEM:  # which says so by itself, but not to an older libpq
        public.setdefault("sslmode", "verify-full")
    elif not endpoint.sockets and _verifies_by_default(parameters):
        public["sslmode"] = "verify-ca"
    environment: dict[str, str | None] = {name: os.environ.get(name) for name in _AS_HERE}
    environment |= dict.fromkeys(_NOT_AS_THERE)
    return conninfo(KEEPALIVE | public), environment | {"LC_ALL": "C", "PGPASSWORD": password or None}


def _verifies_by_default(parameters: Mapping[str, str]) -> bool:
    """Return whether sslmode=require means verify-ca on this machine: where a user has a file of authorities, it does.

    https://www.postgresql.org/docs/current/libpq-ssl.html
    """
    mode = parameters.get("sslmode") or os.environ.get("PGSSLMODE")
    return mode == "require" and os.path.exists(os.path.expanduser("~/.postgresql/root.crt"))


def _place(endpoint: Endpoint, address: Address) -> dict[str, str]:
    if endpoint.sockets:  # of several directories, libpq takes the first that has one
        folders, names = zip(*map(os.path.split, endpoint.sockets), strict=True)
        return {"host": ",".join(folders), "port": names[0].rpartition(".")[2]}
    host = address.parameters.get("host") or endpoint.host
    other = {"hostaddr": endpoint.host} if host != endpoint.host else {}
    return {"host": host, "port": str(endpoint.port), **other}
