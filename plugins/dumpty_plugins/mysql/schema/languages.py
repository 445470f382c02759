"""Stored programs of MySQL that are not in SQL: routines in JavaScript, and the libraries that they import."""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import SourceError
from dumpty_plugins.mysql.server.session import decode
from dumpty_plugins.mysql.server.sql import literal

if TYPE_CHECKING:
    from dumpty_plugins.mysql.server.session import Session


def foreign_routines(session: Session, database: str) -> set[tuple[str, str]]:
    """Return the routines of ``database`` that are not in SQL: "function" or "procedure", and the name."""
    rows = session.rows(
        "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES "
        f"WHERE ROUTINE_SCHEMA={literal(database)} AND ROUTINE_BODY='EXTERNAL'"
    )
    return {(decode(kind).lower(), decode(name)) for kind, name in rows}


def refuse_libraries(session: Session, database: str) -> None:
    """See that there is no library, which a dump of this driver does not carry.

    Raises:
        SourceError: there is one.
    """
    if session.mariadb or not session.rows("SHOW TABLES FROM information_schema LIKE 'LIBRARIES'"):
        return
    rows = session.rows(
        f"SELECT LIBRARY_NAME FROM information_schema.LIBRARIES WHERE LIBRARY_SCHEMA={literal(database)} ORDER BY 1"
    )
    if rows:
        raise SourceError(
            f"{database} has libraries ({', '.join(decode(name) for (name,) in rows)}), which this driver does not "
            "carry: move them to another database, or leave all routines out with the option routines=off"
        )
