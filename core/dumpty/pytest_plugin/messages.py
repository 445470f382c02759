"""What the processes of tests and the one that holds the databases say to each other: lines of JSON."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - help() asks what the fields of a struct are
from typing import Union

import msgspec
from msgspec import Struct

from dumpty.pytest_plugin.source import RestoreSource  # noqa: TC001 - msgspec asks

__all__ = [
    "ANSWERS",
    "END",
    "LOG",
    "REQUESTS",
    "SOCKET",
    "Answer",
    "Failed",
    "GiveBack",
    "GivenBack",
    "Lend",
    "LentDatabase",
    "Request",
    "line",
]

SOCKET, END, LOG = "socket", "end", "log"
"""The files of a session's directory: who asks for databases, who ends it, and what went wrong."""


class LentDatabase(Struct, frozen=True, kw_only=True, tag=True):
    """A database for a test.

    ``url`` leads there, secrets included; ``shown_url`` is the same without them. ``environment`` are the variables
    that lead the database's own programs there, secrets included: None for one that must not be set. ``path`` is the
    database's file, "" where it is on a server.
    """

    number: int
    url: str
    shown_url: str
    environment: Mapping[str, str | None]
    path: str = ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown_url!r})"


class Lend(Struct, frozen=True, kw_only=True, tag=True):
    """A database is asked for."""

    source: RestoreSource


class GiveBack(Struct, frozen=True, kw_only=True, tag=True):
    """It is not needed any more."""

    number: int


class GivenBack(Struct, frozen=True, kw_only=True, tag=True):
    """It is gone."""


class Failed(Struct, frozen=True, kw_only=True, tag=True):
    """What was asked for cannot be done; the text has no secrets."""

    text: str


Request = Union[Lend, GiveBack]  # noqa: UP007 - msgspec reads it while it runs
Answer = Union[LentDatabase, GivenBack, Failed]  # noqa: UP007

# Made with the module, by one thread: several that met a type for the first time at once would crash msgspec 0.22.
REQUESTS, ANSWERS = msgspec.json.Decoder(Request), msgspec.json.Decoder(Answer)


def line(message: Struct) -> bytes:
    """Return a message as it is sent."""
    return msgspec.json.encode(message) + b"\n"
