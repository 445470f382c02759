"""A session through a ``psql`` of our own: it copies rows out, in large blocks where psycopg2 has a call for each row.

For machines without psycopg2 it also holds locks and a snapshot, and counts: it offers of psycopg2's connection what a
backup uses. Statements go to the child's standard input, one at a time; queries are wrapped so that each row comes back
as one line of JSON, and after each statement psql tells its SQLSTATE.
"""

from __future__ import annotations

import functools
import json
import os
import re
import secrets
import time
from contextlib import ExitStack, closing, nullcontext
from typing import TYPE_CHECKING, Any, cast

from dumpty import CommandError, Peer, SourceError
from dumpty.process import Child
from dumpty_plugins.postgres.server.clients import HINT, client_errors, find_clients
from dumpty_plugins.postgres.server.connection import AT_WORK, psycopg2, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty_plugins.postgres.server.connection import Address

_HINT_SECONDS = 2.0
_ERROR = re.compile(r"^(?:ERROR:|\\g: |/dev/stdout: )(.*)$", re.MULTILINE)
_UNKNOWN = "XX000"
"""The SQLSTATE of an error of which none is known, and the connection is not lost."""
_QUERY = re.compile(r"\s*(SELECT|WITH)\b", re.IGNORECASE)
_SHOW = re.compile(r"\s*SHOW (\w+)\s*")
_CONNECT_TIMEOUT_SECONDS = "15"
_OLDEST = 11  # the first psql that tells the SQLSTATE
_LONGEST_MARK = 64
"""Bytes: more than an end mark has, with SQLSTATE and a number of rows behind it."""


class PsqlError(Exception):
    """A statement failed: ``pgcode`` is its SQLSTATE, "" where psql or its connection was lost.

    ``stalled`` is whether it was given up because nothing came of it.
    """

    def __init__(self, message: str, pgcode: str = "", *, stalled: bool = False) -> None:
        super().__init__(message)
        self.pgcode = pgcode
        self.stalled = stalled


class _Info:
    """What is known of the connection, under the names that psycopg2 gives it."""

    def __init__(self, host: str, port: str, database: str, server_version: int) -> None:
        self.host = host
        self.port = int(port)
        self.dbname = database
        self.server_version = server_version


class _Cursor:
    """Runs statements, under the names that psycopg2 gives its methods."""

    def __init__(self, session: Psql) -> None:
        self._session = session
        self._rows: list[tuple[Any, ...]] = []
        self.description: tuple[str, ...] | None = None

    def execute(self, sql: str, args: tuple[object, ...] | None = None) -> None:
        text = sql if args is None else sql % tuple(_literal(a) for a in args)
        if match := _SHOW.fullmatch(text):
            text = f"SELECT current_setting('{match[1]}')"
        if not _QUERY.match(text):
            self._session.run(text)
            self.description = None
            return
        lines = self._session.run(f"SELECT row_to_json(q) FROM ({text}) AS q")  # noqa: S608 - ours
        self._rows = [json.loads(line, object_pairs_hook=_values) for line in lines]
        self.description = ("rows",)

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows


class Psql:
    """A running psql and its one session; see ``open_psql``."""

    def __init__(self, child: Child, version: str, peer: Peer) -> None:
        self._child = child
        self.peer = peer
        self._resources = ExitStack()
        self._pending = b""
        self._end_mark = secrets.token_hex(8)
        self.version = version
        self.closed = 0
        self.rows_copied = 0
        self._exchange(f"\\echo {self._end_mark} :SQLSTATE")  # connected, or psql says why not and ends
        ((self.backend_pid, server_version_number, encoding),) = self._json(
            "SELECT pg_backend_pid(), current_setting('server_version_num')::integer, "
            "current_setting('server_encoding')"
        )
        host, port, database = (
            self._exchange(f"\\echo :{name}\n\\echo {self._end_mark} 0")[0][0] for name in _ADDRESS_VARIABLES
        )
        self.info = _Info(host, port, database, server_version_number)
        self.server_encoding = encoding
        self.end_statement: Callable[[int, Callable[[], bool]], None] | None = None

    def cursor(self) -> AbstractContextManager[_Cursor]:
        """Return something to run statements with."""
        return nullcontext(_Cursor(self))

    def run(self, sql: str) -> list[str]:
        """Run one statement and return the lines that it prints.

        Raises:
            PsqlError: it failed, or psql did.
        """
        lines, sqlstate = self._exchange(f"{sql}\n;\n\\echo {self._end_mark} :SQLSTATE")
        if sqlstate != "00000":
            message = " ".join(self._exchange(f"\\echo :LAST_ERROR_MESSAGE\n\\echo {self._end_mark} 0")[0])
            raise PsqlError(message + self._hint(message), sqlstate)
        return lines

    def copy_out(self, sql: str) -> Iterator[bytes]:
        """Yield the output of a ``COPY ... TO STDOUT`` in blocks; ``rows_copied`` is then what the server counted.

        The output goes to a file that is our pipe: psql tells the number of rows only of what goes elsewhere than to
        its own output. Behind it comes our end mark, and then nothing until psql is asked for more.

        Raises:
            PsqlError: it failed; what was yielded is not all of it.
        """
        mark, held, at = b"%s " % self._end_mark.encode(), b"", 0
        try:
            with client_errors():
                # Both are set anew by what is run: what psql could not run, for whatever reason, is found out.
                self._child.write(b"\\set SQLSTATE none\n\\set ROW_COUNT none\n")
                self._child.write(sql.encode("utf-8", "surrogateescape") + b"\n\\g /dev/stdout\n")
                self._child.write(f"\\echo {self._end_mark} :SQLSTATE :ROW_COUNT\n".encode())
                while not (held.startswith(mark, at) and held.endswith(b"\n")):
                    if at:
                        yield held[:at]
                    # A block that has nothing of the mark is passed on as it came: to copy it would take longer.
                    held = held[at:] + self._read() if at < len(held) else self._read()
                    at = _find_mark(held, mark)
        except CommandError as error:
            raise PsqlError(self.peer.reason or str(error)) from error
        if at:
            yield held[:at]
        sqlstate, _, row_count = held[at + len(mark) :].decode("ascii", "replace").rstrip("\n").partition(" ")
        if sqlstate in {"", "none"} or (sqlstate == "00000" and not row_count.isdigit()):
            # It could not run it, or write, or an error came amid the rows: then it sets neither, or empties them.
            raise PsqlError(self._last_error() or "psql did not run it", _UNKNOWN)
        if sqlstate != "00000":
            message = " ".join(self._exchange(f"\\echo :LAST_ERROR_MESSAGE\n\\echo {self._end_mark} 0")[0])
            raise PsqlError(message + self._hint(message), sqlstate)
        self.rows_copied = int(row_count)

    def abandon(self) -> None:
        """End psql at once, from any thread: whoever waits for it is told that it ended."""
        self._child.kill_now()

    def take_over(self, resources: ExitStack) -> Psql:
        """Take over what is to end with the session."""
        self._resources = resources
        return self

    def close(self) -> None:
        """End psql, and its session with it. Twice is harmless."""
        self.closed = 1
        self.peer.close()
        self._resources.close()

    def _json(self, sql: str) -> list[tuple[Any, ...]]:
        cursor = _Cursor(self)
        cursor.execute(sql)
        return cursor.fetchall()

    def _exchange(self, text: str) -> tuple[list[str], str]:
        """Give psql some lines and return the lines that it prints before our end mark, and what stands beside that."""
        if self.closed:
            raise PsqlError("the session was closed")
        lines: list[str] = []
        try:
            with client_errors():
                self._child.write(text.encode("utf-8", "surrogateescape") + b"\n")
                while not (line := self._read_line()).startswith(self._end_mark):
                    lines.append(line)
                return lines, line.removeprefix(self._end_mark).strip()
        except CommandError as error:
            raise PsqlError(self.peer.reason or str(error), stalled=bool(self.peer.reason)) from error

    def _read_line(self) -> str:
        while b"\n" not in self._pending:
            self._pending += self._read()
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode("utf-8", "surrogateescape")

    def _read(self) -> bytes:
        """Return the next block of what psql writes, which is never nothing."""
        with self.peer.waiting():
            piece = self._child.read()
        if not piece:
            self._child.wait()
            raise PsqlError("psql ended, and the connection with it")
        return piece

    def _last_error(self) -> str:
        """Return what psql, which writes it to standard error alone, has said last of an error; "" for nothing."""
        deadline = time.monotonic() + _HINT_SECONDS
        while not (found := _ERROR.findall(self._child.stderr_tail())) and time.monotonic() < deadline:
            time.sleep(0.01)
        return found[-1].strip() if found else ""

    def _hint(self, message: str) -> str:
        """Return the server's hint, which psql writes to standard error alone."""
        deadline = time.monotonic() + _HINT_SECONDS
        while (stderr_text := self._child.stderr_tail()).rfind(message) < 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        hints = HINT.findall(stderr_text[max(stderr_text.rfind(message), 0) :])
        return f" ({hints[-1].strip()})" if hints else ""


def _find_mark(held: bytes, mark: bytes) -> int:
    """Return where ``mark``, or at the end of what is held a beginning of it, begins; behind all where neither does."""
    if (at := held.rfind(mark, -_LONGEST_MARK)) >= 0:
        return at
    ending = held[-len(mark) :]
    return len(held) - next((size for size in range(len(ending), 0, -1) if mark.startswith(ending[-size:])), 0)


_ADDRESS_VARIABLES = ("HOST", "PORT", "DBNAME")


def open_psql(address: Address, bindir: str) -> Connection:
    """Connect to ``address`` through a psql, and return that as if it were psycopg2's connection.

    Raises:
        CommandError: there is no psql, or it is too old.
        SourceError: it cannot connect; the text says why.
    """
    client = find_clients("psql", bindir)[0]
    if 0 < client.major < _OLDEST:
        raise CommandError(f"psql {client.version} is too old; install a newer one: apt-get install postgresql-client")
    with ExitStack() as stack:
        conninfo, environment = stack.enter_context(address.for_programs())
        environment |= {"PGCLIENTENCODING": "UTF8"}
        if "PGCONNECT_TIMEOUT" not in os.environ and "connect_timeout" not in address.parameters:
            environment["PGCONNECT_TIMEOUT"] = _CONNECT_TIMEOUT_SECONDS
        argv = [client.path, "-XqAt", "--no-password", "--set=ON_ERROR_STOP=0", f"--dbname={conninfo}"]
        secret = address.source.secrets
        child = stack.enter_context(Child(argv, env=environment, secrets=secret, stdin=True))
        try:
            sessions: list[Psql] = []

            def working() -> bool:
                return bool(sessions) and _is_at_work(address, bindir, sessions[0].backend_pid)

            peer = Peer(
                address.label,
                child.kill_now,
                seconds=address.stall,
                working=working if address.asks_server else None,
            )
            session = Psql(child, client.version, peer)
            sessions.append(session)
        except PsqlError as error:
            raise SourceError(address.connect_error_text(error)) from error
        connection = cast("Connection", session.take_over(stack.pop_all()))
        session.end_statement = functools.partial(_end_statement, address.pinned(connection).with_short_stall(), bindir)
        return connection


def _end_statement(address: Address, bindir: str, backend_pid: int, still_wanted: Callable[[], bool]) -> None:
    """Ask the server, over another psql, to end what session ``backend_pid`` is doing, if that is ``still_wanted``.

    SIGINT would end the psql itself: it takes that for the end of its script, in or after the statement.
    """
    with closing(cast("Psql", open_psql(address, bindir))) as session:
        if still_wanted():
            session.run(f"SELECT pg_catalog.pg_cancel_backend({backend_pid})")


def _is_at_work(address: Address, bindir: str, backend_pid: int) -> bool:
    """Ask the server, over another psql, whether session ``backend_pid`` is at work, and not waiting for us."""
    with closing(open_psql(address.with_short_stall(), bindir)) as connection:
        return bool(rows(connection, AT_WORK, backend_pid))


def _values(pairs: list[tuple[str, Any]]) -> tuple[Any, ...]:
    return tuple(value for _, value in pairs)


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(_literal(v) for v in value)})"
    text = str(value).replace("'", "''")
    return f"'{text}'" if "\\" not in text else " E'" + text.replace("\\", "\\\\") + "'"


def session_version(connection: Connection) -> dict[str, str]:
    """Return the version of what holds the session, by its name."""
    session: object = connection
    if isinstance(session, Psql):
        return {"psql": session.version}
    return {"psycopg2": psycopg2().__version__.split()[0]}
