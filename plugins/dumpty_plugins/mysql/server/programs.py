"""Which server program of this machine a drill starts: one of the dump's own kind, of a version that somebody chose."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import CommandError, NotProvable, OptionError
from dumpty.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Options

_PROGRAM_DIRECTORIES = os.pathsep + os.pathsep.join(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/mysql/bin"])
_PROGRAMS = ("mariadbd", "mysqld")
_INSTALLERS = ("mariadb-install-db", "mysql_install_db")
_INSTALLER_PLACES = (".", "../scripts", "../bin")
"""Where the program that makes a MariaDB server's files lies, as seen from the server's own."""

_INSTALL = "install one (apt-get install mariadb-server, or mysql-server), or name a server with --on"
_VERSION = re.compile(r"\d+(\.\d+){0,2}")
_RELEASE = 2
"""How many numbers of a version say what an upgrade is from and to: 10.11, 8.4."""


@dataclass(frozen=True)
class LocalServer:
    """The server program of this machine; ``chosen``: somebody said in which directory it is."""

    program: str
    flavour: str
    version: tuple[int, ...]
    chosen: bool = False

    def __str__(self) -> str:
        return f"{self.flavour} {_text(self.version)}"


def local_server(flavour: str, options: Options) -> LocalServer:
    """Find the server program of this machine: of ``flavour`` (MariaDB, MySQL) if there is one, else of the other.

    Of ``options`` these count: ``server_version``, which it has to be of, then of that flavour, and ``bindir``, where
    it is.

    Raises:
        NotProvable: there is none, or none of that version; the text says which there are.
        OptionError: ``server_version`` is none.
    """
    wanted, bindir = _wanted(options), str(options.get("bindir", ""))
    if bindir:
        programs = [path for name in _PROGRAMS if os.access(path := os.path.join(bindir, name), os.X_OK)]
        if not programs:
            raise NotProvable(f"there is no mariadbd or mysqld in {bindir}: correct --bindir, or {_INSTALL}")
    else:
        programs = list(_installed()) if wanted else [p for name in _PROGRAMS if (p := _find(name))]
        if not programs:
            raise NotProvable(f"this machine has no mariadbd or mysqld to restore on: {_INSTALL}")
    servers = [_identify(program, chosen=bool(bindir)) for program in programs]
    if not wanted:
        return next((server for server in servers if server.flavour == flavour), servers[0])
    for server in servers:
        if server.flavour == flavour and server.version[: len(wanted)] == wanted:
            return server
    present = ", ".join(dict.fromkeys(f"{server} in {os.path.dirname(server.program)}" for server in servers))
    package = "mariadb-server" if flavour == "MariaDB" else "mysql-server"
    raise NotProvable(
        f"the dump is of {flavour}, to be rehearsed on {flavour} {_text(wanted)}, and {bindir or 'this machine'} has "
        f"only {present}; install that version (apt-get install {package}, from its own repository if need be), say "
        "where it is with --bindir DIR, or name a server with --on"
    )


def rehearsal_of(server: LocalServer, flavour: str, version: tuple[int, ...], options: Options) -> str:
    """Say, of a server of another version than the one a dump came from, what a drill there is; "" if nobody chose it.

    ``version`` is the dump's, of ``flavour``; its first two numbers are compared.
    """
    if server.version[:_RELEASE] == version[:_RELEASE] or not (server.chosen or options.get("server_version")):
        return ""
    return f"a rehearsal on {server} of a backup of {flavour} {_text(version)}"


def installer(server: LocalServer) -> str:
    """Return the path of the program that makes the files of a MariaDB ``server``: its own, else the one on the PATH.

    Raises:
        NotProvable: there is none, or of a server in a directory of its own none there.
    """
    directory = os.path.dirname(server.program)
    near = [os.path.normpath(os.path.join(directory, p, name)) for p in _INSTALLER_PLACES for name in _INSTALLERS]
    program = next((path for path in near if os.access(path, os.X_OK)), None)
    if program is None and not server.chosen:
        program = _find(*_INSTALLERS)
    if program is None:
        raise NotProvable(f"this machine has {server.program}, but no mariadb-install-db: {_INSTALL}")
    return program


def _wanted(options: Options) -> tuple[int, ...]:
    text = str(options.get("server_version", ""))
    if text and not _VERSION.fullmatch(text):
        raise OptionError(f"the server version {text!r} is none of MySQL's or MariaDB's; write for example 9.7, or 11")
    return tuple(int(number) for number in text.split(".") if number)


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _find(*names: str) -> str | None:
    path = os.environ.get("PATH", "") + _PROGRAM_DIRECTORIES
    return next((program for name in names if (program := shutil.which(name, path=path))), None)


def _installed() -> Iterator[str]:
    """Yield every server program that is installed, each once."""
    real_paths = set()
    for directory in (os.environ.get("PATH", "") + _PROGRAM_DIRECTORIES).split(os.pathsep):
        for name in _PROGRAMS:
            path = os.path.join(directory, name)
            if directory and os.access(path, os.X_OK) and (real := os.path.realpath(path)) not in real_paths:
                real_paths.add(real)
                yield path


def _identify(program: str, *, chosen: bool) -> LocalServer:
    output = ""
    with contextlib.suppress(CommandError):
        output = run([program, "--no-defaults", "--version"], bare=True)
    numbers = re.search(r"Ver (\d+)\.(\d+)\.(\d+)", output)
    if numbers is None:
        raise NotProvable(f"{program} does not say its version: {_INSTALL}")
    flavour = "MariaDB" if "mariadb" in output.lower() else "MySQL"
    return LocalServer(program, flavour, tuple(int(n) for n in numbers.groups()), chosen)
