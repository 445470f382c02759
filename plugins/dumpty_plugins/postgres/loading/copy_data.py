"""The rows of one COPY on their way to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.postgres.server.waiting import peer_of, wait_until_writable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

__all__ = ["CopyData"]


class CopyData:
    """The data of one COPY, as psycopg2 wants to read it.

    The last of it psycopg2 sends while no other thread of the process can work, and no signal be heard: so its end, or
    a failure, is told only once there is room for that, which is a block of libpq's.
    """

    def __init__(self, data: Iterator[bytes], connection: Connection) -> None:
        self._data = data
        self._connection = connection
        self._peer = peer_of(connection)
        self._buffer = b""
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, b"" at the end."""
        try:
            if self._peer is not None:
                self._peer.moved()
            while not self._buffer:
                self._buffer = next(self._data, b"")
                if not self._buffer:
                    wait_until_writable(self._connection)
                    return b""
        except BaseException as error:
            self.error = error
            wait_until_writable(self._connection)
            raise
        if 0 <= size < len(self._buffer):
            piece, self._buffer = self._buffer[:size], self._buffer[size:]
            return piece
        piece, self._buffer = self._buffer, b""
        return piece
