"""Reads a server's accounts out of its catalogs, all at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import astuple

from dumpty import SourceError
from dumpty_plugins.postgres.accounts.facts import (
    ATTRIBUTES,
    HASH,
    Accounts,
    Fact,
    Header,
    Membership,
    ParameterGrant,
    Role,
    Setting,
    Tablespace,
    TablespaceGrant,
    require_sound,
)
from dumpty_plugins.postgres.accounts.statements import HAS_OPTIONS, name_sql
from dumpty_plugins.postgres.schema.tables import identifier
from dumpty_plugins.postgres.server.connection import rows, version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty_plugins.postgres.server.connection import Address

F = TypeVar("F", bound=Fact)
_HAS_PARAMETER_GRANTS = 15

_ROLES = """
    SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
           rolconnlimit, rolvaliduntil::text, {password}, shobj_description(oid, 'pg_authid')
    FROM {catalog} WHERE rolname !~ '^pg_'"""

_MEMBERSHIPS = """
    SELECT r.rolname, m.rolname, a.admin_option, {options}
    FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
    LEFT JOIN pg_roles g ON g.oid = a.grantor
    WHERE NOT (r.rolname ~ '^pg_' AND m.rolname ~ '^pg_')"""

_SETTINGS = """
    SELECT r.rolname, d.datname, unnest(s.setconfig)
    FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
    WHERE (s.setrole = 0) = (r.oid IS NULL) AND (s.setdatabase = 0) = (d.oid IS NULL)
      AND (s.setrole <> 0 OR s.setdatabase = 0)"""

_PARAMETERS = """
    SELECT r.rolname, p.parname, a.privilege_type, bool_or(a.is_grantable)
    FROM pg_parameter_acl p, aclexplode(p.paracl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE a.grantee <> 10 AND (a.grantee = 0) = (r.oid IS NULL) GROUP BY 1, 2, 3"""

_TABLESPACES = """
    SELECT t.oid, t.spcname, o.rolname, pg_tablespace_location(t.oid), coalesce(t.spcoptions, '{}'),
           shobj_description(t.oid, 'pg_tablespace')
    FROM pg_tablespace t JOIN pg_roles o ON o.oid = t.spcowner
    WHERE t.spcname !~ '^pg_'"""

_TABLESPACE_GRANTS = """
    SELECT coalesce(r.rolname, ''), bool_or(a.is_grantable)
    FROM pg_tablespace t, aclexplode(coalesce(t.spcacl, acldefault('t', t.spcowner))) a
    LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE t.oid = %s AND (a.grantee = 0) = (r.oid IS NULL) GROUP BY 1"""

_LABELS = "SELECT count(*) FROM pg_shseclabel WHERE classoid IN ('pg_authid'::regclass, 'pg_tablespace'::regclass)"


def open_server(address: Address) -> Connection:
    """Connect to the server: to the database that its address names, or to one that every server has.

    Raises:
        DependencyError, SourceError: as ``Address.connect``.
    """
    if address.names_database:
        return address.connect()
    try:
        return address.for_database("postgres").connect()
    except SourceError as error:
        try:
            return address.for_database("template1").connect()
        except SourceError:
            raise error from None


def may_read_hashes(connection: Connection) -> bool:
    """Return whether this user may read the hashes of passwords."""
    return bool(rows(connection, "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')")[0][0])


def hashes_grant(connection: Connection) -> str:
    """Return the statement that lets this user read the hashes of passwords, and where it is to be run."""
    ((user, database),) = rows(connection, "SELECT current_user, current_database()")
    return f"GRANT SELECT ON pg_catalog.pg_authid TO {identifier(user)} (in the database {identifier(database)})"


def require_hashes(address: Address, connection: Connection) -> None:
    """Check that this user may read the hashes of passwords.

    Raises:
        SourceError: it may not; the text says what grants it, and how to do without them.
    """
    if not may_read_hashes(connection):
        raise SourceError(
            f"this user may not read the hashes of passwords on the server of {address.label}: "
            f"{hashes_grant(connection)}; or leave them out: -o hashes=off"
        )


def read_in_snapshot(connection: Connection, *, hashes: bool) -> Accounts:
    """Return a server's accounts as they are at one moment.

    Raises:
        SourceError, psycopg2.Error: they cannot be read.
    """
    rows(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    accounts = read_accounts(connection, hashes=hashes)
    rows(connection, "COMMIT")
    return accounts


def read_accounts(connection: Connection, *, hashes: bool) -> Accounts:
    """Return a server's accounts; without ``hashes`` no role has a password.

    Raises:
        SourceError: a name is no text, or a password is kept in a way that no PostgreSQL has.
        psycopg2.Error: they cannot be read.
    """
    rows(connection, "SET datestyle = ISO")
    rows(connection, "SET timezone = 'UTC'")
    major, server = version(connection)
    bootstrap = str(rows(connection, "SELECT rolname FROM pg_roles WHERE oid = 10")[0][0])
    accounts = Accounts(
        header=Header(major=major, server=server, bootstrap=bootstrap, hashes=hashes),
        roles=_roles(connection, hashes=hashes),
        memberships=_memberships(connection, major),
        settings=_settings(connection),
        parameters=_parameters(connection, major),
        tablespaces=_tablespaces(connection),
    )
    require_sound(accounts)
    return accounts


def count_labels(connection: Connection) -> int:
    """Return how many security labels there are, which no dump holds."""
    return int(rows(connection, _LABELS)[0][0])


def _roles(connection: Connection, *, hashes: bool) -> tuple[Role, ...]:
    sql = _ROLES.format(catalog="pg_authid" if hashes else "pg_roles", password="rolpassword" if hashes else "NULL")
    names = ("name", *ATTRIBUTES, "limit", "valid_until", "password", "comment")
    roles = []
    for row in rows(connection, sql):
        values = dict(zip(names, row, strict=True))
        if values["password"] is not None and not HASH.fullmatch(values["password"]):
            raise SourceError(
                f"the password of the role {name_sql(values['name'])} is kept in a way that no PostgreSQL reads from a "
                "statement: give it a new one, or leave all out: -o hashes=off"
            )
        if values["valid_until"] == "infinity":
            values["valid_until"] = None
        roles.append(Role(**values))
    return _sorted(roles)


def _memberships(connection: Connection, major: int) -> tuple[Membership, ...]:
    options = "a.inherit_option, a.set_option, g.rolname" if major >= HAS_OPTIONS else "NULL, NULL, NULL"
    return _sorted(
        Membership(role=r, member=m, admin=a, inherit=i, set=s, grantor=g)
        for r, m, a, i, s, g in rows(connection, _MEMBERSHIPS.format(options=options))
    )


def _settings(connection: Connection) -> tuple[Setting, ...]:
    return _sorted(
        Setting(role=r, database=d, name=s.partition("=")[0], value=s.partition("=")[2])
        for r, d, s in rows(connection, _SETTINGS)
    )


def _parameters(connection: Connection, major: int) -> tuple[ParameterGrant, ...]:
    if major < _HAS_PARAMETER_GRANTS:
        return ()
    return _sorted(
        ParameterGrant(grantee=r, parameter=p, privilege=k, grantable=g) for r, p, k, g in rows(connection, _PARAMETERS)
    )


def _tablespaces(connection: Connection) -> tuple[Tablespace, ...]:
    tablespaces = []
    for oid, name, owner, location, options, comment in rows(connection, _TABLESPACES):
        grants = [TablespaceGrant(grantee=g, grantable=o) for g, o in sorted(rows(connection, _TABLESPACE_GRANTS, oid))]
        where = location if location.startswith("/") else ""
        tablespaces.append(
            Tablespace(name=name, owner=owner, location=where, options=options, grants=grants, comment=comment)
        )
    return _sorted(tablespaces)


def _sorted(facts: Iterable[F]) -> tuple[F, ...]:
    """Return facts in the order of what they hold, None first: the same in every dump, whatever a server's locale."""
    return tuple(sorted(facts, key=lambda f: [("",) if v is None else ("x", str(v)) for v in astuple(f)]))
