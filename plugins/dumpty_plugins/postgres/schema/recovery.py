"""Names for the databases that a restore makes beside its target, and a look for those of restores that were killed."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from dumpty_plugins.postgres.schema.tables import identifier
from dumpty_plugins.postgres.server.connection import rows

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

NEW, OLD = "dumpty", "dumpty_old"
"""What a restore makes, and what it put aside."""

_NAME_BYTES = 63
_TOKEN_BYTES = 4


def sibling_name(name: str, tag: str) -> str:
    """Return a fresh name for a database beside ``name``."""
    token = secrets.token_hex(_TOKEN_BYTES)
    return f"{_name_prefix(name, tag)}__{tag}_{token}"


def recovery_notes(connection: Connection, name: str) -> tuple[str, ...]:
    """Return a note for each database that a restore into ``name`` left, with what to do about it."""
    databases = rows(
        connection,
        """SELECT datname, EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)
           FROM pg_database d WHERE strpos(datname, '__dumpty_') > 0 ORDER BY datname""",
    )
    notes = []
    for database, in_use in databases:
        drop = f"DROP DATABASE {identifier(database)}"
        if _is_sibling(database, name, OLD):
            notes.append(f"{database} holds what {name} held before a restore: look whether you need it, then {drop}")
        elif _is_sibling(database, name, NEW):
            state = "is being filled by a restore" if in_use else "was left by a restore that was killed"
            notes.append(f"{database} {state} into {name}: if none runs, {drop}")
    return tuple(notes)


def _is_sibling(candidate: str, name: str, tag: str) -> bool:
    return bool(re.fullmatch(f"{re.escape(_name_prefix(name, tag))}__{tag}_[0-9a-f]{{{2 * _TOKEN_BYTES}}}", candidate))


def _name_prefix(name: str, tag: str) -> str:
    length = _NAME_BYTES - len(f"__{tag}_") - 2 * _TOKEN_BYTES
    return name.encode()[:length].decode("utf-8", "ignore")
