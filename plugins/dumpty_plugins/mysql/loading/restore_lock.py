"""What keeps two restores of one database apart."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty import Locked
from dumpty_plugins.mysql.schema.recovery import lock_name
from dumpty_plugins.mysql.server.session import address
from dumpty_plugins.mysql.server.sql import literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Source
    from dumpty_plugins.mysql.server.session import Session

_MOMENT_SECONDS = 5


@contextlib.contextmanager
def restore_lock(control: Session, target: Source, database: str) -> Iterator[None]:
    """Hold the name of a restore into ``database`` against every other one. The lock ends with the session.

    Raises:
        Locked: another one is running.
    """
    # The server may not yet have noticed that the session of one that failed has ended.
    if control.text(f"SELECT GET_LOCK({literal(lock_name(database))}, {_MOMENT_SECONDS})") != "1":
        raise Locked(f"another restore into {database} on {address(target)} is running: wait until it has ended")
    yield
