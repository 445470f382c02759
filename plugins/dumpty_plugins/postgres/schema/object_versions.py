"""The versions of what a database uses and a dump does not hold: collations, which sort its text, and extensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from dumpty_plugins.postgres.server.connection import rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

PROPERTY = "object_versions"
"""Under which name the evidence of a backup has them."""

_HAS_DATABASE_VERSION = 15

_DATABASE = """
    SELECT coalesce({version}, '') FROM pg_database WHERE datname = current_database()"""

_COLLATIONS = """
    SELECT quote_ident(nspname) || '.' || quote_ident(collname), {version}
    FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE {version} IS NOT NULL AND (c.oid >= 16384 OR EXISTS (
        SELECT FROM pg_depend WHERE refclassid = 'pg_collation'::regclass AND refobjid = c.oid)) ORDER BY 1"""

_EXTENSIONS = "SELECT extname, extversion FROM pg_extension WHERE oid >= 16384 ORDER BY 1"


@dataclass(frozen=True, kw_only=True)
class ObjectVersions:
    """Versions by name; ``database`` is that of the database's own collation, "" where none is known."""

    database: str
    collations: Mapping[str, str]
    extensions: Mapping[str, str]

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Self | None:
        """Return what the properties of a backup say; None where they say nothing of it, as those of older ones."""
        said = properties.get(PROPERTY)
        if not isinstance(said, dict):
            return None
        collations, extensions = (said.get(name) or {} for name in ("collations", "extensions"))
        return cls(database=str(said.get("database") or ""), collations=dict(collations), extensions=dict(extensions))

    def as_property(self) -> dict[str, Any]:
        """Return them as they are written down, JSON-able."""
        return {
            "database": self.database,
            "collations": dict(self.collations),
            "extensions": dict(self.extensions),
        }


def read_object_versions(connection: Connection, *, actual: bool = False) -> ObjectVersions:
    """Return the versions in the connection's own database.

    Of collations they are those that PostgreSQL wrote down when each was made, which is what indexes were built with;
    with ``actual``, those of the libraries that sort now.
    """
    database = ""
    if connection.info.server_version // 10000 >= _HAS_DATABASE_VERSION:
        of_database = "pg_database_collation_actual_version(oid)" if actual else "datcollversion"
        database = rows(connection, _DATABASE.format(version=of_database))[0][0]
    of_collation = "pg_collation_actual_version(c.oid)" if actual else "c.collversion"
    return ObjectVersions(
        database=database,
        collations=dict(rows(connection, _COLLATIONS.format(version=of_collation))),
        extensions=dict(rows(connection, _EXTENSIONS)),
    )
