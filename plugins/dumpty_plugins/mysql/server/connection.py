"""Connections: what a URL may say, and how a server is reached."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dumpty import DependencyError, MalformedURL, OptionError, SourceError, refuse_unknown_parameters
from dumpty.process import redact
from dumpty_plugins.mysql.server.link import Link
from dumpty_plugins.mysql.server.session import Session, address, decode, error_text, socket_of

if TYPE_CHECKING:
    from pymysql.connections import Connection

    from dumpty import Options, Source

_FLAGS = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}
_CONNECT_SECONDS = 10
_STALL_SECONDS = 600
_PROBE_STALL_SECONDS = 15
SYSTEM_DATABASES = frozenset({"information_schema", "performance_schema", "sys", "mysql"})
_WAITING = frozenset({"writing to net", "reading from net", "sending to client", "receiving from client"})
"""What a server says it does when it waits for us."""
STALL = "stall_timeout"
_SSL_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
_TEXT = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_key_password", "bind_address", "program_name")
_BOOLEAN = ("ssl_disabled", "ssl_verify_cert", "ssl_verify_identity")
_SECONDS = ("connect_timeout", "read_timeout", "write_timeout")
PARAMETERS = ("charset", STALL, "unix_socket", "socket", "hostaddr", "ssl_mode", *_TEXT, *_BOOLEAN, *_SECONDS)
"""What may follow the ``?`` of a URL. ``charset`` is accepted because URLs carry it; a dump is exact without it.

``hostaddr`` is the address to connect to, where that is not the host's, which remains the server's name (as libpq's).
"""


def database_of(source: Source) -> str:
    """Return the name of the one database that ``source`` is about.

    Raises:
        MalformedURL: the URL names none, or one of the server's own.
    """
    name = source.database
    if not name:
        raise MalformedURL(
            f"{source.url} names no database; one database is saved per backup: add /NAME after the server"
        )
    if name.lower() in SYSTEM_DATABASES:
        raise MalformedURL(f"{name} belongs to the server {address(source)} itself and is not backed up or restored")
    return name


def _flag(source: Source, name: str) -> bool:
    value = _FLAGS.get(source.query[name].lower())
    if value is None:
        raise MalformedURL(f"{source.url}: {name} is true or false, not {source.query[name]!r}")
    return value


def _arguments(source: Source) -> dict[str, Any]:
    refuse_unknown_parameters(source=source, known=PARAMETERS)
    arguments: dict[str, Any] = {n: source.query[n] for n in _TEXT if n in source.query}
    arguments |= {n: _flag(source, n) for n in _BOOLEAN if n in source.query}
    for name in _SECONDS:
        if name in source.query:
            try:
                arguments[name] = int(source.query[name])
            except ValueError:
                raise MalformedURL(f"{source.url}: {name} is a number of seconds") from None
    mode = source.query.get("ssl_mode", "").upper()
    if mode and mode not in _SSL_MODES:
        raise MalformedURL(f"{source.url}: ssl_mode is one of {', '.join(_SSL_MODES)}")
    if mode == "DISABLED" or (socket_of(source) and not wants_tls(source)):
        # Through a socket of this machine TLS would protect nothing.
        arguments["ssl_disabled"] = True
    elif mode == "REQUIRED":
        arguments.setdefault("ssl_verify_cert", False)
        # pymysql asks for TLS where any of its TLS arguments is true, or where ``ssl`` is not empty.
        if not any(arguments.get(n) for n in ("ssl_ca", "ssl_cert", "ssl_key")):
            arguments["ssl"] = {"verify_mode": False}
    elif mode in {"VERIFY_CA", "VERIFY_IDENTITY"}:
        arguments["ssl_verify_cert"] = True
        arguments["ssl_verify_identity"] = mode == "VERIFY_IDENTITY"
    return arguments


def wants_tls(source: Source) -> bool:
    """Return whether the URL insists on an encrypted connection."""
    if source.query.get("ssl_mode", "").upper() in {"REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"}:
        return True
    return not _FLAGS.get(source.query.get("ssl_disabled", "0").lower()) and any(
        n in source.query for n in ("ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_cert", "ssl_verify_identity")
    )


def _dial(source: Source, arguments: dict[str, Any]) -> socket.socket:
    """Open the socket ourselves: pymysql loses it, unclosed, where nobody answers."""
    seconds = arguments.get("connect_timeout", _CONNECT_SECONDS)
    path = socket_of(source)
    local = arguments.get("bind_address")
    try:
        if path is None:
            endpoint = (source.query.get("hostaddr") or source.host or "localhost", source.port or 3306)
            opened = socket.create_connection(endpoint, seconds, source_address=(local, 0) if local else None)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return opened
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.settimeout(seconds)
            opened.connect(path)
        except BaseException:
            opened.close()
            raise
    except socket.gaierror as error:
        raise SourceError(f"cannot connect to {address(source)}: the host is unknown ({error.strerror})") from error
    except (OSError, ValueError, OverflowError) as error:
        raise SourceError(
            f"cannot connect to {address(source)}: {error_text(error)}; is the server running and reachable there?"
        ) from error
    return opened


def _is_working(source: Source, connection_id: int) -> bool:
    """Ask, over a session of its own, whether session ``connection_id`` is at work, and not waiting for us."""
    probe = connect(replace(source, query={**source.query, STALL: str(_PROBE_STALL_SECONDS)}), None, probe_stalls=False)
    try:
        for row in probe.rows("SHOW PROCESSLIST"):
            if int(row[0] or 0) == connection_id:
                return decode(row[4]) != "Sleep" and decode(row[6]).lower() not in _WAITING
        # Behind something that spreads connections over servers nobody knows our numbers: then an answer has to do.
        return probe.number("SELECT CONNECTION_ID()") != probe.connection_id
    finally:
        probe.close()


def with_stall_timeout(source: Source, options: Options) -> Source:
    """Return ``source`` with what the option ``stall_timeout`` says.

    Raises:
        OptionError: it is negative.
    """
    seconds = int(str(options.get(STALL, _STALL_SECONDS)))
    if seconds < 0:
        raise OptionError(f"the option {STALL} is a number of seconds, or 0 for as long as it takes; not {seconds}")
    return replace(source, query={**source.query, STALL: str(seconds)})


def connect(source: Source, database: str | None, *, probe_stalls: bool = True) -> Session:
    """Open a session on the server of ``source``; ``database`` becomes its default, if given.

    The session speaks utf8mb4, UTC and a ``sql_mode`` that compares invalid dates, too; it commits each statement
    unless a transaction was begun, never sends a local file, and does not give up on a reader that is slow. A server
    that is silent for longer than ``stall_timeout`` is given up, unless (with ``probe_stalls``) a new session finds it
    at work.

    Raises:
        DependencyError: pymysql is not installed.
        SourceError: the URL is wrong, the server cannot be reached, or refuses.
    """
    try:
        import pymysql
    except ImportError as error:
        raise DependencyError(
            'the mysql driver needs pymysql, which is not installed: pip install "dumpty[mysql]"'
        ) from error
    arguments = _arguments(source)
    opened: list[Session] = []

    def working() -> bool:
        return bool(opened) and _is_working(source, opened[0].connection_id)

    link = Link(lambda: _dial(source, arguments), address(source), working if probe_stalls else None)
    stall = float(source.query.get(STALL, _STALL_SECONDS))
    link.peer.seconds = min(arguments.get("connect_timeout", _CONNECT_SECONDS), stall or _CONNECT_SECONDS)
    try:
        with link.peer.waiting():
            connection = _handshake(source, database, arguments, link)
    except (pymysql.err.Error, OSError, ValueError, RuntimeError, UnicodeError) as error:
        link.close()
        reason = link.peer.reason or error_text(error)
        raise SourceError(redact(f"cannot connect to {address(source)}: {reason}", source.secrets)) from error
    except BaseException:
        link.close()
        raise
    session = Session(connection, source, link)
    try:
        session.prepare()
        if wants_tls(source) and not session.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'")[0][1]:
            raise SourceError(f"{address(source)} offers no TLS, which {source.url} asks for")
    except BaseException:
        session.abandon()
        raise
    opened.append(session)
    link.peer.seconds = stall
    return session


def _handshake(source: Source, database: str | None, arguments: dict[str, Any], link: Link) -> Connection[Any]:
    import pymysql

    connection: Connection[Any] = pymysql.connect(
        host=source.host,
        port=source.port or 3306,
        user=source.username,
        # As bytes: pymysql would encode a str as Latin-1.
        password=(source.password or "").encode(),
        database=database,
        charset="utf8mb4",
        conv={},
        use_unicode=False,
        autocommit=True,
        local_infile=False,
        defer_connect=True,
        **arguments,
    )
    # What pymysql notes of a Unix socket it opens itself: a password may pass it in the clear.
    vars(connection)["_secure"] = socket_of(source) is not None
    link.secure(getattr(connection, "ctx", None))
    connection.connect(link.socket)
    return connection
