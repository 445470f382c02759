"""What stands around a database and not in its dump: encoding, locale, settings, roles, extensions; and its size."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dumpty import IntegrityError
from dumpty_plugins.postgres.schema.object_versions import PROPERTY, read_object_versions
from dumpty_plugins.postgres.schema.tables import identifier, literal
from dumpty_plugins.postgres.server.connection import rows
from dumpty_plugins.postgres.server.encodings import display_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

_HAS_PROVIDER, _HAS_RULES, _HAS_BUILTIN = 15, 16, 17  # the PostgreSQL versions that brought them

LISTS = ("local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces")
"""Settings whose stored value is a list of quoted names already, as in PostgreSQL's ``dumputils.c``."""

_NAME = r'(?:"(?:[^"\0]|"")+"|[a-z_][a-z0-9_$]*)'
_NAMES = re.compile(rf"{_NAME}(?: ?, ?{_NAME})*")
_PRIVILEGES = {"CONNECT", "CREATE", "TEMPORARY"}
"""All that there are on a database (PostgreSQL manual, "Privileges")."""

_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}

_ROLES = """
    SELECT DISTINCT pg_get_userbyid(r.oid) FROM (
        SELECT refobjid FROM pg_shdepend
        WHERE refclassid = 'pg_authid'::regclass
          AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        UNION SELECT relowner FROM pg_class WHERE oid >= 16384
        UNION SELECT proowner FROM pg_proc WHERE oid >= 16384
        UNION SELECT nspowner FROM pg_namespace WHERE oid >= 16384
        UNION SELECT typowner FROM pg_type WHERE oid >= 16384
        UNION SELECT lomowner FROM pg_largeobject_metadata
    ) AS r(oid) WHERE EXISTS (SELECT FROM pg_roles WHERE pg_roles.oid = r.oid) ORDER BY 1"""


_ROLES_OF = """
    SELECT DISTINCT pg_get_userbyid(refobjid) FROM pg_shdepend
    WHERE refclassid = 'pg_authid'::regclass AND deptype IN %s
      AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND EXISTS (SELECT FROM pg_roles WHERE pg_roles.oid = refobjid) ORDER BY 1"""

_KINDS = {"owner": ("o",), "privileges": ("a", "i"), "policies": ("r",)}
"""What makes an object depend on a role, in pg_shdepend, by the part of a dump that it belongs to."""

DROPPED = """
    SELECT 'SCHEMA public' WHERE NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public')
    UNION ALL SELECT 'EXTENSION plpgsql' WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'plpgsql')"""
"""What every new database holds, so that no dump creates it, or says that it was dropped."""

_SURROUNDINGS = """
    SELECT pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'), datacl IS NOT NULL
    FROM pg_database WHERE oid = %s"""

_GRANTS = """
    SELECT privilege_type, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
           is_grantable
    FROM pg_database, aclexplode(datacl) WHERE pg_database.oid = %s"""

_ROLE_SETTINGS = """
    SELECT pg_get_userbyid(setrole), unnest(setconfig) FROM pg_db_role_setting
    WHERE setdatabase = %s AND setrole <> 0"""

_TABLESPACES = """
    SELECT DISTINCT spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
    WHERE c.oid >= 16384 AND spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1"""


def read_properties(connection: Connection, database: str | None = None) -> dict[str, Any]:
    """Return what a restore needs besides the dump, JSON-able.

    Of ``database`` (default: the connection's own) comes what the cluster knows; roles and extensions come from the
    connection's own database, and only for that.
    """
    major = connection.info.server_version // 10000
    provider = "datlocprovider::text" if major >= _HAS_PROVIDER else "'c'"
    locale = "datlocale" if major >= _HAS_BUILTIN else "daticulocale" if major >= _HAS_PROVIDER else "NULL"
    rules = "daticurules" if major >= _HAS_RULES else "NULL"
    databases = rows(
        connection,
        f"SELECT oid, pg_encoding_to_char(encoding), datcollate, datctype, {provider}, {locale}, {rules} "  # noqa: S608
        "FROM pg_database WHERE datname = coalesce(%s, current_database())",
        database,
    )
    oid, *values = databases[0]
    names = ("encoding", "collate", "ctype", "locale_provider", "locale", "icu_rules")
    properties: dict[str, Any] = {k: v for k, v in zip(names, values, strict=True) if v is not None}
    settings = rows(
        connection, "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setdatabase = %s AND setrole = 0", oid
    )
    properties["settings"] = [s for (s,) in settings]
    owner, limit, comment, has_acl = rows(connection, _SURROUNDINGS, oid)[0]
    properties["surroundings"] = {
        "owner": owner,
        "limit": limit,
        "comment": comment,
        "grants": [list(g) for g in rows(connection, _GRANTS, oid)] if has_acl else None,
        "role_settings": [list(s) for s in rows(connection, _ROLE_SETTINGS, oid)],
    }
    if database is None:
        properties["roles"] = [r for (r,) in rows(connection, _ROLES)]
        properties["roles_by_part"] = {
            part: [r for (r,) in rows(connection, _ROLES_OF, kinds)] for part, kinds in _KINDS.items()
        }
        extensions = rows(connection, "SELECT extname FROM pg_extension WHERE oid >= 16384 ORDER BY 1")
        properties["extensions"] = [e for (e,) in extensions]
        properties[PROPERTY] = read_object_versions(connection).as_property()
        properties["tablespaces"] = [t for (t,) in rows(connection, _TABLESPACES)]
        properties["dropped"] = [d for (d,) in rows(connection, DROPPED)]
        # It owns things without being listed as what they depend on.
        properties["superuser"] = rows(connection, "SELECT pg_get_userbyid(10)")[0][0]
    return _printable(properties)  # type: ignore[no-any-return]


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _printable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_printable(v) for v in value]
    return display_name(value) if isinstance(value, str) else value


def estimate(connection: Connection) -> int:
    """Return about how many bytes a dump will have: the tables' own pages, without indexes."""
    sql = """SELECT coalesce(sum(relpages::bigint), 0) * current_setting('block_size')::bigint
             FROM pg_class WHERE relkind IN ('r', 't', 'm') AND oid >= 16384"""
    return int(rows(connection, sql)[0][0])


def creation_options(properties: Mapping[str, Any], major: int) -> str:
    """Return the options of CREATE DATABASE that give a new database these properties on a server ``major``."""
    options = ["TEMPLATE template0"]
    if encoding := properties.get("encoding"):
        options.append(f"ENCODING {literal(encoding)}")
    if collate := properties.get("collate"):
        options.append(f"LC_COLLATE {literal(collate)}")
    if ctype := properties.get("ctype"):
        options.append(f"LC_CTYPE {literal(ctype)}")
    provider = properties.get("locale_provider", "c")
    locale = properties.get("locale")
    if major >= _HAS_PROVIDER and encoding:
        if provider not in _PROVIDERS:
            raise IntegrityError(f"the backup names a provider of locales that there is not: {str(provider)[:100]!r}")
        options.append(f"LOCALE_PROVIDER {_PROVIDERS[provider]}")
        if locale:
            option = "BUILTIN_LOCALE" if provider == "b" else "ICU_LOCALE"
            options.append(f"{option} {literal(locale)}")
        if major >= _HAS_RULES and (rules := properties.get("icu_rules")):
            options.append(f"ICU_RULES {literal(rules)}")
    return " ".join(options)


def surroundings_statements(surroundings: Mapping[str, Any], database: str) -> list[str]:
    """Return the statements that give ``database`` (as SQL) the owner, privileges, comment, ... that were read.

    Raises:
        IntegrityError: a privilege, or who has it, is none: whoever wrote that down means something else.
    """
    if not surroundings:
        return []
    statements = [f"ALTER DATABASE {database} CONNECTION LIMIT {int(surroundings['limit'])}"]
    if surroundings["comment"] is not None:
        statements.append(f"COMMENT ON DATABASE {database} IS {literal(surroundings['comment'])}")
    statements += [
        setting_statement(f"ALTER ROLE {identifier(role)} IN DATABASE {database}", text)
        for role, text in surroundings["role_settings"]
    ]
    grants = surroundings["grants"]
    revokes = (
        []
        if grants is None
        else [f"REVOKE ALL ON DATABASE {database} FROM PUBLIC, {identifier(surroundings['owner'])}"]
    )
    ownership = [f"ALTER DATABASE {database} OWNER TO {identifier(surroundings['owner'])}"]
    grant_statements = [_grant(database, *grant) for grant in grants or ()]
    return [*statements, *ownership, *revokes, *grant_statements]


def _grant(database: str, privilege: Any, grantee: Any, grantable: Any) -> str:
    """Return the statement of a grant; what stands in a manifest is nobody's code, and is not made one here."""
    if privilege not in _PRIVILEGES or not isinstance(grantee, str) or not re.fullmatch(f"PUBLIC|{_NAME}", grantee):
        raise IntegrityError(
            f"the backup says that {str(grantee)[:100]!r} has {str(privilege)[:100]!r} on its database, which is no "
            "privilege, or nobody's: it was altered; restore with -o privileges=off what you trust of it"
        )
    return f"GRANT {privilege} ON DATABASE {database} TO {grantee}{' WITH GRANT OPTION' if grantable is True else ''}"


def setting_statement(prefix: str, text: str) -> str:
    """Return ``prefix`` (ALTER DATABASE or ROLE ...) with the SET clause for a stored setting ``name=value``."""
    name, _, value = text.partition("=")
    # A list is written as it is stored, where it is one; anything else becomes a text, which nobody runs.
    value_sql = value if name in LISTS and _NAMES.fullmatch(value) else literal(value)
    return f"{prefix} SET {'.'.join(identifier(part) for part in name.split('.'))} TO {value_sql}"
