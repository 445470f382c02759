"""What a server or a connection refused, as dumpty's errors."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty import DependencyError, DumptyError, Locked, SourceError, Unfinished
from dumpty_plugins.postgres.server.connection import psycopg2, rows
from dumpty_plugins.postgres.server.psql import PsqlError
from dumpty_plugins.postgres.server.waiting import was_dropped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty_plugins.postgres.server.connection import Address


def database_errors() -> tuple[type[Exception], ...]:
    """Return what a session raises where the server refuses, or is lost: psycopg2's, and without it psql's."""
    try:
        return (psycopg2().Error, PsqlError)
    except DependencyError:
        return (PsqlError,)


@contextlib.contextmanager
def translate_errors(address: Address, action: str) -> Iterator[None]:
    """Turn psycopg2's errors (and psql's) into dumpty's: one line that says what failed, why, and what to do.

    Raises:
        Locked: a lock was not to be had in time, or somebody uses the database.
        SourceError: anything else the server or the connection did.
    """
    try:
        yield
    except database_errors() as error:
        raise translated_error(address, action, error) from error


def translated_error(address: Address, action: str, error: Exception) -> DumptyError:
    """Return dumpty's error for one of psycopg2's."""
    code = getattr(error, "pgcode", None) or ""
    diagnosis = getattr(error, "diag", None)
    reason = address.scrub((diagnosis and diagnosis.message_primary) or str(error) or "the connection was lost")
    hint = address.scrub((diagnosis and diagnosis.message_hint) or "")
    text = f"{action} {address.label} failed: {reason}{f' ({hint})' if hint else ''}"
    if getattr(error, "dropped", False):
        return SourceError(text)
    if code in ("55P03", "55006", "40P01"):
        return Locked(f"{text}; try again when nobody else uses it, or raise lock_timeout")
    if code == "42501":
        return SourceError(f"{text}; use the owner or a superuser, or grant the right that is missing")
    if code in ("57P01", "57P02", "57P03") or not code:
        return SourceError(f"{text}; the connection was lost: see the server's log, and try again")
    return SourceError(text)


def commit_restore(address: Address, connection: Connection) -> None:
    """Commit what puts a restored database in its target's place.

    Raises:
        SourceError: the connection was lost before the server had answered, so nobody knows what it did.
        psycopg2.Error: the server refused, and nothing was committed.
    """
    # Who is interrupted here is not told what the server did either.
    unfinished = Unfinished(
        f"{address.label}, which may hold what was restored by now, or what it held before: look at it"
    )
    try:
        rows(connection, "COMMIT")
        unfinished.settle()
    except psycopg2().Error as error:
        unfinished.settle()
        if not connection.closed and not was_dropped(connection):
            raise
        reason = address.scrub(" ".join(str(error).split()) or "the server closed it")
        raise SourceError(
            f"the connection was lost while what was restored into {address.label} was committed ({reason}): it may "
            "hold that by now, or what it held before; look at it before you use it, and restore again if need be"
        ) from error
