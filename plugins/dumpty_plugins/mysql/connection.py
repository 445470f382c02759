"""Connections: what a URL may say, and one session that speaks bytes and dumpty's errors."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, NoReturn

from dumpty import DependencyError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Source
    from pymysql.connections import Connection

Row = tuple["bytes | None", ...]

_LOST = frozenset({2006, 2013, 4031, 1927, 1053})
"""Gone away, lost, idle too long, killed, shut down."""

_FLAGS = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}
_CONNECT_SECONDS = 10
_SSL_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
_TEXT = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_key_password", "bind_address", "program_name")
_BOOLEAN = ("ssl_disabled", "ssl_verify_cert", "ssl_verify_identity")
_SECONDS = ("connect_timeout", "read_timeout", "write_timeout")
PARAMETERS = ("charset", "unix_socket", "socket", "ssl_mode", *_TEXT, *_BOOLEAN, *_SECONDS)
"""What may follow the ``?`` of a URL. ``charset`` is accepted because URLs carry it; a dump is exact without it."""


def place(source: Source) -> str:
    """Return the server of ``source`` in words, without secrets."""
    return socket_of(source) or f"{source.host or 'localhost'}:{source.port or 3306}"


def socket_of(source: Source) -> str | None:
    """Return the path of the Unix socket that ``source`` names, if any."""
    return source.query.get("unix_socket") or source.query.get("socket")


def database_of(source: Source) -> str:
    """Return the name of the one database that ``source`` is about.

    Raises:
        SourceError: the URL names none, or one of the server's own.
    """
    name = source.database
    if not name:
        raise SourceError(
            f"{source.url} names no database; one database is saved per backup: add /NAME after the server"
        )
    if name.lower() in {"information_schema", "performance_schema", "sys", "mysql"}:
        raise SourceError(f"{name} belongs to the server {place(source)} itself and is not backed up or restored")
    return name


def _flag(source: Source, name: str) -> bool:
    value = _FLAGS.get(source.query[name].lower())
    if value is None:
        raise SourceError(f"{source.url}: {name} is true or false, not {source.query[name]!r}")
    return value


def _arguments(source: Source) -> dict[str, Any]:
    unknown = sorted(set(source.query) - set(PARAMETERS))
    if unknown:
        raise SourceError(
            f"{source.url}: unknown parameter {', '.join(unknown)}; valid ones are {', '.join(sorted(PARAMETERS))}"
        )
    given: dict[str, Any] = {n: source.query[n] for n in _TEXT if n in source.query}
    given |= {n: _flag(source, n) for n in _BOOLEAN if n in source.query}
    for name in _SECONDS:
        if name in source.query:
            try:
                given[name] = int(source.query[name])
            except ValueError:
                raise SourceError(f"{source.url}: {name} is a number of seconds") from None
    mode = source.query.get("ssl_mode", "").upper()
    if mode and mode not in _SSL_MODES:
        raise SourceError(f"{source.url}: ssl_mode is one of {', '.join(_SSL_MODES)}")
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
            f"cannot connect to {place(source)}: {_words(error)}; is the server running and reachable there?"
        ) from error
    return link


def connect(source: Source, database: str | None) -> Session:
    """Open a session on the server of ``source``; ``database`` becomes its default, if given.

    The session speaks utf8mb4, UTC and an empty ``sql_mode``, commits each statement unless a transaction was
    begun, never sends a local file, and does not give up on a reader that is slow.

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
    link = _dial(source, arguments)
    try:
        connection = pymysql.connect(
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
        connection._secure = socket_of(source) is not None  # noqa: SLF001
        connection.connect(link)
    except (pymysql.err.Error, OSError, ValueError, RuntimeError, UnicodeError) as error:
        link.close()
        raise SourceError(_scrub(f"cannot connect to {place(source)}: {_words(error)}", source)) from error
    except BaseException:
        link.close()
        raise
    session = Session(connection, source)
    try:
        session.prepare()
    except BaseException:
        session.abandon()
        raise
    return session


def _words(error: BaseException) -> str:
    """Return the text of a library's error on one line, the server's error number in front."""
    arguments = error.args
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if len(arguments) > 1 and isinstance(arguments[0], int):
        text = arguments[1]
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        return " ".join(f"error {arguments[0]}: {text}".split())
    return " ".join((str(error) or type(error).__name__).split())


def _scrub(text: str, source: Source) -> str:
    for secret in sorted(filter(None, source.secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


class StatementError(SourceError):
    """The server refused a statement; ``code`` is its error number, 0 where the connection failed."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Session:
    """One connection. Every value comes back as bytes, as the server sent them, or None for NULL."""

    def __init__(self, connection: Connection[Any], source: Source) -> None:
        self._connection = connection
        self._source = source
        self._results = "utf8mb4"
        self.mariadb = False
        self.version = ""

    def prepare(self) -> None:
        """Set what a dump and a restore rely on, whatever the server's defaults are."""
        self.version = self.text("SELECT VERSION()")
        self.mariadb = "mariadb" in self.version.lower()
        if wants_tls(self._source) and not self.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'")[0][1]:
            raise SourceError(f"{place(self._source)} offers no TLS, which {self._source.url} asks for")
        self.execute("SET NAMES utf8mb4")
        self.execute(
            "SET SESSION time_zone='+00:00', sql_mode='', sql_quote_show_create=1, sql_safe_updates=0, "
            "sql_big_selects=1, sql_select_limit=DEFAULT, net_read_timeout=86400, net_write_timeout=86400, "
            "wait_timeout=86400, foreign_key_checks=1, unique_checks=1"
        )
        if self.mariadb:
            self.execute("SET SESSION max_statement_time=0")
            with contextlib.suppress(StatementError):  # 10.3 and newer
                self.execute("SET SESSION idle_transaction_timeout=0, idle_readonly_transaction_timeout=0")
        else:
            self.execute("SET SESSION max_execution_time=0")

    def rows(self, sql: str | bytes) -> list[Row]:
        """Execute ``sql`` and return its rows.

        Raises:
            StatementError: the server refused it, or the connection was lost.
        """
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql)  # type: ignore[arg-type]
                return list(cursor.fetchall())
        except Exception as error:  # noqa: BLE001 - sorted in one place
            self._fail(error)

    def execute(self, sql: str | bytes) -> tuple[int, int]:
        """Execute ``sql`` and return how many rows it changed and how many warnings it gave."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql)  # type: ignore[arg-type]
                return cursor.rowcount, int(cursor.warning_count)
        except Exception as error:  # noqa: BLE001 - sorted in one place
            self._fail(error)

    def stream(self, sql: str, size: int = 500) -> Iterator[list[Row]]:
        """Execute ``sql`` and yield its rows in lists, never holding more than one list of ``size`` rows.

        A generator that is not read to its end leaves the session unusable: ``abandon`` it.
        """
        from pymysql.cursors import SSCursor

        try:
            cursor = self._connection.cursor(SSCursor)
            cursor.execute(sql)
            while rows := cursor.fetchmany(size):
                yield list(rows)
            cursor.close()
        except GeneratorExit:
            raise
        except Exception as error:  # noqa: BLE001 - sorted in one place
            self._fail(error)

    def text(self, sql: str) -> str:
        """Return the first value of the first row of ``sql`` as text, "" where there is none."""
        rows = self.rows(sql)
        return decode(rows[0][0]) if rows else ""

    def number(self, sql: str) -> int:
        """Return the first value of the first row of ``sql`` as a number, 0 where there is none."""
        return int(self.text(sql) or 0)

    def speak_bytes(self) -> None:
        """From now on texts come as ``raw`` has them."""
        self.execute("SET character_set_results=binary")
        self._results = "binary"

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Within the block, texts come as the bytes that are stored, in whatever character set."""
        before, self._results = self._results, "binary"
        if before != "binary":
            self.execute("SET character_set_results=binary")
        yield
        if before != "binary":
            self.execute(f"SET character_set_results={before}")
        self._results = before

    def _fail(self, error: Exception) -> NoReturn:
        import pymysql

        if isinstance(error, (pymysql.err.Error, OSError, AttributeError)):
            # pymysql shows a connection that was closed under it as an AttributeError of its own socket.
            code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            lost = "the connection was lost: " if code in _LOST or not isinstance(error, pymysql.err.Error) else ""
            raise StatementError(_scrub(f"{place(self._source)}: {lost}{_words(error)}", self._source), code) from error
        raise error

    def close(self) -> None:
        """Say goodbye, if the server still listens. Harmless twice."""
        with contextlib.suppress(Exception):
            self._connection.close()

    def abandon(self) -> None:
        """Drop the connection at once; whatever it was doing ends without effect."""
        result = getattr(self._connection, "_result", None)
        if result is not None:
            # Or pymysql would read the rest of an unfinished result, however long, before it lets go.
            result.unbuffered_active = False
        sock = getattr(self._connection, "_sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for the server
        with contextlib.suppress(Exception):
            self._connection._force_close()  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public one


def decode(value: bytes | None) -> str:
    """Return a catalog's value as text, "" for NULL."""
    return "" if value is None else value.decode("utf-8", "surrogateescape")
