"""What a backup needs to read and this user may not, each with the statement that grants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.postgres.schema.tables import identifier
from dumpty_plugins.postgres.server.connection import rows

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

_READS_ALL = 14  # the version that brought the role pg_read_all_data
_NAMES_SHOWN = 3
_LARGE_OBJECTS_LISTED = 20

_DUMPED_RELATIONS = """
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"""

_UNREADABLE_RELATIONS = f"""
    SELECT n.nspname, format('%I.%I', n.nspname, c.relname), has_schema_privilege(n.oid, 'USAGE'), c.relkind = 'S'
    {_DUMPED_RELATIONS} AND c.relkind IN ('r', 'p', 'S')
    AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')) ORDER BY 2"""

_HIDDEN_ROWS = f"""
    SELECT format('%I.%I', n.nspname, c.relname) {_DUMPED_RELATIONS} AND c.relkind = 'r' AND c.relrowsecurity
    AND row_security_active(c.oid) ORDER BY 1"""

# The condition under which the view pg_user_mappings shows no options.
_MAPPINGS = """
    SELECT count(*) FROM pg_user_mappings m JOIN pg_foreign_server s ON s.oid = m.srvid
    WHERE m.umoptions IS NULL AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
      AND NOT CASE m.umuser WHEN 0 THEN pg_has_role(s.srvowner, 'USAGE')
              ELSE m.usename = current_user AND (pg_has_role(s.srvowner, 'USAGE')
                                                 OR has_server_privilege(s.oid, 'USAGE')) END"""

_LARGE_OBJECTS = """
    SELECT oid FROM pg_largeobject_metadata
    WHERE NOT current_setting('lo_compat_privileges')::boolean AND NOT pg_has_role(lomowner, 'USAGE')
      AND NOT EXISTS (SELECT FROM aclexplode(lomacl) a WHERE a.privilege_type = 'SELECT'
                      AND CASE a.grantee WHEN 0 THEN true ELSE pg_has_role(a.grantee, 'USAGE') END)
    ORDER BY oid"""


def missing_privileges(connection: Connection) -> tuple[str, ...]:
    """Return what a backup of the connection's database would fail for, each with the statements that mend it."""
    user, superuser = rows(connection, "SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user")[0]
    if superuser:
        return ()
    major = connection.info.server_version // 10000
    return tuple(
        text
        for text in (
            _tables(connection, identifier(user), major),
            _hidden_rows(connection, identifier(user)),
            _large_objects(connection, identifier(user)),
        )
        if text
    )


def omission_notes(connection: Connection) -> tuple[str, ...]:
    """Return notes on what pg_dump leaves out in silence, because this user may not see it."""
    mappings = rows(connection, _MAPPINGS)[0][0]
    if not mappings:
        return ()
    mappings_text = f"the options (passwords, perhaps) of {mappings} user mapping(s)"
    return (f"{mappings_text} are not in the dump: only a superuser sees them",)


def _tables(connection: Connection, user: str, major: int) -> str:
    relations = rows(connection, _UNREADABLE_RELATIONS)
    if not relations:
        return ""
    privilege = f"SELECT on {_abbreviated([name for _, name, _, _ in relations])}"
    if major >= _READS_ALL:
        return f"{privilege}: GRANT pg_read_all_data TO {user}"
    grants = []
    for schema in dict.fromkeys(s for s, _, _, _ in relations):
        kinds = {sequence for s, _, _, sequence in relations if s == schema}
        if not all(usage for s, _, usage, _ in relations if s == schema):
            grants.append(f"GRANT USAGE ON SCHEMA {identifier(schema)} TO {user}")
        for sequence, word in ((False, "TABLES"), (True, "SEQUENCES")):
            if sequence in kinds:
                grants.append(f"GRANT SELECT ON ALL {word} IN SCHEMA {identifier(schema)} TO {user}")
    return f"{privilege}: {'; '.join(grants)}"


def _hidden_rows(connection: Connection, user: str) -> str:
    tables = [name for (name,) in rows(connection, _HIDDEN_ROWS)]
    return (
        f"the rows that row-level security hides in {_abbreviated(tables)}: ALTER ROLE {user} BYPASSRLS"
        if tables
        else ""
    )


def _large_objects(connection: Connection, user: str) -> str:
    oids = [str(oid) for (oid,) in rows(connection, _LARGE_OBJECTS)]
    if not oids:
        return ""
    if len(oids) <= _LARGE_OBJECTS_LISTED:
        return f"SELECT on large objects: GRANT SELECT ON LARGE OBJECT {', '.join(oids)} TO {user}"
    for_each = "SELECT format('GRANT SELECT ON LARGE OBJECT %s TO {user}', oid) FROM pg_largeobject_metadata \\gexec"
    return f"SELECT on {len(oids)} large objects: in psql, {for_each.replace('{user}', user)}"


def _abbreviated(names: list[str]) -> str:
    suffix = f", and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{', '.join(names[:_NAMES_SHOWN])}{suffix}"
