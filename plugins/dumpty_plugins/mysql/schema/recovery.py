"""What an overwriting restore leaves beside its database while it works, and what it means where it was killed.

``DB__dumpty_new`` holds nothing but what came out of a dump, and a view that says so: where no restore is running it is
cleared by the next one. ``DB__dumpty_old`` may hold the only copy of the old content: it is never touched, and the
error says in which state things are and how to go back. Its table ``dumpty_definitions`` holds a script for the
client program that does it.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dumpty import SourceError, TargetNotEmpty
from dumpty_plugins.mysql.schema.catalog import drop_statements, listing, movable_names, settings_clause
from dumpty_plugins.mysql.schema.stored_objects import stored_object_statements
from dumpty_plugins.mysql.server.session import Session, StatementError, address
from dumpty_plugins.mysql.server.sql import identifier, literal
from dumpty_plugins.mysql.server.sql_modes import LOOSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dumpty import Source
    from dumpty_plugins.mysql.schema.catalog import Catalog
    from dumpty_plugins.mysql.schema.stored_objects import StoredObjectStatement

_LONGEST_STEM = 64 - len("__dumpty_new")
_MARK = "dumpty_unfinished_restore"
DEFINITIONS = "dumpty_definitions"
_COMPLETE = 0
_EXCHANGED, _ALWAYS = "exchanged", "always"


def side_databases(database: str) -> tuple[str, str]:
    """Return the names of the databases for the new and for the old content, within MySQL's 64 characters."""
    stem = database
    if len(stem) > _LONGEST_STEM:
        stem = f"{database[: _LONGEST_STEM - 9]}_{hashlib.sha256(database.encode()).hexdigest()[:8]}"
    return f"{stem}__dumpty_new", f"{stem}__dumpty_old"


def lock_name(database: str) -> str:
    """Return the name of the server's lock that a restore of ``database`` holds."""
    return "dumpty:" + hashlib.sha256(database.encode()).hexdigest()[:40]


def exists(session: Session, database: str) -> bool:
    """Return whether there is a database of this name that the account may see."""
    return bool(session.rows(f"SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME={literal(database)}"))


def mark_unfinished(session: Session, new: str) -> str:
    """Mark ``new`` as dumpty's own unfinished work and return the mark, "" where the account may not make views."""
    token = uuid.uuid4().hex
    process = f"{socket.gethostname()}:{os.getpid()}"
    started = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    try:
        session.execute(
            f"CREATE VIEW {identifier(new)}.{identifier(_MARK)} AS "
            f"SELECT {literal(token)} AS token, {literal(process)} AS process, {literal(started)} AS since"
        )
    except StatementError:
        return ""
    return token


def read_mark(session: Session, new: str) -> str:
    """Return the mark on ``new``, "" where there is none."""
    try:
        return session.text(f"SELECT token FROM {identifier(new)}.{identifier(_MARK)}")
    except StatementError:
        return ""


def clear_killed_restore(control: Session, target: Source, database: str) -> None:
    """Drop what a killed restore of ``database`` loaded beside it; ``control`` holds the lock on restores.

    Raises:
        TargetNotEmpty: there is something else, or the only copy of the old content.
    """
    new, old = side_databases(database)
    begun = _has_begun(control, old) and not _is_untouched(control, database)
    if exists(control, old) and (not read_mark(control, new) or begun):
        raise TargetNotEmpty(describe_state(control, target, database))
    if exists(control, new):
        if not read_mark(control, new) and listing(control, new):
            raise TargetNotEmpty(
                f"database {new} exists on {address(target)}, and does not say that it is an unfinished restore: if "
                f"nobody needs it, DROP DATABASE {identifier(new)}, then run this again"
            )
        control.execute("SET FOREIGN_KEY_CHECKS=0")
        control.execute(f"DROP DATABASE IF EXISTS {identifier(old)}")  # it holds no content: nothing had been begun
        control.execute(f"DROP DATABASE {identifier(new)}")
        control.execute("SET FOREIGN_KEY_CHECKS=1")


def require_no_exchange(session: Session, source: Source, database: str) -> None:
    """See that no overwriting restore is, or was killed, between the old and the new content of ``database``.

    Raises:
        SourceError: one is: a backup would lack triggers, events or more.
    """
    _, old = side_databases(database)
    if not exists(session, old) or not _has_begun(session, old) or _is_complete(session, old):
        return
    if session.text(f"SELECT IS_USED_LOCK({literal(lock_name(database))})"):
        raise SourceError(f"{database} on {address(source)} is being overwritten by a restore: wait until it has ended")
    if _is_untouched(session, database):
        return
    raise SourceError(describe_state(session, source, database))


def save_definitions(
    session: Session, before: Catalog, database: str, tables: Sequence[str], grants: Sequence[str]
) -> None:
    """Write into ``DB__dumpty_old`` how to go back, all at once: nothing is begun before it is there."""
    _, old = side_databases(database)
    table = f"{identifier(old)}.{identifier(DEFINITIONS)}"
    exchanging = [
        f"DROP DATABASE IF EXISTS {identifier(database)};",
        f"CREATE DATABASE {identifier(database)}{settings_clause(before.settings)};",
        *([rename_statement([(old, database, n) for n in tables]) + ";"] if tables else []),
    ]
    restoring = [
        f"USE {identifier(database)};",
        f"SET sql_mode='{LOOSE}';",
        f"ALTER DATABASE{settings_clause(before.settings, always=True)};",
        *(text + ";" for c in before.stored_objects for text in drop_statements(c.kind, database, c.name)),
        *_scripted(stored_object_statements(before.stored_objects, before.settings.collation)),
        *(g + ";" for g in grants),
    ]
    _save(session, table, exchanging, restoring)


def save_table_definitions(
    session: Session, before: Catalog, database: str, new: Sequence[str], replaced: Sequence[str]
) -> None:
    """Write into ``DB__dumpty_old`` how to go back from a restore of the tables ``new``.

    ``replaced`` are those in whose place some of them come; ``before`` has their triggers.
    """
    _, old = side_databases(database)
    exchanging = [
        "SET FOREIGN_KEY_CHECKS=0;",
        *(f"DROP TABLE IF EXISTS {identifier(database)}.{identifier(name)};" for name in new),
        *([rename_statement([(old, database, name) for name in replaced]) + ";"] if replaced else []),
    ]
    restoring = [
        f"USE {identifier(database)};",
        f"SET sql_mode='{LOOSE}';",
        *(text + ";" for c in before.stored_objects for text in drop_statements(c.kind, database, c.name)),
        *_scripted(stored_object_statements(before.stored_objects, before.settings.collation)),
    ]
    _save(session, f"{identifier(old)}.{identifier(DEFINITIONS)}", exchanging, restoring)


def _save(session: Session, table: str, exchanging: Sequence[str], restoring: Sequence[str]) -> None:
    session.execute(
        f"CREATE TABLE {table} (n INT PRIMARY KEY, stage VARCHAR(9), statement LONGBLOB NOT NULL) ENGINE=InnoDB"
    )
    session.execute("START TRANSACTION")
    for n, (stage, text) in enumerate([*((_EXCHANGED, r) for r in exchanging), *((_ALWAYS, r) for r in restoring)], 1):
        data = text.encode("utf-8", "surrogateescape").hex()
        session.execute(f"INSERT INTO {table} VALUES ({n}, '{stage}', X'{data}')")
    session.execute("COMMIT")


def note_complete(session: Session, old: str) -> None:
    """Note that the new content is whole, and the old one of no more use."""
    table = f"{identifier(old)}.{identifier(DEFINITIONS)}"
    session.execute(f"INSERT INTO {table} VALUES ({_COMPLETE}, 'complete', '')")


def rename_statement(moves: Iterable[tuple[str, str, str]]) -> str:
    """Return the statement that moves tables, each given as (from, to, name), all or none."""
    return rename_tables_statement(((a, n), (b, n)) for a, b, n in moves)


def rename_tables_statement(moves: Iterable[tuple[tuple[str, str], tuple[str, str]]]) -> str:
    """Return the statement that moves tables, each from (database, name) to (database, name), all or none."""
    parts = (f"{identifier(a)}.{identifier(old)} TO {identifier(b)}.{identifier(new)}" for (a, old), (b, new) in moves)
    return "RENAME TABLE " + ", ".join(parts)


def _scripted(statements: Iterable[StoredObjectStatement]) -> Iterable[str]:
    for statement in statements:
        text = statement.text.decode("utf-8", "surrogateescape")
        end = statement.delimiter.decode()
        yield f"DELIMITER {end}\n{text}\n{end}\nDELIMITER ;" if end else f"{text};"


def _rows(session: Session, old: str, condition: str) -> int:
    try:
        return session.number(f"SELECT COUNT(*) FROM {identifier(old)}.{identifier(DEFINITIONS)} WHERE {condition}")
    except StatementError:
        return 0


def _has_begun(session: Session, old: str) -> bool:
    return bool(_rows(session, old, "TRUE") or set(movable_names(session, old)) - {DEFINITIONS})


def _is_of_tables(session: Session, old: str) -> bool:
    """Whether it was a restore of single tables that wrote down how to go back."""
    return bool(_rows(session, old, "TRUE")) and not _rows(session, old, "statement LIKE 'DROP DATABASE%'")


def _is_untouched(session: Session, database: str) -> bool:
    """Whether a restore of single tables was killed before it changed anything in ``database``.

    Tables are moved all at once. Before that, triggers are dropped of those that are replaced.
    """
    new, old = side_databases(database)
    if not _is_of_tables(session, old) or _rows(session, old, "statement LIKE 'DROP TRIGGER%'"):
        return False
    return bool(movable_names(session, new)) and not set(movable_names(session, old)) - {DEFINITIONS}


def _is_complete(session: Session, old: str) -> bool:
    return bool(_rows(session, old, f"n={_COMPLETE}"))


def describe_state(session: Session, target: Source, database: str) -> str:
    """Return in which state a restore left ``database`` and the old content beside it, and a way back."""
    new, old = side_databases(database)
    drop = f"DROP DATABASE {identifier(old)}"
    existence = f"database {old} exists on {address(target)}"
    if not _rows(session, old, "TRUE"):
        return (
            f"{existence}, and an overwriting restore of {database} did not make it, or not wholly: look into it, move "
            f"its tables back to {database} if they are missing there, or {drop}; then run this again"
        )
    if _is_complete(session, old):
        return (
            f"{existence}: a restore of {database} was killed at its very end; {database} holds the new content, "
            f"whole, and {old} what is left of the old one: {drop}, then run this again"
        )
    # Where the old content had no tables to lose, the whole script is right in either state.
    exchanged = set(movable_names(session, old)) - {DEFINITIONS} or not _rows(session, old, "statement LIKE 'RENAME%'")
    if _is_of_tables(session, old):  # the new tables leave their place all at once
        exchanged = not movable_names(session, new)
    condition = "n>0" if exchanged else f'stage="{_ALWAYS}"'
    client = "mariadb" if session.mariadb else "mysql"
    command = (
        f"{client} -N --raw -e 'SELECT statement FROM {identifier(old)}.{DEFINITIONS} WHERE {condition} ORDER BY n' "
        f"| {client} --comments, then {drop}"
    )
    if exchanged:
        return (
            f"{existence}: a restore of {database} did not end while it exchanged old and new; the old tables are in "
            f"{old}, if it replaced any, and {database} holds the new ones, but perhaps not all else; to go back: "
            f"{command}; to give the old content up: {drop}, and restore again with overwrite"
        )
    return (
        f"{existence}: a restore of {database} did not end before it exchanged old and new; {database} still holds its "
        f"own tables and rows, but views, routines, triggers and events may be missing; to bring them back: {command}"
    )
