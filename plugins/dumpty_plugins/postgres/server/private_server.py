"""A private PostgreSQL server for a drill, made from the programs on this machine, in a directory of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dumpty import CommandError, DumptyError, NotProvable, OptionError, Source, SourceError, lock_if_free, open_regular
from dumpty.process import Child, account
from dumpty_plugins.postgres.server import supervisor
from dumpty_plugins.postgres.server.clients import Client, find_clients
from dumpty_plugins.postgres.server.connection import Address, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Options

_PREFIX = "dumpty-drill-pg-"
_INITDB_USERS = ("postgres", "nobody")
_PORT = 5432
_START_SECONDS = 120.0
_END_SECONDS = 30.0
_YOUNG_SECONDS = 3600.0
_SOCKET_BYTES = 100  # the kernel's limit is 108, on other systems 104
_MAJOR = re.compile(r"[1-9]\d{0,3}")
_WRONG_SERVER = "PGHOSTADDR, or PGSERVICE, leads to another server than a drill's own: unset it"

_SETTINGS = (
    "listen_addresses=",
    f"port={_PORT}",
    "unix_socket_permissions=0700",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "max_connections=50",
    "max_locks_per_transaction=256",
    "shared_buffers=128MB",
    "maintenance_work_mem=128MB",
    "jit=off",
    "logging_collector=off",
    "log_destination=stderr",
)


@dataclass(frozen=True, kw_only=True)
class PrivateServer:
    """A private server that runs.

    ``admin`` is the address of its superuser, whose name no dump knows; ``account`` says, for people, whom it runs as.
    ``major`` is its major version. Where that is not the dump's, and somebody asked for it, ``rehearsal`` says so.
    """

    admin: Source
    account: str
    major: int
    rehearsal: str

    def source(self, user: str, password: str, database: str) -> Source:
        """Return the address of ``database`` for another user."""
        return self.admin.replace(username=user, password=password, database=database)


@contextlib.contextmanager
def running_server(major: int, options: Options, *, room: int) -> Iterator[PrivateServer]:
    """Start a server of version ``major``, or the next newer one there is; or of the version that ``options`` name.

    Of ``options`` these count: ``bindir``, where its programs are, ``server_version``, and ``scratch_dir``, where it
    keeps its data, which has to have ``room`` (bytes). It runs as a user of the system's that owns nothing else, where
    we are root; else as our own. It listens on a socket that only its own user reaches, and ends with the block, or
    with this process.

    Raises:
        NotProvable: this machine cannot run such a server; the text says what it lacks.
        OptionError: ``server_version`` is none.
    """
    bindir, scratch_dir = str(options["bindir"]), str(options["scratch_dir"])
    if os.environ.get("PGHOSTADDR"):
        raise DumptyError(_WRONG_SERVER)
    wanted = wanted_major(options)
    program = _choose_program(major, bindir, wanted)
    rehearsed = program.major != major and bool(wanted or bindir)
    uid = account.spare_account()
    initdb_user = "" if uid is None else _initdb_user(program, uid)
    base = scratch_dir or tempfile.gettempdir()
    remove_abandoned(base)
    _check_room(base, room)
    try:
        directory = tempfile.mkdtemp(prefix=_PREFIX, dir=base)
    except OSError as error:
        raise NotProvable(
            f"no server can be started in {base} ({error}); give another -o scratch_dir=DIRECTORY"
        ) from error
    try:
        source = _source(os.path.join(directory, supervisor.SOCKETS))
        initdb = os.path.join(os.path.dirname(program.path), "initdb")
        argv = [
            sys.executable,
            "-I",
            "-S",
            supervisor.__file__,
            directory,
            "" if uid is None else str(uid),
            initdb_user,
        ]
        argv += [account.BECOME, str(source.username), initdb, program.path, *_SETTINGS]
        with Child(argv, stdin=True, stdout=False, bare=True) as child:
            child.write(str(source.password).encode() + b"\n")
            _await_start(child, source, directory)
            try:
                yield PrivateServer(
                    admin=source,
                    account=_account_text(uid),
                    major=program.major,
                    rehearsal=f"a rehearsal on PostgreSQL {program.version} of a backup of {major}"
                    if rehearsed
                    else "",
                )
            finally:
                with contextlib.suppress(OSError, CommandError):
                    child.wait(_END_SECONDS)  # closes the pipe: the supervisor ends the server and clears up
    finally:
        if uid is not None:
            account.end_account(uid)
        shutil.rmtree(directory, ignore_errors=True)


def _account_text(uid: int | None) -> str:
    if uid is None:
        return f"as this user ({os.geteuid()}), for only root can give it an account of its own"
    return f"as the user id {uid}, which owns nothing"


def remove_abandoned(base: str) -> None:
    """Remove what drills left in ``base`` whose every process was killed."""
    for path in Path(base).glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if path.is_symlink() or status.st_uid != os.geteuid():
                continue
            if not (path / supervisor.LOCK).exists():
                if time.time() - status.st_mtime > _YOUNG_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
                continue
            lock = open_regular(str(path / supervisor.LOCK), os.O_RDWR, owners=())
            try:
                if lock_if_free(lock, str(path / supervisor.LOCK)):
                    _end_processes(path)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def _end_processes(directory: Path) -> None:
    """End what a killed drill's server started, and what may have outlived it: nobody else has its user id."""
    try:
        owner = (directory / supervisor.SOCKETS).lstat().st_uid
    except FileNotFoundError:  # killed before it was made, or behind its removal
        return
    if os.geteuid() == 0 and owner != 0:
        with contextlib.suppress(KeyError):
            pwd.getpwuid(owner)
            return
        account.end_account(owner)


def wanted_major(options: Options) -> int | None:
    """Return the major version that the option ``server_version`` asks for; None where it asks for none.

    Raises:
        OptionError: it is none.
    """
    text = str(options["server_version"])
    if text and not _MAJOR.fullmatch(text):
        raise OptionError(f"the server version {text!r} is no major version of PostgreSQL; write for example 18")
    return int(text) if text else None


def _choose_program(major: int, bindir: str, wanted: int | None) -> Client:
    """Return the server's program: of version ``wanted``, else ``major`` or the next newer one; ``bindir`` is where."""
    if wanted is not None and wanted < major:
        raise NotProvable(
            f"the dump is of PostgreSQL {major}, and no older server, such as {wanted}, is meant to load it; choose "
            f"--server-version {major} or a newer one"
        )
    try:
        programs = [c for c in find_clients("postgres", bindir, anywhere=True) if c.major]
    except CommandError:
        programs = []
    programs = [c for c in programs if os.access(os.path.join(os.path.dirname(c.path), "initdb"), os.X_OK)]
    fitting = sorted((c for c in programs if c.major >= major), key=lambda c: c.major)
    if wanted is not None:
        fitting = [c for c in fitting if c.major == wanted]
    if fitting:
        return fitting[0]
    place = bindir or "this machine"
    present = ", ".join(f"{c.version} in {os.path.dirname(c.path)}" for c in sorted(programs, key=lambda c: c.major))
    advice = "" if bindir else ", say where they are (--bindir DIR)"
    subject = f"the dump is of PostgreSQL {major}" + (f", to be rehearsed on {wanted}" if wanted is not None else "")
    raise NotProvable(
        f"{subject}, and of the server's programs {place} has {f'only {present}' if programs else 'none'}; "
        f"install them (apt-get install postgresql-{wanted or major}){advice}, or name a server with --on"
    )


def _initdb_user(program: Client, uid: int) -> str:
    """Return the user to run initdb as, which wants one that has a name; see that the server can run as ``uid``."""
    users = [name for name in _INITDB_USERS if _uid(name)]
    if not users:
        raise NotProvable(
            f"PostgreSQL does not run as root, and this machine has no user {' or '.join(_INITDB_USERS)}; "
            "create one, or drill as another user"
        )
    if not _reachable(program.path):
        raise NotProvable(f"not everybody may run {program.path}; install it where everybody may")
    try:
        result = subprocess.run(  # noqa: S603 - the program that was found, and no shell
            [program.path, "--version"],
            user=uid,
            group=uid,
            extra_groups=[],
            env=account.bare_environment(),
            capture_output=True,
            check=False,
            cwd="/",
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotProvable(f"root may not take on another user id here ({error}); drill as another user") from error
    if result.returncode:
        raise NotProvable(f"not everybody may run {program.path}; install it where everybody may")
    return users[0]


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return 0


def _reachable(path: str) -> bool:
    """Return whether a user who is nobody gets as far as ``path``."""
    return all(part.stat().st_mode & 1 for part in (Path(path), *Path(path).resolve().parents))


def _check_room(base: str, room: int) -> None:
    try:
        free = shutil.disk_usage(base).free
    except OSError as error:
        raise NotProvable(
            f"no server can be started in {base}: {error}; give another -o scratch_dir=DIRECTORY"
        ) from error
    if free < room:
        raise NotProvable(
            f"{base} has {free >> 20} MB free, and the dump has {room >> 20} MB; give another -o scratch_dir=DIRECTORY"
        )


def _source(sockets: str) -> Source:
    if len(os.fsencode(sockets)) + len("/.s.PGSQL.5432") > _SOCKET_BYTES:
        raise NotProvable(f"{sockets} is too long for a socket; give a shorter -o scratch_dir=DIRECTORY")
    return Source(
        scheme="postgresql",
        username=f"dumpty_{secrets.token_hex(8)}",
        password=secrets.token_hex(16),
        database="postgres",
        query={"host": sockets, "port": str(_PORT)},
    )


def _await_start(child: Child, source: Source, directory: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    sockets = source.query["host"]
    while not os.path.exists(os.path.join(sockets, f".s.PGSQL.{_PORT}")):
        _still_starting(child, deadline)
    while True:
        try:
            connection = Address(source).connect()
        except SourceError as error:
            if not re.search("starting up|not yet accepting|Connection refused|No such file", str(error)):
                raise
            _still_starting(child, deadline)
            continue
        with closing(connection):
            # PGHOSTADDR, or a service's file, would lead us, and everything after us, to somebody's real server.
            if rows(connection, "SHOW data_directory") != [(os.path.join(directory, "data"),)]:
                raise DumptyError(_WRONG_SERVER)
        return


def _still_starting(child: Child, deadline: float) -> None:
    if child.returncode is not None:
        with contextlib.suppress(CommandError):
            child.wait()
        log_lines = [line for line in child.stderr_tail().splitlines() if line.strip()]
        reason = next(
            (line for line in log_lines if "FATAL" in line or "error" in line),
            log_lines[-1] if log_lines else "no reason given",
        )
        raise NotProvable(f"a private PostgreSQL server does not start here: {reason.strip()}")
    if time.monotonic() > deadline:
        raise NotProvable(f"a private PostgreSQL server did not start within {_START_SECONDS:g} s")
    time.sleep(0.05)
