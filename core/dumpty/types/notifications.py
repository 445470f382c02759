"""What people are told of their backups, and who tells them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct

NoticeKind = Literal[
    "failed",
    "overdue",
    "suspicious",
    "damaged",
    "copy-missing",
    "not-proved",
    "unreachable",
    "unrecorded",
    "warning",
    "test",
]
"""What is wrong.

``failed``: a backup could not be made. ``overdue``: the last good one is older than it may be. ``suspicious``: one
holds much less than those before it. ``damaged``: one is lost, or its proof failed. ``copy-missing``: one is not where
copies are to be. ``not-proved``: a proof was asked for, and not possible. ``unreachable``: nobody can look, for the
repository does not answer. ``unrecorded``: what came of a run could not be written down. ``warning``: something else
that somebody should know. ``test``: nothing, it is tried whether messages arrive.
"""

NoticeEvent = Literal["alarm", "reminder", "recovery"]
"""``alarm``: it is told for the first time. ``reminder``: it still is so. ``recovery``: it is over."""

Severity = Literal["failure", "warning", "recovery", "info"]
"""How much a message matters: of its alarms and reminders the worst; ``recovery`` where it has none."""


class Notice(Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a job, or is no longer.

    ``subject`` says of what: a database's URL without its password, a backup's id, a repository; "" of the job itself.
    ``text`` is one line: what is wrong, or was, and what to do. ``since`` is when it was first seen, aware, in UTC.
    """

    event: NoticeEvent
    kind: NoticeKind
    job: str
    subject: str
    text: str
    since: datetime


class Message(Struct, frozen=True, kw_only=True):
    """What is told at once.

    ``id`` is the same where a message may be sent a second time (whoever sent it was killed before that was known), so
    that its recipient can tell. ``title`` is one line, ``body`` several, of plain text; together they say all that
    ``notices`` do. ``host`` is the machine that tells, ``at`` the time, aware, in UTC. No field holds a secret.
    """

    id: str
    severity: Severity
    title: str
    body: str
    host: str
    at: datetime
    notices: tuple[Notice, ...] = ()


class Notifier(Protocol):
    """Tells one recipient."""

    def send(self, message: Message, /) -> None:
        """Send one message; returning means that the recipient, or a service that delivers to it, has taken it.

        Whoever calls waits for it, and gives up after some time; so wait for a network no longer than 30 seconds.
        Several threads may send at once.

        Raises ``NotificationError`` where it was not taken, or that cannot be told. The text says why, and shows
        nothing of the address but what may be seen.
        """
        ...
