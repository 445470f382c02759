"""The page that ``serve`` shows: where it is shown, to whom, and of what."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from dumpty.cli.output import say
from dumpty.cli.status import UsageError
from dumpty.cli.urls import redacted, remember
from dumpty.indirection import indirect_line, is_indirect
from dumpty.web.actions import Actions
from dumpty.web.site import Messages, Site
from dumpty.web.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from dumpty.jobs.activity import Activity
    from dumpty.jobs.fresh import Fresh
    from dumpty.jobs.protection import Protection
    from dumpty.jobs.settings import Configuration
    from dumpty.web.site import How

__all__ = [
    "PORT",
    "Certificate",
    "Host",
    "Key",
    "Place",
    "Port",
    "Token",
    "answering",
    "site_of_jobs",
    "site_of_repository",
]

T = TypeVar("T")

PORT = 8780
"""Where a page is shown that nobody said a port for."""
_TOKEN = "DUMPTY_SERVE_TOKEN"  # noqa: S105 - the name of a variable
_SHORTEST_TOKEN = 16
_RENEWAL_SECONDS = 15.0
_REMINDER_SECONDS = 3600.0
_OLD_SECONDS = 120.0
"""How old a page may be that does not wait for a new look."""
_OLDEST_SECONDS = 900.0
_LISTED_SECONDS = 60.0
"""How old what a page lists may be when it is looked again: a listing of a bucket costs something."""

Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        metavar="N",
        envvar="DUMPTY_SERVE_PORT",
        min=0,
        max=65535,
        help="Show the page at http://HOST:N/, and metrics at /metrics; 0 is any port.",
    ),
]
Host = Annotated[
    str,
    typer.Option(
        "--host", metavar="H", envvar="DUMPTY_SERVE_HOST", help="The address of this machine at which to answer."
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="SECRET",
        envvar=_TOKEN,
        help="What whoever asks must show, people in a form, programs as a bearer token: env:NAME, file:PATH, "
        "cmd:PROGRAM.",
    ),
]
Certificate = Annotated[
    str | None,
    typer.Option(
        "--certificate", metavar="FILE", envvar="DUMPTY_SERVE_CERTIFICATE", help="Answer by TLS (https), with this."
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="FILE", envvar="DUMPTY_SERVE_KEY", help="The private key of --certificate, where it is apart."
    ),
]


class Place(NamedTuple):
    """Where a page is shown (``port`` None: nowhere), what whoever looks must show, and by which certificate."""

    host: str
    port: int | None
    token: str | None
    certificate: tuple[str, str] | None = None

    @classmethod
    def given(cls, host: str, port: int | None, token: str | None) -> Self:
        """Return the place that options say; the token is read.

        Raises:
            UsageError: they do not go together, or the token is none.
        """
        return cls(host, port, _read_token(token, port))

    def with_certificate(self, certificate: str | None, key: str | None) -> Self:
        """Return the same place, with a certificate and its key.

        Raises:
            UsageError: one is there without what it goes with.
        """
        if key is not None and certificate is None:
            raise UsageError("--key goes with --certificate")
        if certificate is None:
            return self
        if self.port is None:
            raise UsageError("--certificate goes with --port")
        return self._replace(certificate=(certificate, key or certificate))


def _read_token(written: str | None, port: int | None) -> str | None:
    """Return the secret that whoever asks must show; None for none."""
    if written is None:
        return None
    if port is None:
        raise UsageError("--token goes with --port")
    if not is_indirect(written):
        raise UsageError("--token: on a command line everybody can read it; write env:NAME, file:PATH or cmd:PROGRAM")
    token = indirect_line(written, "token")
    remember([token])
    if not (token.isascii() and token.isprintable()):
        raise UsageError("--token: only characters of ASCII can be shown; make one: openssl rand -hex 32")
    if len(token) < _SHORTEST_TOKEN:
        raise UsageError(f"--token: one of {len(token)} characters can be guessed; make one: openssl rand -hex 32")
    return token


def site_of_jobs(
    configuration: Callable[[], Configuration],
    problem: Callable[[str], None],
    messages: Messages | None = None,
    activity: Activity | None = None,
    token: str | None = None,
) -> Site:
    """Return what there is to show of the jobs of a configuration.

    Args:
        configuration: returns the one that counts now.
        problem: is told what cannot be looked at.
        messages: what was said by whoever runs them; None where nobody does here.
        activity: how far those are that are run here.
        token: as the option says it.
    """
    from dumpty.jobs.activity import Activity
    from dumpty.jobs.fresh import Fresh, LookAtJobs
    from dumpty.jobs.run_log import RunLog

    look = LookAtJobs(configuration, remember, problem, lambda: datetime.now(UTC))
    jobs = Fresh(look, configuration, lambda text: look.tell(f"how the jobs are could not be looked at: {text}"))
    log = RunLog(lambda: [job.repository for job in configuration().jobs], remember, look.tell)
    runs = Fresh(log, configuration, lambda text: look.tell(f"the runs could not be looked at: {text}"))
    return Site(
        title=configuration().file.path,
        serves=messages is not None,
        protection=lambda seconds, how: _known(
            jobs, None if (found := _looked(jobs, seconds, how)) is None else found.protection
        ),
        runs=lambda seconds, how: _looked(runs, seconds, how),
        metrics=lambda seconds: None if (found := jobs.get(seconds)) is None else found.metrics,
        messages=messages or Messages(),
        activity=activity or Activity(),
        actions=Actions(configuration, "", remember),
        problem=look.tell,
        redacted=redacted,
        tasks=Tasks(
            problem, lambda: (jobs.renew(_RENEWAL_SECONDS), runs.renew(_RENEWAL_SECONDS)), redacted, _hidden(token)
        ),
    )


def _looked(fresh: Fresh[T], seconds: float, how: How) -> T | None:
    """Return what is known within so many seconds; None where that is nothing, or too old to be shown."""
    if how == "now":
        return fresh.renew(seconds)
    within = _LISTED_SECONDS if how == "visited" else float("inf")
    found = fresh.get(seconds, within, _OLD_SECONDS)
    return None if fresh.age > _OLDEST_SECONDS and not fresh.error else found


def _known(fresh: Fresh[Any], protection: Protection | None) -> Protection | None:
    """Return what is protected, as unknown where the last look found out nothing."""
    from dumpty.jobs.inventory import unreachable

    if protection is None or not fresh.error:
        return protection
    return unreachable(protection, redacted(fresh.error))


def _hidden(token: str | None) -> list[str]:
    """Return the variables of which what is asked for on the page gets none: they let whoever has them in."""
    name = token[len("env:") :] if token is not None and token.startswith("env:") else ""
    return [_TOKEN, *([name] if name else [])]


def site_of_repository(address: str, token: str | None = None) -> Site:
    """Return what there is to show of one repository, of whose jobs nothing is known; ``token`` as the option says."""
    from dumpty.jobs.activity import Activity
    from dumpty.jobs.fresh import Fresh, LookAtRepository
    from dumpty.jobs.run_log import RunLog
    from dumpty.url import shown_address

    told: dict[str, float] = {}

    def problem(text: str) -> None:
        if time.monotonic() - told.get(text, float("-inf")) >= _REMINDER_SECONDS:
            told[text] = time.monotonic()
            say(redacted(text))

    look = LookAtRepository(address, lambda: datetime.now(UTC))
    found = Fresh(look, lambda: address, problem)
    runs = Fresh(RunLog(lambda: [address], remember, problem), lambda: address, problem)
    return Site(
        title=shown_address(address),
        serves=False,
        protection=lambda seconds, how: _known(found, _looked(found, seconds, how)),
        runs=lambda seconds, how: _looked(runs, seconds, how),
        metrics=None,
        messages=Messages(),
        activity=Activity(),
        actions=Actions(None, address, remember),
        problem=problem,
        redacted=redacted,
        tasks=Tasks(
            say, lambda: (found.renew(_RENEWAL_SECONDS), runs.renew(_RENEWAL_SECONDS)), redacted, _hidden(token)
        ),
    )


@contextlib.contextmanager
def answering(site: Site, place: Place) -> Iterator[str]:
    """Answer whoever asks, where that is wanted; yields what to say of it."""
    if place.port is None:
        yield ""
        return
    from dumpty.web.server import Server, require_web, resolve

    require_web()
    from dumpty.web.access import Access
    from dumpty.web.app import make_app

    family, address, is_local = resolve(place.host, place.port, has_token=place.token is not None)
    app = make_app(site, Access(place.token, place.host if is_local else ""))
    with Server(app, family, address, place.certificate) as server, site.tasks:
        metrics = f", metrics at {server.url}metrics" if site.metrics is not None else ""
        yield f"; page at {server.url}{metrics}"
