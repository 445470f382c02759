"""``dumpty schedule systemd`` and ``schedule cron``."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumpty.cli.arguments import Config, Json, Quiet  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.output import Line, Report
from dumpty.cli.status import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dumpty.jobs.settings import Configuration
    from dumpty.jobs.units import Command, File

EXAMPLES = """
dumpty schedule systemd --config /etc/dumpty/dumpty.toml
dumpty schedule systemd --install
dumpty schedule systemd --serve --install
dumpty schedule cron --every 10 --run-as backup --install
"""

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?", re.ASCII)
"""As useradd(8) has them, and what systemd calls a relaxed name."""

Every = Annotated[
    int, typer.Option("--every", metavar="N", min=1, max=59, help="Look every N minutes for what is due.")
]
RunAs = Annotated[
    str, typer.Option("--run-as", metavar="USER", help="Whom the jobs run as [default: root, or you, if you are not].")
]
Install = Annotated[bool, typer.Option("--install", help="Write the files where they belong, and start what they say.")]
Root = Annotated[
    str, typer.Option("--root", metavar="DIR", help="Install into the system image in DIR, and start nothing.")
]


def schedule() -> None:
    """Let systemd or cron run the jobs of the configuration when they are due.

    Prints what would be installed, and with --install installs it. A file that dumpty did not write, or that was
    changed since, is never replaced.
    """


def systemd(
    config: Config = None,
    every: Every = 5,
    serve: Annotated[
        bool, typer.Option("--serve", help="A service that waits for what is due (dumpty serve), and no timer.")
    ] = False,
    run_as: RunAs = "",
    install: Install = False,
    root: Root = "",
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Units for systemd: a timer that runs what is due, or with --serve a service.

    As root they are the system's, as anybody else yours. Variables that jobs read (env:NAME) go into a file dumpty.env
    beside the configuration, as NAME=value.
    """
    from dumpty.jobs import installing
    from dumpty.jobs.settings import load
    from dumpty.jobs.units import serving_units, timer_units

    configuration = load(config)
    configuration.scheduled()
    command = _command(configuration, run_as, root)
    files = serving_units(command) if serve else timer_units(command, every)
    unit = files[-1].name
    folder = installing.folder("systemd", of_user=command.of_user, root=root)
    environment = os.path.join(os.path.dirname(command.config), "dumpty.env")
    warnings = [*_unset(configuration, environment, root), *_not_in_image(command, root)]
    left: list[str] = []
    if install or root:
        written = installing.write_files(files, folder)
        left = (
            [f"systemctl --root={root} enable {unit}"]
            if root
            else installing.activate(unit, of_user=command.of_user, changed=bool(written))
        )
        warnings += [] if root else _other_unit(folder, unit, command) + _lingering(command)
        lines = _installed(files, folder, written, left)
    else:
        lines = _shown(files, folder)
    return _report(files, folder, lines, left, warnings, installed=install or bool(root), json=json, quiet=quiet)


def cron(
    config: Config = None,
    every: Every = 5,
    run_as: RunAs = "",
    install: Install = False,
    root: Root = "",
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """A line for cron that runs what is due; it mails what that prints, and success prints nothing.

    As root it is a file in /etc/cron.d; as anybody else a line to add with `crontab -e`.
    """
    from dumpty.jobs import installing
    from dumpty.jobs.settings import load
    from dumpty.jobs.units import crontab

    configuration = load(config)
    configuration.scheduled()
    command = _command(configuration, run_as, root)
    file = crontab(command, every)
    folder = installing.folder("cron", of_user=False, root=root)
    warnings = [*_unset(configuration, "", root), *_not_in_image(command, root)]
    if not (install or root):
        lines: list[Line] = [*file.text.splitlines()] if command.of_user else _shown([file], folder)
    elif command.of_user:
        raise UsageError(
            "cron's own files belong to root: call this as root, or add the line yourself: dumpty schedule cron, and "
            "then crontab -e"
        )
    else:
        lines = _installed([file], folder, installing.write_files([file], folder), [])
        if not root and not _cron_runs():
            warnings.append("no cron runs here, which would read that: install it, and start it")
    return _report([file], folder, lines, [], warnings, installed=install or bool(root), json=json, quiet=quiet)


def _command(configuration: Configuration, run_as: str, root: str) -> Command:
    from dumpty.jobs import installing
    from dumpty.jobs.units import Command

    if root and not os.path.isdir(root):
        raise UsageError(f"--root: there is no directory {root}, which would hold a system image")
    of_user = os.geteuid() != 0 and not root
    config = os.path.abspath(configuration.file.path)
    if of_user and run_as:
        raise UsageError("--run-as is for root: what you install runs as you")
    if run_as and not _USER.fullmatch(run_as):
        raise UsageError(f"--run-as: {run_as!r} cannot be the name of a user in a unit or a crontab")
    if run_as and not root:
        installing.require_usable(_program()[0], config, run_as)
    if root and os.path.commonpath([os.path.abspath(root), config]) == os.path.abspath(root):
        config = os.path.join("/", os.path.relpath(config, root))  # as the image has it
    return Command(_program(), config, run_as, of_user)


def _program() -> Sequence[str]:
    """Return how this very dumpty is called, wherever it is called from."""
    path = os.path.abspath(sys.argv[0])
    if os.path.basename(path) == "dumpty" and os.access(path, os.X_OK) and os.path.isfile(path):
        return (path,)
    return (sys.executable, "-m", "dumpty")


def _cron_runs() -> bool:
    """Return whether a process of that name is seen."""
    for path in glob.iglob("/proc/[0-9]*/comm"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
            if stream.read().strip() in {"cron", "crond"}:
                return True
    return False


def _not_in_image(command: Command, root: str) -> list[str]:
    program = command.words[0]
    if not root or os.path.lexists(os.path.join(root, program.lstrip("/"))):
        return []
    return [f"{root} has no {program}: install dumpty there, at this very path, or nothing is run"]


def _unset(configuration: Configuration, path: str, root: str) -> Iterator[str]:
    """Yield a warning of the variables that jobs read, which no service has unless somebody writes them down."""
    import msgspec

    written = msgspec.to_builtins(configuration.written)
    names = sorted({text.partition(":")[2] for text in _texts(written) if text.startswith("env:")})
    if names and not path:
        yield f"cron knows none of the variables that jobs read: {', '.join(names)}; read them from files: file:/PATH"
    elif names and not os.path.exists(os.path.join(root, path.lstrip("/")) if root else path):
        what = f"the jobs read {', '.join(names)}"
        yield f"{what}: write them into {path}, a line NAME=value for each, readable by nobody else"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _texts(entry)


def _other_unit(folder: str, unit: str, command: Command) -> list[str]:
    """Return a warning where what was installed before does the same: each run counts once, but both look."""
    other = "dumpty.timer" if unit == "dumpty-serve.service" else "dumpty-serve.service"
    if not os.path.lexists(os.path.join(folder, other)):
        return []
    systemctl = "systemctl --user" if command.of_user else "systemctl"
    return [f"{other} is installed, too, and does the same: {systemctl} disable --now {other}, then remove it"]


def _lingering(command: Command) -> list[str]:
    import pwd

    if not command.of_user:
        return []
    with contextlib.suppress(KeyError):  # a user of a container has no name
        if os.path.exists(f"/var/lib/systemd/linger/{pwd.getpwuid(os.geteuid()).pw_name}"):
            return []
    return ["it runs only while you are logged in, unless you call: loginctl enable-linger"]


def _shown(files: Sequence[File], folder: str) -> list[Line]:
    lines: list[Line] = []
    for file in files:
        lines += [*([""] if lines else []), f"# {os.path.join(folder, file.name)}", *file.text.splitlines()]
    return lines


def _installed(files: Sequence[File], folder: str, written: Sequence[str], left: Sequence[str]) -> list[Line]:
    paths = [os.path.join(folder, file.name) for file in files]
    lines: list[Line] = [f"{path} is {'written' if path in written else 'there already'}" for path in paths]
    return [*lines, *([f"it is not in use yet; where systemd runs: {'; '.join(left)}"] if left else [])]


def _report(
    files: Sequence[File],
    folder: str,
    lines: Sequence[Line],
    left: Sequence[str],
    warnings: Sequence[str],
    *,
    installed: bool,
    json: bool,
    quiet: bool,
) -> Report:
    from dumpty.replies import runs
    from dumpty.replies.verbs import ScheduleReply

    return Report(
        reply=ScheduleReply(
            files=[runs.ScheduleFile(path=os.path.join(folder, file.name), text=file.text) for file in files],
            installed=installed,
            commands=list(left),
        ),
        lines=lines,
        warnings=warnings,
        json=json,
        quiet=quiet,
        only_prints=not installed,
    )
