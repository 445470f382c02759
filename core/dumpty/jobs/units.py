"""What systemd and cron are told to run: units (systemd.unit(5)) and a line of a crontab (crontab(5))."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from typing import TYPE_CHECKING, Literal, NamedTuple

from dumpty.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Command", "File", "crontab", "origin", "serving_units", "timer_units"]

_MARK = re.compile(r"# Written by dumpty schedule, (?P<digest>[0-9a-f]{64})[^\n]*\n")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:@=+,-]+")

_SERVICE = """\
{user}EnvironmentFile=-{environment}
UMask=0077
Nice=19
IOSchedulingClass=idle
# Only dumpty is asked to end: it ends what it started itself, within seconds.
KillMode=mixed
TimeoutStopSec=60
"""
_NETWORK = "Wants=network-online.target\nAfter=network-online.target\n"
_MOUNTS = "RequiresMountsFor={folder}\n"

_RUN_SERVICE = """\
[Unit]
Description=Run what is due of dumpty's jobs
{network}
[Service]
Type=oneshot
ExecStart={start}
{service}"""

_TIMER = """\
[Unit]
Description=Run what is due of dumpty's jobs, every {minutes} min

[Timer]
OnCalendar=*:0/{minutes}
AccuracySec=15s
RandomizedDelaySec=15s
Persistent=true

[Install]
WantedBy=timers.target
"""

_SERVE_SERVICE = """\
[Unit]
Description=Run dumpty's jobs when they are due
{network}
[Service]
Type=notify
ExecStart={start}
ExecReload=/bin/kill -HUP $MAINPID
# It ended because it was asked to.
SuccessExitStatus=143
Restart=on-failure
RestartSec=30
{service}
[Install]
WantedBy={target}
"""

_CRONTAB = """\
# Silence is success: cron mails whatever is printed to MAILTO, or else to whom it runs this as.
{settings}*/{minutes} * * * *  {user}{command}
"""


class File(NamedTuple):
    """A file to be installed: its name, and all of its text."""

    name: str
    text: str


class Command(NamedTuple):
    """How dumpty is run: the words that start it, the whole path of the configuration, and as whom ("" as one is).

    ``of_user`` is True where all of it belongs to a user, not to the system.
    """

    words: Sequence[str]
    config: str
    run_as: str
    of_user: bool

    def line(self, *words: str) -> list[str]:
        """Return the words of a whole command line.

        Raises:
            OptionError: a path holds what no unit and no crontab can.
        """
        line = [*self.words, *words, "--config", self.config]
        for word in line:
            if _CONTROL.search(word):
                raise OptionError(f"the path {word!r} cannot stand in a unit or a crontab; use one of printable text")
        return line


def timer_units(command: Command, minutes: int) -> list[File]:
    """Return the units of systemd that run what is due, every so many minutes (1 to 59)."""
    start = _systemd_line(command.line("run", "--due"))
    service = _RUN_SERVICE.format(network=_network(command), start=start, service=_service(command))
    return [
        File("dumpty.service", _marked(service, "systemctl edit dumpty.service")),
        File("dumpty.timer", _marked(_TIMER.format(minutes=minutes), "systemctl edit dumpty.timer")),
    ]


def serving_units(command: Command) -> list[File]:
    """Return the unit of systemd in which dumpty waits for what is due itself."""
    start = _systemd_line(command.line("serve"))
    target = "default.target" if command.of_user else "multi-user.target"
    text = _SERVE_SERVICE.format(network=_network(command), start=start, service=_service(command), target=target)
    return [File("dumpty-serve.service", _marked(text, "systemctl edit dumpty-serve.service"))]


def crontab(command: Command, minutes: int) -> File:
    """Return the crontab that runs what is due, every so many minutes (1 to 59).

    Raises:
        OptionError: a path holds what no crontab can.
    """
    words = command.line("run", "--due", "--quiet")
    if any("\\" in word for word in words):  # some take it away before another one, some do not
        raise OptionError(f"crons disagree on backslashes, and a path holds one: {shlex.join(words)}; use another path")
    line = shlex.join(words).replace("%", r"\%")
    user = "" if command.of_user else f"{command.run_as or 'root'}  "
    # In a crontab of one's own settings hold for all lines below, which are somebody else's.
    path = f"{os.path.dirname(command.words[0])}:{_SYSTEM_PATH}"
    settings = "" if command.of_user else f"SHELL=/bin/sh\nPATH={path}\n"
    text = _CRONTAB.format(settings=settings, minutes=minutes, user=user, command=line)
    return File("dumpty", _marked(text, "dumpty schedule cron --help"))


def origin(text: str) -> Literal["ours", "changed", "foreign"]:
    """Return whose a file is: as it was written here, changed since, or somebody else's."""
    match = _MARK.match(text)
    if match is None:
        return "foreign"
    return "ours" if match["digest"] == _digest(text[match.end() :]) else "changed"


def _marked(text: str, how: str) -> str:
    return f"# Written by dumpty schedule, {_digest(text)}; to change it: {how}\n{text}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _network(command: Command) -> str:
    folder = _systemd_word(os.path.dirname(command.config).replace("%", "%%"))
    return ("" if command.of_user else _NETWORK) + _MOUNTS.format(folder=folder)


def _service(command: Command) -> str:
    user = f"User={command.run_as}\n" if command.run_as else ""
    # systemd takes it for a pattern (systemd.exec(5)).
    folder = re.sub(r"[][*?\\]", r"\\\g<0>", os.path.dirname(command.config))
    environment = os.path.join(folder, "dumpty.env").replace("%", "%%")
    return _SERVICE.format(user=user, environment=environment)


def _systemd_line(words: Sequence[str]) -> str:
    """Return a command line as systemd reads it, with ``%`` and ``$`` (systemd.service(5), "Command lines")."""
    if set(words[0]) & set("'\"\\"):
        raise OptionError(
            f"systemd runs no program whose path holds quotes or backslashes: {words[0]}; install it elsewhere"
        )
    program, *arguments = (word.replace("%", "%%") for word in words)
    return " ".join([_systemd_word(program), *(_systemd_word(word.replace("$", "$$")) for word in arguments)])


def _systemd_word(word: str) -> str:
    if _PLAIN_WORD.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
