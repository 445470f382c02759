"""Loads a plain dump, statement by statement, over psycopg2: no psql, so nothing in a dump can run on this machine."""

from __future__ import annotations

import functools
import re
import threading
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import IntegrityError, SourceError
from dumpty.process import BLOCK
from dumpty_plugins.postgres.dumping.script_reader import Script
from dumpty_plugins.postgres.loading.copy_data import CopyData
from dumpty_plugins.postgres.loading.optional_parts import ALL, Parts, advice
from dumpty_plugins.postgres.server.connection import interruptible, psycopg2, rows
from dumpty_plugins.postgres.server.errors import translated_error
from dumpty_plugins.postgres.server.waiting import run_watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import DumptyError
    from dumpty_plugins.postgres.dumping.script_reader import Statement
    from dumpty_plugins.postgres.loading.confinement import Confinement
    from dumpty_plugins.postgres.server.connection import Address

_TRANSACTION = "SELECT pg_catalog.txid_current()"

SKIPPABLE = {b"transaction_timeout", b"idle_in_transaction_session_timeout", b"default_table_access_method"}
"""Settings that a newer pg_dump puts at the head of a dump, and that an older server does not have."""


_SECRET_STATEMENTS = re.compile(rb"(CREATE|ALTER) (USER MAPPING|SERVER|SUBSCRIPTION|ROLE|USER)\b", re.IGNORECASE)


def load(
    address: Address,
    connection: Connection,
    read: Callable[[], bytes],
    *,
    single_transaction: bool,
    parts: Parts = ALL,
    confinement: Confinement | None = None,
) -> None:
    """Execute a plain dump to its verified end, ``parts`` of it left out.

    With ``single_transaction``, everything stays inside the transaction that the caller has begun, and is the caller's
    to commit.
    ``confinement``: the bounds of a drill.

    Raises:
        IntegrityError: the dump is cut off, or holds what no dump of pg_dump's holds.
        Locked: a lock was not to be had.
        SourceError: the server refused a statement.
    """
    abandoned = threading.Event()

    def read_unless_abandoned() -> bytes:
        if abandoned.is_set():
            raise InterruptedError("the restore was interrupted")
        return read()

    script = Script(read_unless_abandoned)
    bounds = _Bounds(parts=parts, confinement=confinement, single_transaction=single_transaction)
    interruptible(connection, lambda: _execute(address, connection, script, bounds), abandoned.set)
    if confinement is not None and confinement.listens:
        rows(connection, "SELECT 1")  # psycopg2 takes note of what came during a COPY with the next statement
        for notice in connection.notices:
            confinement.hear(notice)
    if not script.complete:
        raise IntegrityError("the dump ends without pg_dump's end marker: it is cut off")


@dataclass(frozen=True, kw_only=True)
class _Bounds:
    """What of a script is executed: ``parts`` of it, what a drill's ``confinement`` allows; in one transaction?"""

    parts: Parts
    confinement: Confinement | None
    single_transaction: bool

    def skip(self, statement: Statement, settings: set[bytes], encoding: str) -> bool:
        """Return whether ``statement``, in ``encoding``, is not for the server, which has ``settings``."""
        keywords = statement.keywords
        if statement.text == b";" or not self.parts.include(statement.text):
            return True
        if keywords[:1] == (b"set",) and keywords[1:2] and keywords[1] in SKIPPABLE - settings:
            return True
        # pg_dump wraps large objects into transactions of their own, whose COMMIT would end ours.
        if self.single_transaction and keywords in ((b"begin",), (b"commit",)):
            return True
        return self.confinement is not None and self.confinement.handle(statement, encoding)


def _execute(address: Address, connection: Connection, script: Script, bounds: _Bounds) -> None:
    single_transaction, confinement = bounds.single_transaction, bounds.confinement
    library = psycopg2()
    settings = {name.encode() for (name,) in rows(connection, "SELECT name FROM pg_settings")}
    rows(connection, "RESET search_path")
    transaction = rows(connection, _TRANSACTION)[0][0] if single_transaction else None
    with closing(connection.cursor()) as cursor:
        for statement in script:
            if bounds.skip(statement, settings, script.encoding):
                continue
            copy_data = CopyData(script.data(), connection) if statement.copy else None
            try:
                if copy_data is not None:
                    copy = functools.partial(cursor.copy_expert, statement.text, copy_data, size=BLOCK)  # type: ignore[arg-type]
                    run_watched(connection, copy)
                else:
                    run_watched(connection, functools.partial(cursor.execute, statement.text))
                if confinement is not None:
                    confinement.after_statement(statement)
            except (library.Error, UnicodeError) as error:
                if copy_data is not None and copy_data.error is not None:
                    raise copy_data.error from None  # psycopg2 hides what came out of read() behind one of its own
                if confinement is None or not confinement.may_omit(statement, error):
                    raise statement_failure(address, statement, error) from error
    if single_transaction and rows(connection, _TRANSACTION)[0][0] != transaction:
        raise SourceError("the dump ended the transaction it was loaded in: it is not one of pg_dump's")


def statement_failure(address: Address, statement: Statement, error: Exception) -> DumptyError:
    """Return dumpty's error for one of a statement of a dump."""
    # A foreign server's or a subscription's password stands in quotes.
    text_without_secrets = statement.text[:70].split(b"'")[0] if _SECRET_STATEMENTS.match(statement.text) else b""
    excerpt = re.sub(r"\s+", " ", (text_without_secrets or statement.text[:70]).decode("utf-8", "replace")).strip()
    error_to_raise = translated_error(address, f"loading ({excerpt} ...) into", error)
    return type(error_to_raise)(f"{error_to_raise}{advice(statement.text)}")
