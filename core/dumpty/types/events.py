"""What those are told who watch: one event for each verb that ended, well or not."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from dumpty.types.records import Level

EventVerb = Literal["backup", "restore", "verify", "drill", "prune", "remove", "copy"]


class EventBackup(Struct, frozen=True, kw_only=True):
    """The backup that an event is about.

    ``id`` is its name where it has one of its own (``DatabaseBackup``). ``url`` is the URL that it was made of, secrets
    replaced by ``***``; "" where it is not known any more. ``size_bytes`` are those stored, ``plain_size_bytes`` those
    of the dump; None where that is encrypted, and whoever told the event had no identity. ``suspicious``: when it was
    made it held so much less than those before it that somebody should look.
    """

    id: str
    database: str
    url: str
    size_bytes: int
    plain_size_bytes: int | None
    suspicious: bool = False


class Event(Struct, frozen=True, kw_only=True):
    """How one verb ended; no field holds a secret.

    ``success`` is False where it failed or could not be decided: then ``error`` is the error's text, ``error_type`` its
    class. ``started`` and ``ended`` are aware, in UTC, and may be put forward or back by whoever sets the clock;
    ``duration_seconds`` is not. ``repository`` is where the backups are (for ``copy``, where it is put), ``url`` the
    database that was backed up, or restored into ("" for the other verbs), both with secrets replaced by ``***``.
    ``backup`` is None where there is none: a backup that failed, an id that means none, a ``prune``. ``level`` is that
    of a proof (a drill's is ``restore``), ``removed`` the ids, or names, of what ``prune`` and ``remove`` removed; of a
    ``DatabaseBackup``'s prune as well.
    """

    verb: EventVerb
    success: bool
    started: datetime
    ended: datetime
    duration_seconds: float
    repository: str = ""
    url: str = ""
    error: str = ""
    error_type: str = ""
    backup: EventBackup | None = None
    level: Level | None = None
    removed: tuple[str, ...] = ()
