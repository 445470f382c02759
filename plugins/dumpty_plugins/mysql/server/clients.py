"""The programs that people run: which client there is, and how it finds a database."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from dumpty import CommandError
from dumpty.process import run
from dumpty_plugins.mysql.server.connection import wants_tls
from dumpty_plugins.mysql.server.session import socket_of

if TYPE_CHECKING:
    from dumpty import Source

_INSTALL = "install one: apt-get install mariadb-client, or mysql-client"
_TLS_FILES = {"ssl_ca": "--ssl-ca", "ssl_cert": "--ssl-cert", "ssl_key": "--ssl-key"}


def client_environment(source: Source) -> dict[str, str | None]:
    """Return what variables lead clients to the server of ``source``, the password included; None takes one away."""
    path = socket_of(source)
    return {
        "MYSQL_HOST": "localhost" if path else source.host,
        "MYSQL_UNIX_PORT": path,
        "MYSQL_TCP_PORT": None if path or source.port is None else str(source.port),
        "MYSQL_PWD": source.password,
    }


def client_arguments(source: Source, *, mariadb: bool) -> tuple[str, ...]:
    """Return the arguments of an interactive client in the database ``source``; the password is left out.

    Raises:
        CommandError: there is no client.
    """
    names = ("mariadb", "mysql") if mariadb else ("mysql", "mariadb")
    program = next((path for name in names if (path := shutil.which(name))), None)
    if program is None:
        raise CommandError(f"neither mariadb nor mysql was found on the PATH; {_INSTALL}", argv=(names[0],))
    path = socket_of(source)
    if path:
        place = [f"--socket={path}", "--protocol=SOCKET"]
    else:
        place = [f"--host={source.query.get('hostaddr') or source.host or 'localhost'}", "--protocol=TCP"]
        place += [f"--port={source.port or 3306}"]
        place += _tls_options(source, program)
    if source.username:
        place.append(f"--user={source.username}")
    # The user's own files of options may name another server, and would be believed.
    return program, "--no-defaults", *place, "--default-character-set=utf8mb4", f"--database={source.database}"


def _tls_options(source: Source, program: str) -> list[str]:
    """Return the options by which a client asks for no less than the URL does."""
    options = [f"{option}={source.query[name]}" for name, option in _TLS_FILES.items() if name in source.query]
    mode = source.query.get("ssl_mode", "").upper()
    if not wants_tls(source):
        return options
    checks_identity = mode == "VERIFY_IDENTITY" or "ssl_verify_identity" in source.query
    checks = checks_identity or mode == "VERIFY_CA" or "ssl_verify_cert" in source.query or "ssl_ca" in source.query
    if "mariadb" in run([program, "--no-defaults", "--version"]).lower():
        return [*options, "--ssl", *(["--ssl-verify-server-cert"] if checks else [])]
    level = "VERIFY_IDENTITY" if checks_identity else "VERIFY_CA" if checks else "REQUIRED"
    return [*options, f"--ssl-mode={level}"]
