"""The verbs, put together into one command line."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumpty.cli.arguments import Json, Quiet  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.output import warn
from dumpty.cli.standard_streams import ForgivingStream, keeping_output
from dumpty.cli.status import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dumpty.cli.output import Report

__all__ = ["Outcome", "build"]

DESCRIPTION = "Database backups that go back together."

EPILOG = """
A database URL is scheme://[user[:password]@][host[:port]]/database[?key=value]: sqlite:///relative.db,
sqlite:////absolute.db, postgresql://user@host/database, mysql://user@host/database. The command line can be seen by
other users of the machine, so give a URL that holds a password as env:NAME, file:PATH, cmd:PROGRAM… or - (standard
input).

\b
Exit status:
  0    done
  1    failed; the message says why and what to do
  2    wrong usage: URL, option, plugin or library unknown
  3    not provable here: this machine lacks what a proof needs, which says nothing of the backup
  4    verification failed: a backup is not what it should be
  10   there is no such backup directory
  11   locked: somebody else is using it
  12   done, but somebody should look: a backup is overdue or suspicious, a copy is missing, a guarantee does not hold,
       two backups differ
  130  interrupted (129: ended by SIGHUP, 143: by SIGTERM); a second signal ends it at once

`dumpty help` lists the pages of the manual. DUMPTY_DEBUG=1 in the environment adds the traceback to an
unexpected error.
"""

VERBS = {
    "backup": "backup:backup",
    "restore": "restore:restore",
    "list": "list:list_",
    "show": "show:show",
    "verify": "verify:verify",
    "drill": "drill:drill",
    "diff": "diff:diff",
    "try": "try_:try_",
    "remove": "remove:remove",
    "pin": "pin:pin",
    "unpin": "pin:unpin",
    "accept": "accept:accept",
    "prune": "prune:prune",
    "copy": "copy:copy",
    "run": "run:run",
    "runs": "runs:runs",
    "check": "check:check",
    "metrics": "metrics:metrics",
    "report": "report:report",
    "serve": "serve:serve",
    "doctor": "doctor:doctor",
    "demo": "demo:demo",
    "help": "help:help_",
}
"""The function of each, by its module in ``dumpty.cli.commands``."""


class Outcome:
    """How a verb ended: with a report, or with an error and what it warned of before."""

    def __init__(
        self, report: Report | None = None, error: BaseException | None = None, warnings: Sequence[str] = ()
    ) -> None:
        self.report = report
        self.error = error
        self.warnings = report.warnings if report else warnings


def build(verb: str = "") -> typer.Typer:
    """Return the command line. Calling it returns the ``Outcome`` of the verb that ran.

    Args:
        verb: the only one that is needed; importing and registering all of them takes as long as all else that a
            short command does. Any other word is answered by all of them, and so is ``help``, which shows theirs.
    """
    settings = {"help_option_names": ["--help", "-h"]}
    common: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False, "context_settings": settings}
    app = typer.Typer(**common)
    app.callback(invoke_without_command=True, help=DESCRIPTION, epilog=EPILOG)(_dumpty)
    alone = verb in VERBS and verb != "help"
    for name in (verb,) if alone else VERBS:
        function, examples = verb_of(name)
        app.command(name, epilog=_epilog(examples))(_returning_outcome(function))
    if not alone:
        app.add_typer(_plugins_group(common), name="plugins")
        app.add_typer(_store_group(common), name="store")
        app.add_typer(_keys_group(common), name="keys")
        app.add_typer(_config_group(common), name="config")
        app.add_typer(_schedule_group(common), name="schedule")
        app.add_typer(_notify_group(common), name="notify")
    return app


def verb_of(name: str) -> tuple[Callable[..., Report], str]:
    """Return the function of the verb called ``name``, and its examples, one in each line."""
    module_name, _, function = VERBS[name].partition(":")
    module = importlib.import_module(f"dumpty.cli.commands.{module_name}")
    return getattr(module, function), module.EXAMPLES


def _plugins_group(common: Mapping[str, Any]) -> typer.Typer:
    from dumpty.cli.commands import plugins, plugins_check, plugins_new

    group = typer.Typer(**common)
    group.callback(invoke_without_command=True, help=plugins.plugins.__doc__, epilog=_epilog(plugins.EXAMPLES))(
        _plugins
    )
    group.command("show")(_returning_outcome(plugins.show))
    group.command("new", epilog=_epilog(plugins_new.EXAMPLES))(_returning_outcome(plugins_new.new))
    group.command("check", epilog=_epilog(plugins_check.EXAMPLES))(_returning_outcome(plugins_check.check))
    return group


def _store_group(common: Mapping[str, Any]) -> typer.Typer:
    from dumpty.cli.commands import store

    group = typer.Typer(**common)
    group.callback(help=store.store.__doc__)(store.store)
    group.command("check", epilog=_epilog(store.EXAMPLES))(_returning_outcome(store.check))
    return group


def _keys_group(common: Mapping[str, Any]) -> typer.Typer:
    from dumpty.cli.commands import keys

    group = typer.Typer(**common)
    text = "Make a key, and see whom backups are encrypted to and what opens them."
    group.callback(invoke_without_command=True, help=text, epilog=_epilog(keys.EXAMPLES))(_keys)
    for verb in (keys.new, keys.show, keys.check):
        group.command(verb.__name__)(_returning_outcome(verb))
    return group


def _config_group(common: Mapping[str, Any]) -> typer.Typer:
    from dumpty.cli.commands import config

    group = typer.Typer(**common)
    group.callback(help=config.config.__doc__, epilog=_epilog(config.EXAMPLES))(config.config)
    for verb in (config.init, config.check, config.show):
        group.command(verb.__name__)(_returning_outcome(verb))
    return group


def _schedule_group(common: Mapping[str, Any]) -> typer.Typer:
    from dumpty.cli.commands import schedule

    group = typer.Typer(**common)
    group.callback(help=schedule.schedule.__doc__, epilog=_epilog(schedule.EXAMPLES))(schedule.schedule)
    for verb in (schedule.systemd, schedule.cron):
        group.command(verb.__name__)(_returning_outcome(verb))
    return group


def _notify_group(common: Mapping[str, Any]) -> typer.Typer:
    from dumpty.cli.commands import notify

    group = typer.Typer(**common)
    group.callback(help=notify.notify.__doc__, epilog=_epilog(notify.EXAMPLES))(notify.notify)
    group.command("test")(_returning_outcome(notify.try_out))
    return group


def _epilog(examples: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples.strip().splitlines())


def _returning_outcome(verb: Callable[..., Report]) -> Callable[..., Outcome]:
    """Return ``verb`` with its outcome as a value, and with standard output kept for that outcome alone."""

    @functools.wraps(verb)
    def run(*args: Any, **kwargs: Any) -> Outcome:
        with _logging(at_once=verb.__name__ in _GOING_ON) as warnings:
            try:
                with _stdout_to_stderr():
                    report = verb(*args, **kwargs)
            except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - typer would make its own of some of them
                for text in warnings:
                    warn(text)
                return Outcome(error=error, warnings=warnings)
        return Outcome(report=report._replace(warnings=(*warnings, *report.warnings)))

    return run


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send what is written to standard output to standard error, whoever writes it: Python, C or a child process.

    What a plugin says is no result, and a result must be what a program can parse.
    """
    stderr: Any = ForgivingStream(sys.stderr)
    with contextlib.redirect_stdout(stderr), contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # one of them is closed: then nothing goes there
            saved_stdout = os.dup(1)
            stack.callback(os.close, saved_stdout)
            stack.enter_context(keeping_output(saved_stdout))
            os.dup2(2, 1)
            stack.callback(os.dup2, saved_stdout, 1)
        yield


def _debugging() -> bool:
    """Return whether the environment asks for tracebacks."""
    return os.environ.get("DUMPTY_DEBUG", "") not in {"", "0"}


_WARNING_EVENTS = {
    *("directory-exposed", "backup-kept", "backup-lost", "backup-suspicious", "left-behind", "manifest-damaged"),
    *("databases-altered", "databases-hidden", "include-unmatched", "restore-note"),
}
"""Events of the library's log that no verb says itself."""


_GOING_ON = {"serve"}
"""Verbs that go on for months."""
_LATELY = 100


@contextlib.contextmanager
def _logging(*, at_once: bool) -> Iterator[list[str]]:
    """Keep the library's log from standard error, where the verb says the same in its own words; unless debugging.

    Yields what it warns of that no verb says: a list that grows, and stays empty where ``at_once`` it is said.
    """
    import logging
    from collections import deque

    warnings: list[str] = []
    lately: deque[str] = deque(maxlen=_LATELY)

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if getattr(record, "event", "") not in _WARNING_EVENTS or text in warnings or text in lately:
                return
            if at_once:
                lately.append(text)
                warn(text)
            else:
                warnings.append(text)

    log = logging.getLogger("dumpty")
    sinks: list[logging.Handler] = [Listener(logging.WARNING), *([logging.StreamHandler()] if _debugging() else [])]
    for sink in sinks:
        log.addHandler(sink)
    try:
        yield warnings
    finally:
        for sink in sinks:
            log.removeHandler(sink)


def _print_version(requested: bool) -> None:
    if requested:
        import dumpty

        typer.echo(f"dumpty {dumpty.__version__}")
        raise typer.Exit


def _dumpty(
    ctx: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise UsageError("name a command")


def _plugins(
    ctx: typer.Context,
    json: Json = False,
    quiet: Quiet = False,
) -> Outcome | None:
    if ctx.invoked_subcommand is None:
        from dumpty.cli.commands import plugins

        return _returning_outcome(plugins.plugins)(json=json, quiet=quiet)
    return None


def _keys(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise UsageError("name a command: new, show or check")
