"""Creates the old stored objects once before any is dropped: what the server refuses could not be put back.

The server is the judge: whether the account may name these definers (SET USER or SUPER in MariaDB; SET_USER_ID,
SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER and SYSTEM_USER in MySQL), whether the binary log lets it create functions,
and whether a newer version still understands the text.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from dumpty import Locked, SourceError
from dumpty_plugins.mysql.schema.character_sets import CharacterSets
from dumpty_plugins.mysql.schema.statement_edits import disabled_event, trial_view, view_in
from dumpty_plugins.mysql.schema.stored_objects import stored_object_statements
from dumpty_plugins.mysql.server.privileges import definer_advice
from dumpty_plugins.mysql.server.session import LOCK_ERRORS, StatementError, decode
from dumpty_plugins.mysql.server.sql import identifier, literal
from dumpty_plugins.mysql.server.sql_modes import LOOSE

if TYPE_CHECKING:
    from dumpty_plugins.mysql.schema.catalog import Catalog, StoredObject
    from dumpty_plugins.mysql.server.session import Session


def rehearse(new_session: Session, old_session: Session, before: Catalog, database: str, new: str) -> None:
    """Create the stored objects of ``before``, events disabled, in the database ``new``, which holds nothing yet.

    Args:
        new_session: a session whose default database is ``new``.
        old_session: a session whose default database is ``database``, where views find their tables.
        before: what ``database`` holds.
        database: the name of the database that shall be overwritten.
        new: the name of the database that they are created in.

    Raises:
        SourceError: something could not be created again after a failed restore.
        Locked: a table that a view reads is locked by somebody.
    """
    _copy_tables(new_session, database)
    for session in (new_session, old_session):
        session.execute(f"SET sql_mode='{LOOSE}'")
    for stored_object in before.stored_objects:
        session = new_session
        try:
            if stored_object.kind == "view":
                session = _rehearse_view(stored_object, new_session, old_session, new)
            else:
                for text in _statements(stored_object, before.settings.collation):
                    session.execute(text)
        except StatementError as error:
            if error.code in LOCK_ERRORS:
                raise Locked(
                    f"tables of {database} are locked ({stored_object.kind} {stored_object.name} cannot be read): try "
                    "again when those sessions have ended, or wait longer with the option lock_timeout; nothing was "
                    "changed"
                ) from error
            if error.lost:
                raise
            raise SourceError(
                f"{stored_object.kind} {database}.{stored_object.name} could not be put back after a failure, so "
                f"nothing was begun: {error}; {definer_advice(session, error)}drop it first if nobody needs it, or "
                "restore into another name"
            ) from error


def _copy_tables(new_session: Session, database: str) -> None:
    """Make empty copies of the tables that have triggers; one that cannot be copied keeps its triggers unproved."""
    with contextlib.suppress(StatementError):  # a table may be wider than this mode allows; MySQL asks for a privilege
        new_session.execute("SET SESSION innodb_strict_mode=0")
    for (name,) in new_session.rows(
        f"SELECT DISTINCT EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA={literal(database)}"  # noqa: S608
    ):
        table = identifier(decode(name))
        with contextlib.suppress(StatementError):
            new_session.execute(f"CREATE TABLE {table} LIKE {identifier(database)}.{table}")


def _rehearse_view(stored_object: StoredObject, new_session: Session, old_session: Session, new: str) -> Session:
    # The name of the database must be in the character set of the statement, which may lack it.
    name = CharacterSets(new_session).encode(identifier(new).encode(), stored_object.charset)
    text = view_in(name, stored_object.create) if name else None
    session = old_session if text else new_session
    session.execute(f"SET character_set_client={stored_object.charset}")
    session.execute(f"SET collation_connection={stored_object.collation}")
    session.execute(text or trial_view(stored_object.create, b"`dumpty_rehearsal`"))
    session.execute("SET NAMES utf8mb4")
    return session


def _statements(stored_object: StoredObject, collation: str) -> list[bytes]:
    if stored_object.kind == "event":
        create = disabled_event(stored_object.create)
        if create is None:
            return []
        stored_object = replace(stored_object, create=create)
    return [statement.text for statement in stored_object_statements([stored_object], collation)]
