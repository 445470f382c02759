"""Creates the old code once before any of it is dropped: what the server would refuse afterwards could not be put back.

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
from dumpty_plugins.mysql.schema.definers import disabled, trial_view, view_in
from dumpty_plugins.mysql.schema.stored_objects import LOOSE, code_statements
from dumpty_plugins.mysql.server.privileges import definer_advice
from dumpty_plugins.mysql.server.session import WAITED, StatementError, decode
from dumpty_plugins.mysql.server.sql import identifier, literal

if TYPE_CHECKING:
    from dumpty_plugins.mysql.schema.catalog import Catalog, Code
    from dumpty_plugins.mysql.server.session import Session


def rehearse(inside: Session, beside: Session, before: Catalog, database: str, new: str) -> None:
    """Create the code of ``before``, events disabled, in the database ``new``, which holds nothing yet.

    Args:
        inside: a session whose default database is ``new``.
        beside: a session whose default database is ``database``, where views find their tables.
        before: what ``database`` holds.
        database: the name of the database that shall be overwritten.
        new: the name of the database that its code is created in.

    Raises:
        SourceError: something could not be created again after a failed restore.
        Locked: a table that a view reads is locked by somebody.
    """
    _borrow_tables(inside, database)
    for session in (inside, beside):
        session.execute(f"SET sql_mode='{LOOSE}'")
    for item in before.code:
        session = inside
        try:
            if item.kind == "view":
                session = _rehearse_view(item, inside, beside, new)
            else:
                for text in _statements(item, before.settings.collation):
                    session.execute(text)
        except StatementError as error:
            if error.code in WAITED:
                raise Locked(
                    f"tables of {database} are locked ({item.kind} {item.name} cannot be read): try again when those "
                    "sessions have ended, or wait longer with the option lock_timeout; nothing was changed"
                ) from error
            if error.lost:
                raise
            raise SourceError(
                f"{item.kind} {database}.{item.name} could not be put back after a failure, so nothing was begun: "
                f"{error}; {definer_advice(session, error)}drop it first if nobody needs it, or restore into another "
                "name"
            ) from error


def _borrow_tables(inside: Session, database: str) -> None:
    """Make empty copies of the tables that have triggers; one that cannot be copied keeps its triggers unproved."""
    with contextlib.suppress(StatementError):  # a table may be wider than this mode lets one be; MySQL asks for a right
        inside.execute("SET SESSION innodb_strict_mode=0")
    for (name,) in inside.rows(
        f"SELECT DISTINCT EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA={literal(database)}"  # noqa: S608
    ):
        table = identifier(decode(name))
        with contextlib.suppress(StatementError):
            inside.execute(f"CREATE TABLE {table} LIKE {identifier(database)}.{table}")


def _rehearse_view(item: Code, inside: Session, beside: Session, new: str) -> Session:
    # The name of the database must be in the character set of the statement, which may lack it.
    name = CharacterSets(inside).encode(identifier(new).encode(), item.charset)
    text = view_in(name, item.create) if name else None
    session = beside if text else inside
    session.execute(f"SET character_set_client={item.charset}")
    session.execute(f"SET collation_connection={item.collation}")
    session.execute(text or trial_view(item.create, b"`dumpty_rehearsal`"))
    session.execute("SET NAMES utf8mb4")
    return session


def _statements(item: Code, collation: str) -> list[bytes]:
    if item.kind == "event":
        create = disabled(item.create)
        if create is None:
            return []
        item = replace(item, create=create)
    return [statement.text for statement in code_statements([item], collation)]
