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
from dumpty.cli.arguments import Config, Json, Quiet, open_existing
from dumpty.cli.output import Report, say
from dumpty.cli.page import (
    PORT,
    Certificate,
    Host,
    Key,
    Place,
    Port,
    Token,
    answering,
    site_of_jobs,
    site_of_repository,
)
from dumpty.cli.running import collecting_garbage_often
from dumpty.cli.service_manager import notify
from dumpty.cli.status import UsageError
from dumpty.cli.urls import forget, remember
from dumpty.errors import ConfigurationError, DumptyError, Locked
from dumpty.web.site import Messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn, Self

    from dumpty.jobs.activity import Activity
    from dumpty.jobs.events import JobEvent
    from dumpty.jobs.outcomes import JobRun
    from dumpty.jobs.settings import Configuration
    from dumpty.web.site import Site

_LONG_SECONDS = 3600.0

EXAMPLES = """
dumpty serve
dumpty serve --port 8780
dumpty serve --dir backups
dumpty serve --config /etc/dumpty/dumpty.toml --quiet
"""

_Directory = Annotated[
    str | None,
    typer.Option(
        "--dir", "-d", metavar="REPO", help="Show the page of this repository, a directory or a URL, and run nothing."
    ),
]
_OnlyPage = Annotated[
    bool, typer.Option("--only-page", help="Show the page of the jobs, and run none: cron, say, does that.")
]


def serve(
    config: Config = None,
    directory: _Directory = None,
    only_page: _OnlyPage = False,
    port: Port = None,
    host: Host = "127.0.0.1",
    token: Token = None,
    certificate: Certificate = None,
    key: Key = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Run the jobs of the configuration whenever they are due, until a signal ends it; and show a page of them.

    What was missed while nobody served is made up for once, also what was killed. What runs, and what came of it, is
    written to standard error and into the repository: `dumpty runs` shows it. Several may serve the same jobs, on one
    machine or on many: each time is run by one of them.

    SIGHUP reads the configuration again; with a mistake in it the one from before goes on. SIGTERM and SIGINT end it
    within seconds: what was not complete is given back, and run again by whoever serves next.

    With --port it shows at http://HOST:N/ how every database is protected, as JSON under /api/, and to Prometheus
    under /metrics; to this machine only, unless --host says another address: then it needs --token. With --dir, or
    --only-page, that is all it does, at port 8780 unless --port says another one. It takes `pip install "dumpty[web]"`.

    `dumpty schedule systemd --serve` writes a unit for it. A machine that has cron or systemd's timers can do without:
    `dumpty run --due`.
    """
    from dumpty.jobs.settings import load

    del json  # it ends by an error, or a signal, and both are told without it
    if directory is not None and (config is not None or only_page):
        raise UsageError("--dir shows one repository, --config and --only-page the jobs of a configuration: say one")
    tell = (lambda _: None) if quiet else say
    place = Place.given(host, port if port is not None or not (directory or only_page) else PORT, token)
    place = place.with_certificate(certificate, key)
    if directory is not None:
        open_existing(directory)  # or it is an error at once, not on the page
        _show(site_of_repository(directory, token), place, tell, directory)
    configuration = load(config)
    if only_page:
        _show_jobs(configuration, place, tell, token)
    _serve(configuration, place, tell, token, quiet=quiet)


def _show_jobs(configuration: Configuration, place: Place, tell: Callable[[str], None], token: str | None) -> NoReturn:
    """Show the page of the jobs of a configuration until a signal asks to end."""
    from dumpty.jobs.settings import load

    configuration.chosen(())
    current, path = [configuration], os.path.abspath(configuration.file.path)

    def read_again() -> None:
        try:
            following = load(path)
            following.chosen(())
        except DumptyError as error:
            for problem in error.problems if isinstance(error, ConfigurationError) else (str(error),):
                say(problem)
            say("the configuration was not taken up: the one from before goes on")
        else:
            current[0] = following
            tell(f"{path} is read again")

    _show(site_of_jobs(lambda: current[0], say, token=token), place, tell, configuration.file.path, read_again)


def _show(
    site: Site, place: Place, tell: Callable[[str], None], shown: str, read_again: Callable[[], None] = lambda: None
) -> NoReturn:
    """Show a page until a signal asks to end; SIGHUP has the configuration read again."""
    from dumpty.jobs.serving import Clock
    from dumpty.url import shown_address

    clock = Clock()
    reloading.current.wakes(clock.wake)
    with collecting_garbage_often(), _leaving_no_program(), answering(site, place) as where:
        tell(f"showing {shown_address(shown)}{where}")
        notify("READY=1")
        while True:
            clock.wait(_LONG_SECONDS)
            if reloading.current.take():
                _tell_manager(ready=False)
                read_again()
                _tell_manager(ready=True)


def _serve(
    configuration: Configuration, place: Place, tell: Callable[[str], None], token: str | None, *, quiet: bool
) -> NoReturn:
    """Run jobs until a signal asks to end."""
    from dumpty.jobs.activity import Activity
    from dumpty.jobs.events import Listener
    from dumpty.jobs.serving import Clock, Followers, Serving, upcoming
    from dumpty.jobs.settings import load

    path = os.path.abspath(configuration.file.path)  # another one that would be found later is not this one
    messages, activity = Messages(), Activity()
    say_too, tell_too = messages.also(say), messages.also(tell)
    clock = Clock()
    followers = Followers(
        say_too, tell_too, functools.partial(_say_run, say=say_too, quiet=quiet), forget, _tell_manager
    )
    reloading.current.wakes(clock.wake)
    with collecting_garbage_often(), _OnlyHere() as only_here:
        only_here.hold(configuration)

        def read_again() -> Configuration:
            following = load(path)
            only_here.hold(following)
            return following

        follow = functools.partial(_follow, activity=activity, tell=tell_too)
        listener = Listener(say_too, remember, follow, estimates=place.port is not None)
        serving = Serving(configuration, read_again, reloading.current.take, listener, followers, clock)
        site = site_of_jobs(lambda: serving.configuration, say_too, messages, activity, token)
        with _leaving_no_program(), answering(site, place) as where:
            tell(f"serving {configuration.file.path}: {upcoming(configuration, clock.now())}{where}")
            serving.run()


@contextlib.contextmanager
def _leaving_no_program() -> Iterator[None]:
    """End, with the block, what a look that nobody waits for any more still runs: a program that prints an address."""
    from dumpty.process.child import kill_all

    try:
        yield
    finally:
        kill_all()


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


def _follow(event: JobEvent, *, activity: Activity, tell: Callable[[str], None]) -> None:
    from dumpty.cli.job_lines import backed_up_line

    activity.take(event)
    if text := backed_up_line(event):
        tell(text)


def _say_run(run: JobRun, *, say: Callable[[str], None], quiet: bool) -> None:
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
    if ready:
        notify("READY=1")
    else:
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
