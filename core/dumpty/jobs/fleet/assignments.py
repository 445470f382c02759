"""What is sent to a worker and comes back: plain values, none of them a secret."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from dumpty.errors import OptionError
from dumpty.indirection import indirect_line, is_indirect
from dumpty.jobs.document import Job  # noqa: TC001 - msgspec asks for it
from dumpty.jobs.events import JobEventKind  # noqa: TC001 - msgspec asks for it
from dumpty.jobs.finding import ACCOUNTS, Database
from dumpty.jobs.outcomes import CopyRun, DatabaseRun, DrillRun  # noqa: TC001 - msgspec asks for it
from dumpty.jobs.work import FollowUp  # noqa: TC001 - msgspec asks for it
from dumpty.redaction import names_secret
from dumpty.types import Progress  # noqa: TC001 - msgspec asks for it
from dumpty.url import parse_url, raw_path, secrets_in, with_raw_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty.jobs.settings import JobSettings

__all__ = [
    "TOPIC",
    "Answer",
    "Assignment",
    "DatabaseReference",
    "Happened",
    "Machine",
    "Message",
    "as_values",
    "message_of",
    "refer_to",
    "require_by_reference",
    "resolve",
]

TOPIC = "dumpty"
"""Under which workers tell of what happens: the scheduler passes it on to whoever listens."""


class DatabaseReference(Struct, frozen=True, kw_only=True):
    """A database, by the source that means it, as it is written; ``shown`` is its URL.

    ``path`` is that of its URL, where the source means several; None where the source is the URL.

    So what is secret in the URL is read where the database is backed up, and never sent.
    """

    written: str
    path: str | None
    shown: str
    server: str
    format: str | None


class Machine(Struct, frozen=True, kw_only=True):
    """What tells a machine from others: its name, and what all processes of its kernel read there ("": unknown)."""

    host: str
    boot: str

    @classmethod
    def current(cls) -> Machine:
        """Return this one."""
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
                boot = stream.read().strip()
        except OSError:
            boot = ""
        return cls(host=socket.gethostname(), boot=boot)


class Assignment(Struct, frozen=True, kw_only=True):
    """One database to back up, or what follows a job's backups (``made``; ``database`` is None).

    ``run`` is one call of ``dumpty run``, ``key`` the key of the job's run in its repository. ``version`` is dumpty's.
    ``machine`` is the only one that may do it (``Machine``), where what is meant by it is another thing elsewhere.
    """

    version: str
    run: str
    job: str
    slot: str
    key: str
    document: Job
    deadline_seconds: float
    machine: Machine | None = None
    database: DatabaseReference | None = None
    made: tuple[DatabaseRun, ...] = ()
    others: tuple[str, ...] = ()


class Answer(Struct, frozen=True, kw_only=True):
    """What came of an assignment; ``error`` where it was refused, and nothing was begun."""

    backed_up: DatabaseRun | None = None
    after: FollowUp | None = None
    error: str | None = None
    error_type: str = ""


class Happened(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker knows of a ``JobEvent``; a result has a field for each type of it."""

    kind: JobEventKind
    database: str = ""
    backup: str = ""
    repository: str = ""
    error: str | None = None
    progress: Progress | None = None
    removed: tuple[str, ...] = ()
    copy: CopyRun | None = None
    drill: DrillRun | None = None

    def facts(self) -> dict[str, Any]:
        """Return what ``EventSource.tell`` is told beside the kind."""
        facts = msgspec.structs.asdict(self)
        copy, drill = facts.pop("copy"), facts.pop("drill")
        return {name: fact for name, fact in facts.items() if name != "kind" and fact} | {"result": copy or drill}


class Message(Struct, frozen=True, kw_only=True):
    """What a worker tells while it works: a failure, an event, or a record of the log (its event, level and text)."""

    run: str
    job: str
    tell: str = ""
    happened: Happened | None = None
    log: tuple[str, int, str] | None = None


# Made with the module, by one thread: several that met a type for the first time at once would crash msgspec 0.22.
_DECODERS = tuple(msgspec.json.Decoder(kind) for kind in (Assignment, Answer))
_MESSAGE = msgspec.json.Decoder(Message)


def message_of(content: bytes) -> Message:
    """Return the message that ``as_json`` wrote; bytes in a name that are no text are shown escaped.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _MESSAGE.decode(content)


def as_values(value: Struct) -> dict[str, Any]:
    """Return a value as a dict of plain ones, which ``msgspec.convert`` reads; texts may hold bytes that are none."""
    values: dict[str, Any] = msgspec.to_builtins(value)
    return values


def refer_to(database: Database) -> DatabaseReference:
    """Return what is sent of a database."""
    return DatabaseReference(
        written=database.written,
        path=raw_path(database.url) if database.was_found or database.format == ACCOUNTS else None,
        shown=parse_url(database.url).url,
        server=database.server,
        format=database.format,
    )


def resolve(reference: DatabaseReference, host: str) -> Database:
    """Return the database that is meant, with its secrets, read here; ``host`` is this machine's name.

    Raises:
        OptionError, CommandError: there is nothing to read, or it leads to another database than where it was sent.
    """
    url = indirect_line(reference.written, "database URL")
    if reference.path is not None:
        url = with_raw_path(url, reference.path)
    if parse_url(url).url != reference.shown:
        raise OptionError(
            f"on {host} {reference.written} leads to {parse_url(url).url}, and not to {reference.shown}: give all "
            "workers the same"
        )
    return Database(url, reference.server, format=reference.format, written=reference.written)


def require_by_reference(job: JobSettings) -> None:
    """Check that nothing secret would be sent to workers.

    Raises:
        OptionError: something would; the text says what to write in its place.
    """
    for what in _written_out(job):
        raise OptionError(
            f"{what} has a secret in it, which would be sent to workers: write it where they can read it, and refer to "
            "it by env:NAME, file:PATH or cmd:PROGRAM, which each worker reads for itself"
        )


def _written_out(job: JobSettings) -> Iterator[str]:
    addresses = [("a source", source) for source in job.sources]
    addresses += [("the repository", job.repository), *(("a copy's repository", c.repository) for c in job.copies)]
    addresses += [("via", hop) for hop in job.via]
    if job.drill is not None and job.drill.on is not None:
        addresses.append(("the server of its drills", job.drill.on))
    yield from (what for what, written in addresses if not is_indirect(written) and secrets_in(written))
    keys = [*([] if job.drill is None else job.drill.identities), *([] if job.sign_with is None else [job.sign_with])]
    yield from ("a key" for key in keys if "-----BEGIN " in key or "AGE-SECRET-KEY-1" in key.upper())
    for name, value in job.options.items():
        if names_secret(name) and value and not is_indirect(str(value)):
            yield f"the option {name}"
