"""Where a database is, in libpq's terms: for psycopg2, and for the client programs without a secret in sight."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING, Any

from dumpty import DependencyError, MalformedURL, OptionError, OwnedDirectory, SourceError, open_regular
from dumpty.process import redact
from dumpty_plugins.postgres.server.encodings import UNKNOWN, display_name
from dumpty_plugins.postgres.server.waiting import KEEPALIVE, SHORT_STALL_SECONDS, WatchSettings, dial, run_watched
from dumpty_plugins.postgres.server.waiting import interruptible as interruptible  # noqa: PLC0414 - given on from here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Options, Source

SECRET_PARAMETERS = ("sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret")
"""libpq's secrets that have no environment variable; the password has one."""

_SERVICE_PREFIX = "dumpty-pgservice-"
_CONNECT_TIMEOUT_SECONDS = "15"
STALL_SECONDS = 600

_TIMEOUTS = ("statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout")

AT_WORK = """
    SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state NOT LIKE 'idle%%'
    AND wait_event_type IS DISTINCT FROM 'Client'"""
"""Asks whether a session, by its number, is at work, and not waiting for us."""

_ADVICE = (
    ("Connection refused", "is the server running, and is the port right?"),
    ("No such file or directory", "is the server running, and is its socket in that directory?"),
    ("password authentication failed", "check user name and password"),
    ("no password supplied", "give one in the URL, in PGPASSWORD or in ~/.pgpass"),
    ("translate host name", "check the host's name"),
    ("timeout expired", "check host, port and firewall"),
    ("invalid connection option", "take that parameter out of the URL"),
    ("no pg_hba.conf entry", "let this user and address in, in the server's pg_hba.conf"),
    ('" does not exist', "check the name of database and user"),
    ("too many clients", "try again, or raise max_connections"),
    ("starting up", "wait until the server is up"),
)


def psycopg2() -> ModuleType:
    """Return the module psycopg2, imported when it is first needed: it is optional and slow to load.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        import psycopg2
        import psycopg2.extensions
    except ImportError as error:
        raise DependencyError(
            f'PostgreSQL needs psycopg2, which cannot be imported ({error}): pip install "dumpty[postgres]"'
        ) from error
    return psycopg2


def stall_seconds(options: Options) -> float:
    """Return what the option ``stall_timeout`` says, in seconds.

    Raises:
        OptionError: it is negative.
    """
    seconds = int(options.get("stall_timeout", STALL_SECONDS))  # type: ignore[arg-type]
    if seconds < 0:
        raise OptionError(f"the option stall_timeout is a number of seconds, or 0 for any number; not {seconds}")
    return float(seconds)


class Address:
    """A database's address: its libpq parameters, secrets included.

    Whatever the URL leaves open stays open, so that libpq's own defaults (``PGHOST``, ``PGSERVICE``,
    ``~/.pgpass``, ...) apply to psycopg2 and to the client programs alike. ``stall`` is how many seconds the server may
    be silent while it is waited for, 0 for as long as it likes; ``asks_server`` whether it is then asked if it works.
    """

    def __init__(
        self, source: Source, parameters: Mapping[str, str] | None = None, *, stall: float = STALL_SECONDS
    ) -> None:
        self.source = source
        self.parameters = dict(_parameters(source) if parameters is None else parameters)
        self.stall = stall
        self.asks_server = True

    @property
    def names_database(self) -> bool:
        """Whether the URL, its parameters, a service or ``PGDATABASE`` say which database it is of."""
        naming = {"dbname", "service"} & {name for name, value in self.parameters.items() if value}
        return bool(naming or os.environ.get("PGDATABASE") or os.environ.get("PGSERVICE"))

    def require_database(self) -> Address:
        """Return this address, if it says which database it is of.

        libpq would take the one that is called as the user: a guess, where a restore replaces what it finds.

        Raises:
            MalformedURL: neither the URL nor its parameters, a service, or ``PGDATABASE`` name one.
            SourceError: its name is no text, and psycopg2 sends nothing else.
        """
        if not self.parameters.get("dbname", "").isascii():
            try:
                self.parameters["dbname"].encode()
            except UnicodeError:
                raise SourceError(
                    f"{display_name(self.label)} names a database by bytes that are no UTF-8 text, and psycopg2 cannot "
                    "ask for it: rename it on the server, with ALTER DATABASE in one whose encoding is SQL_ASCII"
                ) from None
        if self.names_database:
            return self
        raise MalformedURL(
            f"{self.label} names no database; one database is saved per backup: add /NAME after the server, "
            "or set PGDATABASE"
        )

    @property
    def label(self) -> str:
        """The URL without secrets, for messages."""
        return self.source.url

    def for_database(self, database: str) -> Address:
        """Return the address of another database on the same server."""
        return Address(self.source, self.parameters | {"dbname": database}, stall=self.stall)

    def pinned(self, connection: Connection) -> Address:
        """Return the address of the very server and database that ``connection`` reached.

        With several hosts, or with libraries whose default socket directories differ, a second connection could
        otherwise end up elsewhere.
        """
        server = {"host": connection.info.host, "port": str(connection.info.port), "dbname": connection.info.dbname}
        parameters = {k: v for k, v in self.parameters.items() if k != "hostaddr" or "," not in v}
        return Address(self.source, parameters | server, stall=self.stall)

    def with_short_stall(self) -> Address:
        """Return the same address for what should not take long: looking whether the server is at work, cleaning up."""
        address = Address(
            self.source, self.parameters, stall=min(self.stall or SHORT_STALL_SECONDS, SHORT_STALL_SECONDS)
        )
        address.asks_server = False
        return address

    def connect(self) -> Connection:
        """Connect, in autocommit mode and decoding text as UTF-8.

        Raises:
            DependencyError: psycopg2 is not installed.
            SourceError: the connection failed; the text says why.
        """
        connection = self.open_session()
        try:
            prepare(connection)
            connection.backend_pid = rows(connection, "SELECT pg_backend_pid()")[0][0]  # type: ignore[attr-defined]
        except BaseException:
            connection.close()
            raise
        return connection

    def open_session(self) -> Connection:
        """Connect, and set nothing up but autocommit mode.

        Raises:
            DependencyError, SourceError: as ``connect``.
        """
        library = psycopg2()
        parameters = {**KEEPALIVE, "fallback_application_name": "dumpty", **self.parameters, "client_encoding": "UTF8"}
        if "PGCONNECT_TIMEOUT" not in os.environ:
            parameters.setdefault("connect_timeout", _CONNECT_TIMEOUT_SECONDS)
        address = self  # and of several hosts the one, once it is known: a session's number says nothing to another

        def working(backend_pid: int) -> bool:
            return address.is_at_work(backend_pid)

        def end(backend_pid: int, still_wanted: Callable[[], bool]) -> None:
            address.end_statement(backend_pid, still_wanted)

        settings = WatchSettings(
            label=self.label, seconds=self.stall, working=working if self.asks_server else None, end=end
        )
        try:
            connection = dial(library, parameters, settings)
        except (library.Error, UnicodeError) as error:
            raise SourceError(self.connect_error_text(error)) from error
        address = self.pinned(connection)
        connection.autocommit = True
        connection.undecoded = connection.info.parameter_status("server_encoding") == UNKNOWN  # type: ignore[attr-defined]
        if connection.undecoded:  # type: ignore[attr-defined]
            library.extensions.register_type(library.extensions.BYTES, connection)
        return connection

    def is_at_work(self, backend_pid: int) -> bool:
        """Ask, over a connection of its own, whether session ``backend_pid`` is at work, and not waiting for us."""
        with contextlib.closing(self.with_short_stall().connect()) as connection:
            return bool(rows(connection, AT_WORK, backend_pid))

    def end_statement(self, backend_pid: int, still_wanted: Callable[[], bool]) -> None:
        """End what session ``backend_pid`` is doing, over a connection of its own, if that is ``still_wanted`` then."""
        with contextlib.closing(self.with_short_stall().open_session()) as connection:
            if backend_pid and still_wanted():
                rows(connection, "SELECT pg_catalog.pg_cancel_backend(%s)", backend_pid)

    def connect_error_text(self, error: Exception) -> str:
        """Return what to say when ``error`` was met while connecting."""
        reason = self.scrub(str(error))
        advice = next((f"; {advice}" for text, advice in _ADVICE if text in reason), "")
        return f"cannot connect to {self.label}: {reason}{advice}"

    def scrub(self, text: str) -> str:
        """Return ``text`` as one line, without secrets."""
        secrets = [*self.source.secrets, *(self.parameters.get(k, "") for k in ("password", *SECRET_PARAMETERS))]
        return redact(" ".join(text.split()), [s for s in secrets if s])

    @contextlib.contextmanager
    def for_programs(self) -> Iterator[tuple[str, dict[str, str | None]]]:
        """Yield what a client program needs: a connection string without secrets, and changes to its environment."""
        public = {k: v for k, v in (KEEPALIVE | self.parameters).items() if k not in ("password", *SECRET_PARAMETERS)}
        # Messages in English; the dump in the database's own encoding, whatever the caller's environment says.
        environment: dict[str, str | None] = {"LC_ALL": "C", "PGCLIENTENCODING": None}
        if "password" in self.parameters:
            environment["PGPASSWORD"] = self.parameters["password"]
        secret_parameters = {k: self.parameters[k] for k in SECRET_PARAMETERS if k in self.parameters}
        if not secret_parameters:
            yield conninfo(public), environment
            return
        if "service" in public or "PGSERVICE" in os.environ:
            raise SourceError(
                f"{', '.join(secret_parameters)} of {self.label} belongs into the service's file, not into the URL"
            )
        # These have no variable of their own; a private service file is the one other way past the command line.
        OwnedDirectory.sweep(tempfile.gettempdir(), _SERVICE_PREFIX)
        with OwnedDirectory(tempfile.gettempdir(), _SERVICE_PREFIX) as directory:
            path = os.path.join(directory.path, "service.conf")
            with open(open_regular(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY), "w", encoding="utf-8") as stream:
                stream.write("[dumpty]\n" + "".join(f"{k}={v}\n" for k, v in secret_parameters.items()))
            yield conninfo(public | {"service": "dumpty"}), environment | {"PGSERVICEFILE": path}


def _parameters(source: Source) -> dict[str, str]:
    fields = {
        "host": source.host,
        "port": None if source.port is None else str(source.port),
        "user": source.username,
        "password": source.password,
        "dbname": source.database,
    }
    parameters = {k: v for k, v in fields.items() if v} | dict(source.query)
    parameters.pop("client_encoding", None)
    if parameters.pop("ssl", None) in ("true", "1"):  # the spelling of other drivers; libpq's URIs accept it too
        parameters.setdefault("sslmode", "require")
    return parameters


def conninfo(parameters: Mapping[str, str]) -> str:
    """Return libpq's connection string of these parameters."""

    def quote_value(value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    return " ".join(f"{name}={quote_value(value)}" for name, value in parameters.items())


def rows(connection: Connection, sql: str, *args: object) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows ([] where it has none)."""
    undecoded = getattr(connection, "undecoded", False)

    def ask() -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            # Of names in a database whose encoding is SQL_ASCII the bytes go back as they came.
            cursor.execute(sql.encode("utf-8", "surrogateescape") if undecoded else sql, args or None)
            result = cursor.fetchall() if cursor.description else []
        return [tuple(map(_text, row)) for row in result] if undecoded else result

    return run_watched(connection, ask)


def _text(value: object) -> object:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def prepare(connection: Connection) -> None:
    """Free a session from what somebody set for its user or database and what is not meant for it."""
    # Nothing that a user may have put into the schema public may stand in for a system function.
    rows(connection, "SET search_path = pg_catalog")
    rows(connection, "SET statement_timeout = 0")
    if rows(connection, "SHOW server_encoding")[0][0] == UNKNOWN:
        rows(connection, f"SET client_encoding = {UNKNOWN}")  # the server lets no other pass bytes that are no text
    # Counting takes its time, and a session that waits for a long load is not idle.
    sql = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN %s AND setting <> '0'"
    rows(connection, sql, _TIMEOUTS)


def version(connection: Connection) -> tuple[int, str]:
    """Return the server's major version, and its version as it calls itself."""
    return connection.info.server_version // 10000, str(rows(connection, "SHOW server_version")[0][0])
