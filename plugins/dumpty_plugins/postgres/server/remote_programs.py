"""Client programs where a way leads: found, given what this machine's would have, and fed."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from dumpty import CommandError, OptionError
from dumpty.process import BLOCK, RemoteChild, run
from dumpty_plugins.postgres.server.clients import WELL_KNOWN, Client, client_of, without_wrappers
from dumpty_plugins.postgres.server.connection import SECRET_PARAMETERS, conninfo
from dumpty_plugins.postgres.server.waiting import KEEPALIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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
}
"""What names files of this machine, and how the environment says it."""
_AS_HERE = (
    *("PGSSLMODE", "PGREQUIRESSL", "PGSSLNEGOTIATION", "PGSSLSNI", "PGSSLCERTMODE", "PGREQUIREPEER", "PGREQUIREAUTH"),
    *("PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION", "PGCHANNELBINDING", "PGGSSENCMODE", "PGKRBSRVNAME"),
    *("PGTARGETSESSIONATTRS", "PGOPTIONS", "PGAPPNAME", "PGCONNECT_TIMEOUT"),
)
_NOT_AS_THERE = (
    *("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGSERVICEFILE", "PGCLIENTENCODING"),
    "PGLOADBALANCEHOSTS",
)
"""What the environment there may say, and the connection string says."""


def remote_of(source: Source, options: Options) -> Remote | None:
    """Return where client programs are to run, None for this machine: what the option ``programs`` says.

    Raises:
        OptionError: it says there, and there is no way.
    """
    if options["programs"] == "here":
        return None
    if source.remote is None:
        raise OptionError("programs=there runs pg_dump and pg_restore where --via leads: it needs --via")
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
        real_paths.add(real_path)
        clients.append(client_of(path, version))
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
    named = [n for n in SECRET_PARAMETERS if n in parameters]
    if not endpoint.sockets:
        given = {n: parameters.get(n) or os.environ.get(variable, "") for n, variable in _FILES.items()}
        named += [n for n, value in given.items() if value not in {"", "system"}]
    if named:
        raise OptionError(
            f"{', '.join(named)} of {address.label} cannot be handed to a program there: leave programs=there out"
        )
    with contextlib.closing(address.connect()) as connection:
        user, password = connection.info.user, connection.info.password
    left_out = {"host", "hostaddr", "port", "password", "passfile", *_FILES}
    public = {n: value for n, value in parameters.items() if n not in left_out}
    public |= _place(endpoint, address) | {"user": user}
    environment: dict[str, str | None] = {name: os.environ.get(name) for name in _AS_HERE}
    environment |= dict.fromkeys(_NOT_AS_THERE)
    return conninfo(KEEPALIVE | public), environment | {"LC_ALL": "C", "PGPASSWORD": password or None}


def _place(endpoint: Endpoint, address: Address) -> dict[str, str]:
    if endpoint.sockets:  # of several directories, libpq takes the first that has one
        folders, names = zip(*map(os.path.split, endpoint.sockets), strict=True)
        return {"host": ",".join(folders), "port": names[0].rpartition(".")[2]}
    host = address.parameters.get("host") or endpoint.host
    other = {"hostaddr": endpoint.host} if host != endpoint.host else {}
    return {"host": host, "port": str(endpoint.port), **other}


@contextlib.contextmanager
def fed(child: RemoteChild, path: Path) -> Iterator[Callable[[], bytes]]:
    """Within the block, ``child`` gets the file at ``path`` to read; yield what reads its output, to its good end.

    Raises:
        CommandError: it failed.
        OSError: the file cannot be read.
    """
    errors: list[Exception] = []

    def feed() -> None:
        try:
            for piece in blocks(path):
                child.write(piece)
            child.stdin.close()
        except (CommandError, BrokenPipeError):
            pass  # who reads its output sees why
        except Exception as error:  # noqa: BLE001 - raised by who reads
            errors.append(error)
            child.kill_now()

    def read() -> bytes:
        piece = child.read()
        if not piece:
            thread.join()
            if errors:
                raise errors[0]
            child.wait()
        return piece

    thread = threading.Thread(target=feed, name="dumpty-postgres-feed", daemon=True)
    thread.start()
    try:
        yield read
    finally:
        child.end()
        thread.join()


def blocks(path: Path) -> Iterator[bytes]:
    """Yield what the file at ``path`` holds."""
    with path.open("rb") as stream:
        while piece := stream.read(BLOCK):
            yield piece
