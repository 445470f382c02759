"""Connections: what a URL may say, and how a server is reached."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dumpty import DependencyError, MalformedURL, OptionError, SourceError
from dumpty.process import redact
from dumpty_plugins.mysql.server.link import Link
from dumpty_plugins.mysql.server.session import Session, decode, place, socket_of, words

if TYPE_CHECKING:
    from pymysql.connections import Connection

    from dumpty import Options, Source

_FLAGS = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}
_CONNECT_SECONDS = 10
_STALL_SECONDS = 600
_HURRY_SECONDS = 15
_WAITING = frozenset({"writing to net", "reading from net", "sending to client", "receiving from client"})
"""What a server says it does when it waits for us."""
STALL = "stall_timeout"
_SSL_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
_TEXT = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_key_password", "bind_address", "program_name")
_BOOLEAN = ("ssl_disabled", "ssl_verify_cert", "ssl_verify_identity")
_SECONDS = ("connect_timeout", "read_timeout", "write_timeout")
PARAMETERS = ("charset", STALL, "unix_socket", "socket", "ssl_mode", *_TEXT, *_BOOLEAN, *_SECONDS)
"""What may follow the ``?`` of a URL. ``charset`` is accepted because URLs carry it; a dump is exact without it."""


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
    if name.lower() in {"information_schema", "performance_schema", "sys", "mysql"}:
        raise MalformedURL(f"{name} belongs to the server {place(source)} itself and is not backed up or restored")
    return name


def _flag(source: Source, name: str) -> bool:
    value = _FLAGS.get(source.query[name].lower())
    if value is None:
        raise MalformedURL(f"{source.url}: {name} is true or false, not {source.query[name]!r}")
    return value


def _arguments(source: Source) -> dict[str, Any]:
    unknown = sorted(set(source.query) - set(PARAMETERS))
    if unknown:
        raise MalformedURL(
            f"{source.url}: unknown parameter {', '.join(unknown)}; valid ones are {', '.join(sorted(PARAMETERS))}"
        )
    given: dict[str, Any] = {n: source.query[n] for n in _TEXT if n in source.query}
    given |= {n: _flag(source, n) for n in _BOOLEAN if n in source.query}
    for name in _SECONDS:
        if name in source.query:
            try:
                given[name] = int(source.query[name])
            except ValueError:
                raise MalformedURL(f"{source.url}: {name} is a number of seconds") from None
    mode = source.query.get("ssl_mode", "").upper()
    if mode and mode not in _SSL_MODES:
        raise MalformedURL(f"{source.url}: ssl_mode is one of {', '.join(_SSL_MODES)}")
    if mode == "DISABLED" or (socket_of(source) and not wants_tls(source)):
        # Through a socket of this machine TLS would protect nothing.
        given["ssl_disabled"] = True
    elif mode == "REQUIRED":
        given.setdefault("ssl_verify_cert", False)
        # pymysql asks for TLS where any of its TLS arguments is true, or where ``ssl`` is not empty.
        if not any(given.get(n) for n in ("ssl_ca", "ssl_cert", "ssl_key")):
            given["ssl"] = {"verify_mode": False}
    elif mode in {"VERIFY_CA", "VERIFY_IDENTITY"}:
        given["ssl_verify_cert"] = True
        given["ssl_verify_identity"] = mode == "VERIFY_IDENTITY"
    return given


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
            address = (source.host or "localhost", source.port or 3306)
            link = socket.create_connection(address, seconds, source_address=(local, 0) if local else None)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return link
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.settimeout(seconds)
            link.connect(path)
        except BaseException:
            link.close()
            raise
    except socket.gaierror as error:
        raise SourceError(f"cannot connect to {place(source)}: the host is unknown ({error.strerror})") from error
    except (OSError, ValueError, OverflowError) as error:
        raise SourceError(
            f"cannot connect to {place(source)}: {words(error)}; is the server running and reachable there?"
        ) from error
    return link


def _works(source: Source, number: int) -> bool:
    """Ask, over a session of its own, whether session ``number`` is at work, and not waiting for us."""
    fresh = connect(replace(source, query={**source.query, STALL: str(_HURRY_SECONDS)}), None, asks=False)
    try:
        for row in fresh.rows("SHOW PROCESSLIST"):
            if int(row[0] or 0) == number:
                return decode(row[4]) != "Sleep" and decode(row[6]).lower() not in _WAITING
        # Behind something that spreads connections over servers nobody knows our numbers: then an answer has to do.
        return fresh.number("SELECT CONNECTION_ID()") != fresh.number_on_server
    finally:
        fresh.close()


def patient(source: Source, options: Options) -> Source:
    """Return ``source`` with what the option ``stall_timeout`` says.

    Raises:
        OptionError: it is negative.
    """
    seconds = int(str(options.get(STALL, _STALL_SECONDS)))
    if seconds < 0:
        raise OptionError(f"the option {STALL} is a number of seconds, or 0 for as long as it takes; not {seconds}")
    return replace(source, query={**source.query, STALL: str(seconds)})


def connect(source: Source, database: str | None, *, asks: bool = True) -> Session:
    """Open a session on the server of ``source``; ``database`` becomes its default, if given.

    The session speaks utf8mb4, UTC and a ``sql_mode`` that compares invalid dates, too; it commits each statement
    unless a transaction was begun, never sends a local file, and does not give up on a reader that is slow. A server
    that is silent for longer than ``stall_timeout`` is given up, unless (with ``asks``) a new session finds it at work.

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
    found: list[Session] = []

    def working() -> bool:
        return bool(found) and _works(source, found[0].number_on_server)

    link = Link(lambda: _dial(source, arguments), place(source), working if asks else None)
    stall = float(source.query.get(STALL, _STALL_SECONDS))
    link.peer.seconds = min(arguments.get("connect_timeout", _CONNECT_SECONDS), stall or _CONNECT_SECONDS)
    try:
        with link.peer.waiting():
            connection = _greeted(source, database, arguments, link)
    except (pymysql.err.Error, OSError, ValueError, RuntimeError, UnicodeError) as error:
        link.close()
        why = link.peer.reason or words(error)
        raise SourceError(redact(f"cannot connect to {place(source)}: {why}", source.secrets)) from error
    except BaseException:
        link.close()
        raise
    session = Session(connection, source, link)
    try:
        session.prepare()
        if wants_tls(source) and not session.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'")[0][1]:
            raise SourceError(f"{place(source)} offers no TLS, which {source.url} asks for")
    except BaseException:
        session.abandon()
        raise
    found.append(session)
    link.peer.seconds = stall
    return session


def _greeted(source: Source, database: str | None, arguments: dict[str, Any], link: Link) -> Connection[Any]:
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
