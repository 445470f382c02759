"""One session with a server: statements in, bytes out, errors of dumpty's own."""

from __future__ import annotations

import contextlib
import functools
import re
from typing import TYPE_CHECKING, Any, NoReturn

from dumpty import SourceError
from dumpty.process import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymysql.connections import Connection

    from dumpty import Source
    from dumpty_plugins.mysql.server.link import Link

Row = tuple["bytes | None", ...]

LOCK_ERRORS = frozenset({1205, 1213, 3572})
"""Waited too long for a lock, chosen to end a deadlock, told not to wait."""
_UNSUPPORTED_VERSION = re.compile(r"[1-7]\.")
_LOST = frozenset({2006, 2013, 4031, 1927, 1053})
"""Gone away, lost, idle too long, killed, shut down."""
_MOST_BYTES_HELD = 1 << 20
"""Of rows that are streamed, apart from the last of them."""
_CLOSED = (0, "")
"""What pymysql says of a connection that an earlier error closed."""


def address(source: Source) -> str:
    """Return the server of ``source`` in words, without secrets."""
    return socket_of(source) or f"{source.host or 'localhost'}:{source.port or 3306}"


def socket_of(source: Source) -> str | None:
    """Return the path of the Unix socket that ``source`` names, if any."""
    return source.query.get("unix_socket") or source.query.get("socket")


def error_text(error: BaseException) -> str:
    """Return the text of a library's error on one line, the server's error number in front."""
    arguments = error.args
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if len(arguments) > 1 and isinstance(arguments[0], int):
        message = arguments[1]
        if isinstance(message, bytes):
            message = message.decode("utf-8", "replace")
        return " ".join(f"error {arguments[0]}: {message}".split())
    return " ".join((str(error) or type(error).__name__).split())


class StatementError(SourceError):
    """The server refused a statement; ``code`` is its error number, 0 where the connection failed."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code

    @property
    def lost(self) -> bool:
        """Whether the connection is no more."""
        return not self.code or self.code in _LOST


class Session:
    """One connection. Every value comes back as bytes, as the server sent them, or None for NULL."""

    def __init__(self, connection: Connection[Any], source: Source, link: Link) -> None:
        self._connection = connection
        self._link = link
        self._source = source
        self._results = "utf8mb4"
        self.mariadb = False
        self.version = ""
        self.warnings_shown = 0

    def prepare(self) -> None:
        """Set what a dump and a restore rely on, whatever the server's defaults are."""
        self.version = self.text("SELECT VERSION()")
        self.mariadb = "mariadb" in self.version.lower()
        if not self.mariadb and _UNSUPPORTED_VERSION.match(self.version):
            raise SourceError(
                f"{address(self._source)} is MySQL {self.version}, and this driver needs MySQL 8.0 or newer, or "
                "MariaDB: what it relies on is not there; use that version's mysqldump"
            )
        self.execute("SET NAMES utf8mb4")
        self.execute(
            "SET SESSION time_zone='+00:00', sql_mode='ALLOW_INVALID_DATES', sql_quote_show_create=1, "
            "sql_safe_updates=0, sql_big_selects=1, sql_select_limit=DEFAULT, net_read_timeout=86400, "
            "net_write_timeout=86400, wait_timeout=86400, foreign_key_checks=1, unique_checks=1"
        )
        if self.mariadb:
            self.execute("SET SESSION max_statement_time=0")
            with contextlib.suppress(StatementError):  # 10.3 and newer
                self.execute("SET SESSION idle_transaction_timeout=0, idle_readonly_transaction_timeout=0")
        else:
            self.execute("SET SESSION max_execution_time=0")

    @functools.cached_property
    def packet(self) -> int:
        """How long a value may be that the server makes in this session (``max_allowed_packet``)."""
        return self.number("SELECT @@max_allowed_packet")

    def show_warnings(self, limit: int) -> None:
        """Let SHOW WARNINGS list up to ``limit`` a statement; ``warnings_shown`` is how many the account may have."""
        with contextlib.suppress(StatementError):  # MySQL asks for a privilege that few accounts have
            self.execute(f"SET SESSION max_error_count={limit}")
        self.warnings_shown = self.number("SELECT @@max_error_count")

    @property
    def connection_id(self) -> int:
        """What the server calls this session in its list of processes."""
        return int(self._connection.thread_id())  # type: ignore[no-untyped-call]

    @property
    def closed(self) -> bool:
        """Whether the connection was lost or closed; the server need not know of it."""
        return not self._connection.open

    def rows(self, sql: str | bytes) -> list[Row]:
        """Execute ``sql`` and return its rows.

        Raises:
            StatementError: the server refused it, or the connection was lost.
        """
        try:
            with self._link.peer.waiting(), self._connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())
        except Exception as error:  # noqa: BLE001 - sorted in one place
            self._fail(error)

    def execute(self, sql: str | bytes) -> tuple[int, int]:
        """Execute ``sql`` and return how many rows it changed and how many warnings it gave."""
        try:
            with self._link.peer.waiting(), self._connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.rowcount, int(cursor.warning_count)
        except Exception as error:  # noqa: BLE001 - sorted in one place
            self._fail(error)

    def execute_retrying(self, sql: str | bytes, attempts: int) -> None:
        """Execute ``sql``, up to ``attempts`` times where somebody holds a lock that it needs.

        Raises:
            StatementError: the server refused it, or the lock was not to be had even the last time.
        """
        for remaining in reversed(range(attempts)):
            try:
                self.execute(sql)
            except StatementError as error:
                if error.code not in LOCK_ERRORS or not remaining:
                    raise
            else:
                return

    def stream(self, sql: str, size: int = 500) -> Iterator[list[Row]]:
        """Execute ``sql`` and yield its rows in lists of up to ``size``, fewer where they are large.

        A generator that is not read to its end leaves the session unusable: ``abandon`` it.
        """
        from pymysql.cursors import SSCursor

        try:
            cursor = self._connection.cursor(SSCursor)
            with self._link.peer.waiting():
                cursor.execute(sql)
                rows = _next_rows(cursor, size)
            while rows:
                yield rows
                with self._link.peer.waiting():
                    rows = _next_rows(cursor, size)
            cursor.close()
        except GeneratorExit:
            raise
        except Exception as error:  # noqa: BLE001 - sorted in one place
            self._expect_no_more()
            self._fail(error)

    def text(self, sql: str) -> str:
        """Return the first value of the first row of ``sql`` as text, "" where there is none."""
        rows = self.rows(sql)
        return decode(rows[0][0]) if rows else ""

    def number(self, sql: str) -> int:
        """Return the first value of the first row of ``sql`` as a number, 0 where there is none."""
        return int(self.text(sql) or 0)

    def return_bytes(self) -> None:
        """From now on texts come as ``raw`` has them."""
        self.execute("SET character_set_results=binary")
        self._results = "binary"

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Within the block, texts come as the bytes that are stored, in whatever character set."""
        previous, self._results = self._results, "binary"
        if previous != "binary":
            self.execute("SET character_set_results=binary")
        yield
        if previous != "binary":
            self.execute(f"SET character_set_results={previous}")
        self._results = previous

    def _fail(self, error: Exception) -> NoReturn:
        import pymysql

        if isinstance(error, (pymysql.err.Error, OSError, AttributeError)):
            # pymysql shows a connection that was closed under it as an AttributeError of its own socket.
            if self._link.peer.reason:
                raise StatementError(f"{address(self._source)}: {self._link.peer.reason}") from error
            code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            lost = code in _LOST or error.args == _CLOSED or not isinstance(error, pymysql.err.Error)
            text = "it is closed" if error.args == _CLOSED else error_text(error)
            prefix = "the connection was lost: " if lost else ""
            message = redact(f"{address(self._source)}: {prefix}{text}", self._source.secrets)
            raise StatementError(message, code) from error
        raise error

    def _expect_no_more(self) -> None:
        """Let go of an unfinished result: pymysql would read the rest of it, however long, or fail to."""
        result = getattr(self._connection, "_result", None)
        if result is not None:
            result.unbuffered_active = False

    def close(self) -> None:
        """Say goodbye, if the server still listens. Harmless twice."""
        try:
            with contextlib.suppress(Exception), self._link.peer.waiting():
                self._connection.close()
        finally:
            self._link.close()

    def abandon(self) -> None:
        """Drop the connection at once; whatever it was doing ends without effect."""
        self._expect_no_more()
        with contextlib.suppress(OSError):
            self._link.shut_down()  # wakes a thread that waits for the server
        with contextlib.suppress(Exception):
            self._connection._force_close()  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public one
        self._link.close()


def _next_rows(cursor: Any, size: int) -> list[Row]:
    rows: list[Row] = []
    held = 0
    while len(rows) < size and held < _MOST_BYTES_HELD and (row := cursor.fetchone()) is not None:
        rows.append(row)
        held += sum([len(value) for value in row if value is not None])
    return rows


def decode(value: bytes | None) -> str:
    """Return a catalog's value as text, "" for NULL."""
    return "" if value is None else value.decode("utf-8", "surrogateescape")


def versions(session: Session) -> dict[str, str]:
    """Return the versions that a backup records."""
    import pymysql

    return {"server": session.version, "pymysql": pymysql.VERSION_STRING}
