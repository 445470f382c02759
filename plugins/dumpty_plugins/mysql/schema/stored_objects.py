"""The part of a dump after its rows: statements that create views, routines, triggers and events as they were.

Each is created in a session like the one it was written in: character set, collation, ``sql_mode``, time zone, and the
database's own collation, which decides the character set of a routine's parameters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty_plugins.mysql.server.sql import identifier, literal
from dumpty_plugins.mysql.server.sql_modes import LOOSE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty_plugins.mysql.schema.catalog import StoredObject


_ROUTINES = frozenset({"package", "package body", "function", "procedure"})


@dataclass(frozen=True)
class StoredObjectStatement:
    """One statement; ``delimiter`` where it needs one of its own."""

    text: bytes
    delimiter: bytes = b""


class _StatementBuilder:
    """Collects statements, and repeats only those settings that change."""

    def __init__(self, collation: str) -> None:
        self.statements: list[StoredObjectStatement] = []
        self._session_state = {"database": collation}

    def append(self, text: str) -> None:
        self.statements.append(StoredObjectStatement(text.encode("utf-8", "surrogateescape")))

    def set_if_changed(self, setting: str, value: str, statement: str) -> None:
        if value and self._session_state.get(setting) != value:
            self._session_state[setting] = value
            self.append(statement)

    def database(self, collation: str) -> None:
        self.set_if_changed("database", collation, f"ALTER DATABASE COLLATE = {collation}")

    def create(self, item: StoredObject) -> None:
        self.set_if_changed("client", item.charset, f"SET character_set_client={item.charset}")
        self.set_if_changed("connection", item.collation, f"SET collation_connection={item.collation}")
        if item.sql_mode is not None:
            self.set_if_changed("mode", item.sql_mode or "none", f"SET sql_mode='{item.sql_mode}'")
        self.database(item.database_collation)
        self.set_if_changed("zone", item.time_zone, f"SET time_zone={literal(item.time_zone)}")
        if item.kind == "view":
            self.statements.append(StoredObjectStatement(re.sub(rb"\ACREATE ", b"CREATE OR REPLACE ", item.create)))
        else:
            delimiter = next(m for n in range(2, 1000) if (m := b";" * n) not in item.create)
            self.statements.append(StoredObjectStatement(item.create, delimiter))

    def reset_session(self, collation: str) -> None:
        """Return to the session of the rest of the dump."""
        self.database(collation)
        if "client" in self._session_state:
            self.append("SET NAMES utf8mb4")
            del self._session_state["client"]
            self._session_state.pop("connection", None)
        if "mode" in self._session_state:
            self.set_if_changed("mode", LOOSE, f"SET sql_mode='{LOOSE}'")
        if "zone" in self._session_state:
            self.set_if_changed("zone", "+00:00", "SET time_zone='+00:00'")


def stored_object_statements(items: Sequence[StoredObject], collation: str) -> list[StoredObjectStatement]:
    """Return the statements that create ``items``, in an order in which each can be.

    Views may call routines and stand on each other in any order: each has a placeholder of the same columns before
    the first is created. ``collation`` is the database's, before and afterwards.
    """
    builder = _StatementBuilder(collation)
    for item in items:
        if item.kind in _ROUTINES:
            builder.create(item)
    builder.reset_session(collation)
    for item in items:
        if item.kind == "view":
            columns = ",".join(f"1 AS {identifier(c)}" for c in item.columns)
            builder.append(f"CREATE VIEW {identifier(item.name)} AS SELECT {columns}")
    for kind in ("view", "trigger", "event"):
        for item in items:
            if item.kind == kind:
                builder.create(item)
    builder.reset_session(collation)
    return builder.statements
