"""``dumpty serve``."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli import reloading
from dumpty.cli.arguments import Config, Json, Quiet  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.output import Report, say
from dumpty.cli.running import collecting_garbage_often
from dumpty.cli.status import UsageError
from dumpty.cli.urls import forget, remember
from dumpty.errors import ConfigurationError, Locked
from dumpty.indirection import indirect_line, is_indirect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from dumpty.jobs.events import JobEvent
    from dumpty.jobs.outcomes import JobRun
    from dumpty.jobs.serving import Clock, Serving
    from dumpty.jobs.settings import Configuration

EXAMPLES = """
dumpty serve
dumpty serve --config /etc/dumpty/dumpty.toml --quiet
dumpty serve --port 9187
"""

_SHORTEST_TOKEN = 16


_Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        metavar="N",
        envvar="DUMPTY_SERVE_PORT",
        min=0,
        max=65535,
        help="Answer Prometheus at http://HOST:N/metrics; 0 is any port.",
    ),
]
_Host = Annotated[
    str,
    typer.Option(
        "--host", metavar="H", envvar="DUMPTY_SERVE_HOST", help="The address of this machine at which to answer."
    ),
]
_Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="SECRET",
        envvar="DUMPTY_SERVE_TOKEN",
        help="What whoever asks must show, as a bearer token: env:NAME, file:PATH, cmd:PROGRAM.",
    ),
]


def serve(
    config: Config = None,
    port: _Port = None,
    host: _Host = "127.0.0.1",
    token: _Token = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Run the jobs of the configuration whenever they are due, until a signal ends it.

    What was missed while nobody served is made up for once, also what was killed. What runs, and what came of it, is
    written to standard error and into the repository: `dumpty runs` shows it. Several may serve the same jobs, on one
    machine or on many: each time is run by one of them.

    SIGHUP reads the configuration again; with a mistake in it the one from before goes on. SIGTERM and SIGINT end it
    within seconds: what was not complete is given back, and run again by whoever serves next.

    With --port it answers `GET /metrics` with what `dumpty metrics` prints, of this machine only, unless --host says
    another address: then it needs --token.

    `dumpty schedule systemd --serve` writes a unit for it. A machine that has cron or systemd's timers can do without:
    `dumpty run --due`.
    """
    from dumpty.jobs.job_run import Listener
    from dumpty.jobs.serving import Clock, Followers, Serving, upcoming
    from dumpty.jobs.settings import load

    del json  # it ends by an error, or a signal, and both are told without it
    shown = _token(token, port)
    configuration = load(config)
    path = os.path.abspath(configuration.file.path)  # another one that would be found later is not this one
    clock = Clock()
    tell = (lambda _: None) if quiet else say
    followers = Followers(say, tell, functools.partial(_say_run, quiet=quiet), forget, _tell_manager)
    reloading.current.wakes(clock.wake)
    with collecting_garbage_often(), _OnlyHere() as only_here:
        only_here.hold(configuration)

        def read_again() -> Configuration:
            following = load(path)
            only_here.hold(following)
            return following

        listener = Listener(say, remember, functools.partial(_say_backed_up, quiet=quiet))
        serving = Serving(configuration, read_again, reloading.current.take, listener, followers, clock)
        with _answering(serving, host, port, shown, clock) as where:
            tell(f"serving {configuration.file.path}: {upcoming(configuration, clock.now())}{where}")
            serving.run()


def _token(written: str | None, port: int | None) -> str | None:
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


@contextlib.contextmanager
def _answering(serving: Serving, host: str, port: int | None, token: str | None, clock: Clock) -> Iterator[str]:
    """Answer whoever asks for the metrics, where that is wanted; yields what to say of it."""
    if port is None:
        yield ""
        return
    from dumpty.jobs.exposition import Exposition
    from dumpty.jobs.fresh_metrics import FreshMetrics

    metrics = FreshMetrics(lambda: serving.configuration, remember, say, clock.now)
    with Exposition(host, port, token, metrics.text) as exposition:
        yield f"; metrics at {exposition.url}"


class _OnlyHere:
    """Keeps a second program on this machine from serving the same file, which is a mistake."""

    def __init__(self) -> None:
        self._held = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def hold(self, configuration: Configuration) -> None:
        """Hold a configuration's file, which may be another one than before under the same name.

        Raises:
            Locked: another program does.
            ConfigurationError: it cannot be opened.
        """
        path = configuration.file.path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigurationError(f"cannot read the configuration {path}: {error.strerror or error}") from None
        if self._held >= 0 and os.path.samestat(os.fstat(descriptor), os.fstat(self._held)):
            os.close(descriptor)
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Locked(
                f"another dumpty on this machine serves {os.path.abspath(path)} already: end that one first, or send "
                "it SIGHUP to read the file again"
            ) from None
        except OSError:
            pass  # a file system without locks: each run is claimed in the repository all the same
        self._let_go()
        self._held = descriptor

    def _let_go(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


def _say_backed_up(event: JobEvent, *, quiet: bool) -> None:
    from dumpty.cli.job_lines import backed_up_line

    text = backed_up_line(event)
    if text and not quiet:
        say(text)


def _say_run(run: JobRun, *, quiet: bool) -> None:
    """Say what came of a run; its failures were told as they happened."""
    from dumpty.cli.job_lines import ended_line

    if run.outcome == "skipped":
        if not quiet:
            say(f"{run.job}: not run for {run.slot}: {'; '.join((*run.warnings, run.error or '')).rstrip('; ')}")
        return
    for warning in run.warnings:
        say(f"{run.job}: warning: {warning}")
    if quiet and run.outcome == "ok":
        return
    say(ended_line(run))


def _tell_manager(ready: bool) -> None:
    from dumpty.cli.service_manager import notify

    if ready:
        notify("READY=1")
    else:
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
