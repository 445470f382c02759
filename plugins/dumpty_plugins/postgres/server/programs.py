"""Client programs while they talk to a server: given up when that went silent."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from dumpty import CommandError, Peer, SourceError
from dumpty_plugins.postgres.server.connection import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty.process import Child
    from dumpty_plugins.postgres.server.connection import Address

# A program's sessions are known by its name alone: while another one of that name works in the database, nothing is
# given up, which is late, but never wrong.
_AT_WORK = """
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND application_name = left(%s, 63)
    AND pid <> pg_backend_pid() AND state NOT LIKE 'idle%%' AND wait_event_type IS DISTINCT FROM 'Client' LIMIT 1"""


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
        pulse=child.seconds_of_work,
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

    def wait(self) -> None:
        """Wait for its end.

        Raises:
            CommandError: it failed.
        """
        with self._peer.waiting():
            self._child.wait()
