"""What tables are made of: their columns, and the types that these use, however far down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.postgres.server.connection import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

__all__ = ["facts"]

_COLUMNS = """
    SELECT c.oid::regclass::text, string_agg(
        quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attgenerated::text, ', '
        ORDER BY a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.oid = %s::regclass GROUP BY c.oid"""
_TYPES = """
    WITH RECURSIVE used(oid) AS (
        SELECT atttypid FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
        UNION SELECT next.oid FROM used u JOIN pg_type t ON t.oid = u.oid CROSS JOIN LATERAL (
            SELECT t.typelem AS oid WHERE t.typelem <> 0 UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
            UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
            UNION ALL SELECT a.atttypid FROM pg_attribute a
            WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) AS next
    )
    SELECT format_type(t.oid, NULL), concat_ws(' ',
        CASE t.typtype WHEN 'e' THEN 'ENUM' WHEN 'd' THEN 'DOMAIN' WHEN 'c' THEN 'ROW' WHEN 'r' THEN 'RANGE' END,
        nullif(format_type(nullif(t.typbasetype, 0), t.typtypmod), '-'), CASE WHEN t.typnotnull THEN 'NOT NULL' END,
        (SELECT '(' || string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) || ')'
         FROM pg_enum e WHERE e.enumtypid = t.oid),
        (SELECT string_agg(pg_get_constraintdef(k.oid), ' ' ORDER BY 1) FROM pg_constraint k WHERE k.contypid = t.oid),
        (SELECT '(' || string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ', '
                                  ORDER BY a.attnum) || ')'
         FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped),
        (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid))
    FROM used JOIN pg_type t ON t.oid = used.oid
    WHERE t.oid >= 16384 AND t.typelem = 0 AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')"""


def facts(connection: Connection, tables: Sequence[str]) -> dict[str, str]:
    """Return what tables, and the types of people's own that they use, are made of, by their names.

    Args:
        connection: a session whose search path is empty.
        tables: as SQL, quoted, with their schemas.
    """
    found: dict[str, str] = {}
    for table in tables:
        found |= dict(rows(connection, _COLUMNS, table))
        found |= dict(rows(connection, _TYPES, table))
    return found
