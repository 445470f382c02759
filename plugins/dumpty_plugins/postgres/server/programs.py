"""Client programs while they talk to a server, here or where a way leads: given up when that went silent."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from dumpty import CommandError, Peer, SourceError
from dumpty.process import Child, RemoteChild
from dumpty_plugins.postgres.server.clients import Client, client_errors, find_clients
from dumpty_plugins.postgres.server.connection import rows
from dumpty_plugins.postgres.server.remote_programs import find_remote_clients, session_there

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from dumpty import Options, Remote
    from dumpty_plugins.postgres.server.connection import Address

# A program's sessions are known by its name alone: while another one of that name works in the database, nothing is
# given up, which is late, but never wrong.
_AT_WORK = """
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND application_name = left(%s, 63)
    AND pid <> pg_backend_pid() AND state NOT LIKE 'idle%%' AND wait_event_type IS DISTINCT FROM 'Client' LIMIT 1"""


def find_programs(program: str, options: Options, remote: Remote | None) -> list[Client]:
    """Return the ``program``s that are installed, here or where ``remote`` is, the preferred one first.

    Raises:
        CommandError: there is none.
    """
    bindir = str(options["bindir"])
    return find_clients(program, bindir) if remote is None else find_remote_clients(remote, program, bindir)


@contextlib.contextmanager
def connected_program(
    argv: Sequence[str],
    address: Address,
    remote: Remote | None,
    *,
    environment: Mapping[str, str] | None = None,
    stdin: Path | None = None,
    stdout: bool = False,
    on_line: Callable[[str], object] | None = None,
) -> Iterator[WatchedProgram]:
    """Within the block, a client program runs with a session of its own at ``address``, here or where ``remote`` is.

    Its argument ``--dbname`` is added to ``argv``; ``environment`` is what it gets beside what says where to connect.
    The file ``stdin`` is what it reads there; here it is to be an argument.

    Raises:
        CommandError: it cannot be started.
        OptionError: a program there cannot have what the URL names.
        SourceError: the server cannot be reached, or fell silent.
    """
    secrets = address.source.secrets
    with contextlib.ExitStack() as stack:
        if remote is None:
            conninfo, variables = stack.enter_context(address.for_programs())
        else:
            conninfo, variables = session_there(address, remote)
            secrets = (*secrets, *filter(None, [variables["PGPASSWORD"]]))
        program, *arguments = argv
        argv = [program, "--no-password", f"--dbname={conninfo}", *arguments]
        variables |= environment or {}
        stack.enter_context(client_errors(secrets, remote.shown if remote is not None else ""))
        if remote is None:
            child = Child(argv, env=variables, secrets=secrets, stdout=stdout, on_line=on_line)
        else:
            child = RemoteChild(
                remote, argv, env=variables, secrets=secrets, stdin=stdin, stdout=stdout, on_line=on_line
            )
        stack.enter_context(child)
        yield stack.enter_context(watch_program(child, address))


@contextlib.contextmanager
def program_output(argv: Sequence[str], path: Path) -> Iterator[Callable[[], bytes]]:
    """Within the block, a program reads the file at ``path``; yield what reads its output.

    That returns b"" only at an end that is known to be a good one.

    Raises:
        CommandError: it cannot be started, or failed.
    """
    with client_errors(), Child([*argv, str(path)], env={"LC_ALL": "C"}) as child:
        yield _reading(child)


@contextlib.contextmanager
def remote_output(argv: Sequence[str], path: Path, address: Address, remote: Remote) -> Iterator[Callable[[], bytes]]:
    """As ``program_output``, of a program that runs where ``remote`` is, and is given up when the way fell silent.

    Raises:
        CommandError: it cannot be started, or failed.
        OSError: the file cannot be read.
        SourceError: nothing came of it for as long as ``address`` lets a server be silent.
    """
    with (
        client_errors(place=remote.shown),
        RemoteChild(remote, argv, env={"LC_ALL": "C"}, stdin=path) as child,
        contextlib.closing(Peer(f"{child.name} by {remote.shown}", child.kill_now, seconds=address.stall)) as peer,
    ):
        read = _reading(child)

        def read_watched() -> bytes:
            try:
                with peer.waiting():
                    return read()
            except CommandError as error:
                if peer.reason:
                    raise SourceError(peer.reason) from error
                raise

        yield read_watched


def _reading(child: Child) -> Callable[[], bytes]:
    def read() -> bytes:
        piece = child.read()
        if not piece:
            child.wait()
        return piece

    return read


@contextlib.contextmanager
def watch_program(child: Child, address: Address) -> Iterator[WatchedProgram]:
    """Within the block, ``child`` is ended when nothing came of it, it did nothing, and the server does nothing for it.

    Raises:
        SourceError: that happened.
    """
    name = address.parameters.get("application_name") or os.environ.get("PGAPPNAME") or child.name

    def working() -> bool:
        with contextlib.closing(address.with_short_stall().connect()) as connection:
            return bool(rows(connection, _AT_WORK, name))

    peer = Peer(
        f"{child.name} with {address.label}",
        child.kill_now,
        seconds=address.stall,
        working=working,
        pulse=None if isinstance(child, RemoteChild) else child.seconds_of_work,
    )
    try:
        yield WatchedProgram(child, peer)
    except CommandError as error:
        if peer.reason:
            raise SourceError(peer.reason) from error
        raise
    finally:
        peer.close()


class WatchedProgram:
    """A child process that is watched while somebody waits for it."""

    def __init__(self, child: Child, peer: Peer) -> None:
        self._child = child
        self._peer = peer

    def read(self) -> bytes:
        """Return the next block of its output, b"" at its end, which is then known to be a good one.

        Raises:
            CommandError: it failed: its own error text says more than what its output lacks.
        """
        with self._peer.waiting():
            piece = self._child.read()
        if not piece:
            self.wait()
        return piece

    def stop(self) -> None:
        """End it, from any thread: whoever reads or waits is told that it failed."""
        self._child.kill_now()

    def wait(self) -> None:
        """Wait for its end.

        Raises:
            CommandError: it failed.
        """
        with self._peer.waiting():
            self._child.wait()
