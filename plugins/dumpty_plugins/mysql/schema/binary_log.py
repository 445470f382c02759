"""Functions and triggers on a server with a binary log, which not every account may make, nor every function be made.

A dump has them after its rows. So a backup says that it has some, and the server is asked with others before the rows.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.mysql.server.refusals import refusal_error
from dumpty_plugins.mysql.server.session import StatementError, address, decode
from dumpty_plugins.mysql.server.sql import literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dumpty import Source
    from dumpty_plugins.mysql.schema.catalog import StoredObject
    from dumpty_plugins.mysql.server.session import Session

BINARY_LOG_PROPERTY = "code_in_binary_log"
"""The property of a backup that names one of each kind that a binary log may forbid."""
_UNDECLARED = "function that declares nothing"
_REFUSED = frozenset({1418, 1419})
_TRIALS = {
    _UNDECLARED: (("CREATE FUNCTION dumpty_trial() RETURNS INT RETURN 1", "DROP FUNCTION dumpty_trial"),),
    "function": (("CREATE FUNCTION dumpty_trial() RETURNS INT DETERMINISTIC RETURN 1", "DROP FUNCTION dumpty_trial"),),
    "trigger": (
        ("CREATE TABLE dumpty_trial (a INT PRIMARY KEY)", "DROP TABLE dumpty_trial"),
        ("CREATE TRIGGER dumpty_trial BEFORE INSERT ON dumpty_trial FOR EACH ROW SET NEW.a=1", ""),
    ),
}
"""Statements that make something of each kind, and those that drop it."""


def restricted_objects(session: Session, database: str, objects: Sequence[StoredObject]) -> dict[str, str]:
    """Return the first name of each kind that a server with a binary log may refuse."""
    names: dict[str, str] = {item.kind: item.name for item in reversed(objects) if item.kind in _TRIALS}
    if "function" in names:
        undeclared = session.rows(
            f"SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA={literal(database)} "
            "AND ROUTINE_TYPE='FUNCTION' AND IS_DETERMINISTIC='NO' "
            "AND SQL_DATA_ACCESS NOT IN ('NO SQL', 'READS SQL DATA') ORDER BY 1 LIMIT 1"
        )
        if undeclared:
            names[_UNDECLARED] = decode(undeclared[0][0])
    return names


def check_binary_log(session: Session, target: Source, properties: Mapping[str, object], *, in_drill: bool) -> None:
    """See that the binary log of a server, if it has one, forbids nothing that the backup names.

    Args:
        session: its default database holds nothing yet.
        target: where that is.
        properties: those of the backup.
        in_drill: whether it is a drill.

    Raises:
        SourceError: it does; NotProvable in a drill.
    """
    restricted = properties.get(BINARY_LOG_PROPERTY)
    if (
        not isinstance(restricted, dict)
        or session.text("SELECT @@log_bin AND NOT @@log_bin_trust_function_creators") != "1"
    ):
        return
    for kind, steps in _TRIALS.items():
        if kind in restricted:
            error = _try(session, steps)
            if error:
                label = f"{kind.split()[0]} {restricted[kind]}"
                raise refusal_error(
                    f"{label} of the dump cannot be created on {address(target)}", error, in_drill=in_drill
                ) from error


def _try(session: Session, steps: Sequence[tuple[str, str]]) -> StatementError | None:
    """Return the error with which a binary log forbids one of ``steps``; what was made is dropped."""
    undo = ""
    try:
        for make, drop in steps:
            session.execute(make)
            undo = undo or drop
    except StatementError as error:
        if error.lost:
            raise
        return error if error.code in _REFUSED else None  # what else it lacks is told of the code itself
    finally:
        if undo:
            session.execute(undo)
    return None
