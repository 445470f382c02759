"""Names in schemas, and how tables are given others, with their indexes, sequences and statistics."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, NamedTuple

from dumpty_plugins.postgres.schema.tables import identifier
from dumpty_plugins.postgres.server.connection import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

__all__ = ["OWNED_SEQUENCES", "Name", "Renaming", "name_of_path"]

_KINDS = {"r": "TABLE", "p": "TABLE", "f": "FOREIGN TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "S": "SEQUENCE"}
_KINDS |= {"i": "INDEX", "I": "INDEX", "c": "TYPE"}
_TABLE = "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = %s"
_BELONGING = """
    SELECT 'pg_class', c.oid, c.relkind::text, n.nspname, c.relname FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.indrelid = %s
    UNION ALL SELECT 'pg_class', c.oid, 'S', n.nspname, c.relname FROM pg_depend d
    JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %s
    AND d.deptype IN ('a', 'i')
    UNION ALL SELECT 'pg_statistic_ext', s.oid, 'statistics', n.nspname, s.stxname FROM pg_statistic_ext s
    JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = %s ORDER BY 1, 2"""
OWNED_SEQUENCES = """
    SELECT c.oid::regclass::text FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid IN %s
    AND d.deptype IN ('a', 'i') ORDER BY 1"""
"""The sequences of tables, of which it takes the oids, as SQL."""
_IN_THE_WAY = {
    "pg_class": """
        SELECT c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s
        UNION ALL SELECT 'c' FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE n.nspname = %s AND t.typname = %s AND t.typrelid = 0""",
    "pg_statistic_ext": """
        SELECT 'statistics' FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
        WHERE n.nspname = %s AND s.stxname = %s AND %s || %s <> ''""",
}
_AUTO_ARRAY = """
    SELECT 1 FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_type e ON e.typarray = t.oid
    WHERE n.nspname = %s AND t.typname = %s"""


class Name(NamedTuple):
    """A name in a schema, unquoted."""

    schema: str
    name: str

    @property
    def sql(self) -> str:
        """It as SQL, quoted."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def name_of_path(path: str, schema: str = "") -> Name:
    """Return the name that a path says, or that somebody wrote: ``schema.name``, each quoted where it needs to be.

    ``schema`` is that of a name without any.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r'(?:("(?:[^"]|"")+"|[^".]+)\.)?("(?:[^"]|"")+"|[^".]+)', path)
    if match is None or not (match[1] or schema):
        raise ValueError(path)
    before, name = (_unquoted(text) if text else schema for text in match.groups())
    return Name(before, name)


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


class _Object(NamedTuple):
    """Something that is to be called otherwise; ``kind`` is as SQL, ``catalog`` the one that has it."""

    catalog: str
    kind: str
    old: Name
    new: Name


class Renaming:
    """Gives tables of a scratch database other names; whatever is in their way there is called something else.

    ``notes`` says what of it is not called as one would think.

    Args:
        connection: a session in the scratch database, whose search path is empty.
        free: returns a name like the one given that nothing in the target has, of a catalog.
    """

    def __init__(self, connection: Connection, free: Callable[[Name, str], Name]) -> None:
        self._connection = connection
        self._free = free
        self.notes: list[str] = []

    def run(self, names: Mapping[int, Name]) -> None:
        """Rename the tables that have these oids."""
        changes: list[_Object] = []
        for oid, new in names.items():
            old = Name(*rows(self._connection, _TABLE, oid)[0])
            changes += self._belonging(oid, old, new)
            changes.append(_Object("pg_class", "TABLE", old, new))
        changes = [change for change in changes if change.old != change.new]
        # First out of each other's way, and only then to where they belong: two may exchange their names.
        moved = [(change, Name(change.old.schema, f"dumpty_{secrets.token_hex(8)}")) for change in changes]
        for change, interim in moved:
            self._rename(change.kind, change.old, interim.name)
        for change, interim in moved:
            # An index, and a table's sequence, go with the table.
            if change.new.schema != change.old.schema and change.kind in {"TABLE", "STATISTICS"}:
                schema = identifier(change.new.schema)
                rows(self._connection, f"CREATE SCHEMA IF NOT EXISTS {schema}")
                interim_sql = Name(change.old.schema, interim.name).sql
                rows(self._connection, f"ALTER {change.kind} {interim_sql} SET SCHEMA {schema}")
        for change, interim in moved:
            self._clear(change.catalog, change.new)
            self._rename(change.kind, Name(change.new.schema, interim.name), change.new.name)

    def _rename(self, kind: str, old: Name, new: str) -> None:
        rows(self._connection, f"ALTER {kind} {old.sql} RENAME TO {identifier(new)}")

    def _belonging(self, oid: int, old: Name, new: Name) -> list[_Object]:
        """Return a table's indexes, sequences and statistics, with the names that they are to have."""
        found = []
        for catalog, _, kind, schema, name in rows(self._connection, _BELONGING, oid, oid, oid):
            own = Name(schema, name)
            words = _KINDS.get(kind, "STATISTICS")
            # Indexes and sequences go where their table goes; statistics of another schema stay there.
            goes_along = new.schema != old.schema and (kind != "statistics" or schema == old.schema)
            wanted_schema = new.schema if goes_along else schema
            wanted_name = new.name + name.removeprefix(old.name) if _follows(name, old.name) else name
            wanted = Name(wanted_schema, wanted_name if new.name != old.name else name)
            given = self._free(wanted, catalog)
            if given.name != wanted.name:
                self.notes.append(f"{own} is called {given.name}, for there is another {wanted} in the target")
            found.append(_Object(catalog, words, own, given))
        return found

    def _clear(self, catalog: str, name: Name) -> None:
        """See that nothing in the scratch database has a name that is to be given."""
        for (kind,) in rows(self._connection, _IN_THE_WAY[catalog], *name, *name):
            if kind == "c" and rows(self._connection, _AUTO_ARRAY, *name):
                continue  # PostgreSQL itself calls an array's type otherwise
            self._rename(_KINDS.get(kind, "STATISTICS"), name, f"dumpty_{secrets.token_hex(8)}")


def _follows(name: str, table: str) -> bool:
    """Return whether something is called after its table: ``orders_pkey``, and not ``ordersomething``."""
    return name == table or (name.startswith(table) and not name[len(table)].isalnum())
