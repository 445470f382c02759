"""Which pg_dump and pg_restore to run: the server's own major version, else a newer one, never an older one."""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import CommandError
from dumpty.process import redact, run

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from dumpty import Options

INSTALL = "apt-get install postgresql-client"

_DEBIAN = "/usr/lib/postgresql/"
WELL_KNOWN = (
    f"{_DEBIAN}*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Red Hat, from PostgreSQL's own repository
    "/usr/local/pgsql*/bin",  # built from source
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql@*/bin",
    "/opt/homebrew/opt/libpq/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)

_VERSION = re.compile(r"\(PostgreSQL\)\s+((\d{1,4})[\w.~+-]*)")


_ERROR_LINE = re.compile(r"^\S+: (?:error: |detail: (?=Error message))(.*)$", re.MULTILINE)

HINT = re.compile(r"^HINT:\s+(.*)$", re.MULTILINE)
"""What the server advises, as client programs repeat it."""

_ADVICE = (
    ("permission denied", "; use the owner or a superuser, or grant the right that is missing"),
    ("row-level security", "; use a role with BYPASSRLS, or a superuser"),
    ("Connection refused", "; is the server running, and is the port right?"),
    ("No such file or directory", "; is the server running, and is its socket in that directory?"),
    ("password authentication failed", "; check user name and password"),
    ("canceling statement due to", "; a table stays locked: try again later, or raise lock_timeout"),
    ("server version mismatch", "; install the client of the server's version"),
)


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client program: its path, its major version (0 where it does not tell) and its version's text."""

    path: str
    major: int
    version: str


def find_clients(program: str, bindir: str = "", *, anywhere: bool = False) -> list[Client]:
    """Return the installed ``program``s, the preferred one first.

    ``bindir`` forces one directory. Else the first is the one on the PATH; with it come those in
    ``DUMPTY_PG_BINDIR`` (directories, separated by colons) and in the directories where systems keep several versions.
    With ``anywhere``, one in such a directory will do: servers are not on the PATH.

    Raises:
        CommandError: there is none on the PATH, nor where ``bindir`` or ``DUMPTY_PG_BINDIR`` point.
    """
    if bindir:
        path = os.path.join(bindir, program)
        if not os.access(path, os.X_OK):
            raise CommandError(f"{program} was not found in {bindir}; correct the option bindir", argv=(program,))
        return [_client(path)]
    on_path = shutil.which(program)
    directories = [d for d in os.environ.get("DUMPTY_PG_BINDIR", "").split(os.pathsep) if d]
    well_known = [p for d in WELL_KNOWN for p in sorted(glob.glob(os.path.join(d, program))) if os.access(p, os.X_OK)]
    chosen = [p for d in directories if os.access(p := os.path.join(d, program), os.X_OK)]
    if on_path is None and not chosen and not (anywhere and well_known):
        hint = f" (one was seen in {os.path.dirname(well_known[-1])}: add that to the PATH)" if well_known else ""
        raise CommandError(f"{program} was not found on the PATH{hint}; install it: {INSTALL}", argv=(program,))
    paths: dict[str, str] = {}
    for path in [*([on_path] if on_path else []), *chosen, *well_known]:
        paths.setdefault(os.path.realpath(path), path)
    wrappers = {real: path for real, path in paths.items() if os.path.basename(real) == "pg_wrapper"}
    if any(path.startswith(_DEBIAN) for path in well_known):
        # It runs one of these; to ask it for its version takes as long as all that a small backup does besides.
        paths = {real: path for real, path in paths.items() if real not in wrappers}
    clients = [_client(path) for path in paths.values()]
    return without_wrappers(clients, wrappers.values())


def without_wrappers(clients: list[Client], wrapper_paths: Collection[str]) -> list[Client]:
    """Return the clients without those at ``wrapper_paths`` of whose version there is another one.

    Debian's /usr/bin/pg_dump is a wrapper that chooses by rules of its own: the program itself is predictable.
    """
    programs = [c for c in clients if c.path not in wrapper_paths]
    return [c for c in clients if c.path not in wrapper_paths or c.major not in {b.major for b in programs}]


def choose_client(clients: list[Client], major: int, *, subject: str, place: str = "") -> Client:
    """Return the client for a server (or an archive) of version ``major``; ``subject`` names that in messages.

    ``place`` is where they are, if not on this machine.

    Raises:
        CommandError: all clients are older.
    """
    for client in clients:
        if client.major in (major, 0):
            return client
    newer = sorted((c for c in clients if c.major > major), key=lambda c: c.major)
    if newer:
        return newer[0]
    program = os.path.basename(clients[0].path)
    by, there = (f", by {place},", " there") if place else ("", "")
    versions = ", ".join(sorted({c.version for c in clients}))
    raise CommandError(
        f"{program} {versions}{by} is too old for {subject}, which is PostgreSQL {major}; "
        f"install its client{there}: apt-get install postgresql-client-{major}",
        argv=(program,),
    )


@contextlib.contextmanager
def client_errors(secrets: Sequence[str] = (), place: str = "") -> Iterator[None]:
    """Let the error of a client program quote what the program itself calls its error, not its last line.

    ``place`` is where it runs, if not on this machine.

    Raises:
        CommandError: the same, with a better text.
    """
    try:
        yield
    except CommandError as error:
        messages = [m[1].strip() for m in _ERROR_LINE.finditer(error.stderr_tail)]
        if not messages or error.returncode in (None, 0):
            raise
        program = os.path.basename(error.argv[0]) if error.argv else "the client program"
        program += f", run by {place}," if place else ""
        advice = next((text for sign, text in _ADVICE if sign in error.stderr_tail), "")
        hints = "".join(f" ({hint.strip()})" for hint in dict.fromkeys(HINT.findall(error.stderr_tail)))
        error_text = "; ".join(dict.fromkeys(messages))
        raise CommandError(
            redact(
                f"{program} failed (status {error.returncode}): {error_text}{hints}{advice}",
                secrets,
            ),
            argv=error.argv,
            returncode=error.returncode,
            stderr_tail=error.stderr_tail,
        ) from error


def job_count(options: Options) -> int:
    """Return how many jobs the option ``jobs`` asks for: 0 means one per processor."""
    return int(options["jobs"]) or os.cpu_count() or 1  # type: ignore[arg-type]


def _client(path: str) -> Client:
    status = os.stat(path)
    return _ask_version(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _ask_version(path: str, _changed: int, _size: int) -> Client:
    """Ask a program for its version: once per process, and again when it was replaced."""
    try:
        output = run([path, "--version"], env={"LC_ALL": "C"}, timeout=20.0)
    except CommandError:
        output = ""
    return client_of(path, output)


def client_of(path: str, output: str) -> Client:
    """Return the client at ``path``; ``output`` is what it says to --version."""
    match = _VERSION.search(output)
    return Client(path=path, major=int(match[2]) if match else 0, version=match[1] if match else "of unknown version")
