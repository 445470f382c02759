"""The names that a database has, which what is restored beside them cannot have."""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.mysql.server.session import decode
from dumpty_plugins.mysql.server.sql import literal

if TYPE_CHECKING:
    from collections.abc import Collection

    from dumpty_plugins.mysql.server.session import Session

LONGEST_NAME = 64
"""In characters."""


class TargetNames:
    """The names of constraints, triggers and sequences in a database; one that is handed out is taken from then on.

    Args:
        session: reads them, once.
        database: the database, which need not be there.
        replaced: its tables that are to go, with their triggers and constraints.
    """

    def __init__(self, session: Session, database: str, replaced: Collection[str]) -> None:
        self.database = database
        goes = {name.casefold() for name in replaced}
        where = literal(database)

        def taken(query: str) -> set[str]:
            rows = [[decode(v) for v in row] for row in session.rows(query)]
            return {name.casefold() for name, table in rows if table.casefold() not in goes}

        constraints = (
            "SELECT CONSTRAINT_NAME, TABLE_NAME FROM information_schema.TABLE_CONSTRAINTS "
            f"WHERE CONSTRAINT_SCHEMA={where} AND CONSTRAINT_TYPE="
        )
        self._taken = {
            "FOREIGN KEY": taken(f"{constraints}'FOREIGN KEY'"),
            # In MariaDB each table has names of its own for these.
            "CHECK": set[str]() if session.mariadb else taken(f"{constraints}'CHECK'"),
            "TRIGGER": taken(
                f"SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA={where}"
            ),
        }
        self._unique_checks = not session.mariadb
        self._sequences = {
            decode(row[0]).casefold()
            for row in session.rows(
                f"SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA={where} AND TABLE_TYPE='SEQUENCE'"
            )
        }

    def has_sequence(self, name: str) -> bool:
        """Whether the database has this sequence."""
        return name.casefold() in self._sequences

    def free(self, kind: str, wanted: str) -> str:
        """Return a name that no ``kind`` (``FOREIGN KEY``, ``CHECK``, ``TRIGGER``) has: this, or one with a number."""
        taken, name, number = self._taken[kind], wanted, 1
        while name.casefold() in taken:
            number += 1
            end = f"_{number}"
            name = wanted[: LONGEST_NAME - len(end)] + end
        if kind != "CHECK" or self._unique_checks:
            taken.add(name.casefold())
        return name
