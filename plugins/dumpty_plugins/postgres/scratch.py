"""Scratch databases for drills: on a private server of this machine, or beside others on a server that is named."""

from __future__ import annotations

import contextlib
import secrets
from contextlib import closing
from typing import TYPE_CHECKING

from msgspec import structs

from dumpty import NotProvable, OptionError, Source, SourceError, Unfinished
from dumpty_plugins.postgres.loading.confinement import (
    ALLOWED_EXTENSIONS,
    SUPERUSER_HINT,
    Confinement,
    DrillTarget,
)
from dumpty_plugins.postgres.loading.needs import Needs, needs_of
from dumpty_plugins.postgres.loading.scratch_database import ScratchDatabase
from dumpty_plugins.postgres.loading.version_comparison import VersionComparison
from dumpty_plugins.postgres.schema.properties import creation_options
from dumpty_plugins.postgres.schema.tables import identifier, literal
from dumpty_plugins.postgres.server.connection import Address, psycopg2, rows, version
from dumpty_plugins.postgres.server.errors import translate_errors
from dumpty_plugins.postgres.server.private_server import running_server, wanted_major
from dumpty_plugins.postgres.server.target import open_maintenance
from dumpty_plugins.postgres.server.waiting import shorten_stall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Dump, Options

_PREFIX = "dumpty_drill_"
_LOCALE_ERRORS = ("42809", "22023", "0A000", "42602", "42704")
_HAS_FORCE, _HAS_SWITCH, _HAS_SAFE_CREATEROLE = 13, 17, 16
_SHOWN = 3


@contextlib.contextmanager
def on_private_server(dump: Dump, options: Options) -> Iterator[ScratchDatabase]:
    """Start a server of this machine's own programs, with the roles and tablespaces that ``dump`` speaks of.

    Raises:
        NotProvable: this machine lacks a server of that version, an extension, or a locale.
    """
    needs = needs_of(dump)
    as_superuser = bool(options["superuser"])
    with running_server(needs.major, options, room=dump.size) as private_server:
        address = Address(private_server.admin)
        role, password = _PREFIX + secrets.token_hex(8), secrets.token_hex(16)
        with closing(address.connect()) as server, translate_errors(address, "preparing"):
            _refuse_missing(needs, server, roles=False)
            if not as_superuser and (disallowed := [e for e in needs.extensions if e not in ALLOWED_EXTENSIONS]):
                raise NotProvable(
                    f"the dump needs the extensions {', '.join(disallowed)}, which only a superuser makes; "
                    f"{SUPERUSER_HINT}"
                )
            _make_roles(server, needs, role, password, as_superuser=as_superuser)
            for tablespace in needs.tablespaces:
                rows(server, "SET allow_in_place_tablespaces = on")
                rows(server, f"CREATE TABLESPACE {identifier(tablespace)} LOCATION ''")
                rows(server, f"GRANT CREATE ON TABLESPACE {identifier(tablespace)} TO PUBLIC")
            _try_locale(server, dump.evidence.properties)
        source = private_server.source(role, password, _PREFIX + secrets.token_hex(4))
        other_major = private_server.major != needs.major
        confinement = Confinement(
            role, roles=needs.roles, extensions=needs.extensions, admin=private_server.admin, listens=other_major
        )
        role_text = "as a superuser of that server" if as_superuser else "as a role that is no superuser"
        yield ScratchDatabase(
            source if as_superuser else DrillTarget(**structs.asdict(source), confinement=confinement),
            notes=(f"its server runs {private_server.account}", f"the dump is loaded {role_text}"),
            comparison=VersionComparison(dump) if other_major else None,
            rehearsal=private_server.rehearsal,
            bindir=str(options["bindir"]),
        )


def _make_roles(server: Connection, needs: Needs, role: str, password: str, *, as_superuser: bool) -> None:
    """Make every role that the dump speaks of, and the one that loads it, which may act as each of them."""
    attributes = "SUPERUSER" if as_superuser else "CREATEDB BYPASSRLS"
    rows(server, f"CREATE ROLE {identifier(role)} LOGIN {attributes} PASSWORD {literal(password)}")
    for name in needs.roles:
        if not rows(server, "SELECT 1 FROM pg_roles WHERE rolname = %s", name):
            attribute = "SUPERUSER" if as_superuser and name == needs.superuser else "NOSUPERUSER"
            rows(server, f"CREATE ROLE {identifier(name)} NOLOGIN {attribute}")
        rows(server, f"GRANT {identifier(name)} TO {identifier(role)}")
    for name in needs.grantees:
        if not rows(server, "SELECT 1 FROM pg_roles WHERE rolname = %s", name):
            rows(server, f"CREATE ROLE {identifier(name)} NOLOGIN")
    other_roles = [identifier(name) for name in needs.roles if name != needs.superuser]
    if other_roles and not as_superuser:  # it stands in for one who may do everything
        rows(server, f"GRANT {', '.join(other_roles)} TO {identifier(needs.superuser)}")
    for name in ("pg_read_all_data", "pg_write_all_data"):  # since PostgreSQL 14: whatever owners took from themselves
        if rows(server, "SELECT 1 FROM pg_roles WHERE rolname = %s", name):
            rows(server, f"GRANT {name} TO {identifier(role)}, {identifier(needs.superuser)}")


@contextlib.contextmanager
def on_server(dump: Dump, on: Source, options: Options) -> Iterator[ScratchDatabase]:
    """Take a database of its own on the server ``on``; drop it, and what killed drills left there, whatever happens.

    Raises:
        NotProvable: the server is older, lacks something, or the dump reaches out of its database.
        OptionError: this user is a superuser there, or as good as one, and nobody insisted; or a version was chosen.
        SourceError: the server cannot be reached, or this user may not create databases there.
    """
    if wanted_major(options) is not None:
        raise OptionError("a server that is named with --on has the version it has: leave --server-version out")
    address = Address(on)
    server = open_maintenance(address) or address.connect()
    name = _PREFIX + secrets.token_hex(4)
    target = on.replace(database=name)
    as_superuser = bool(options["superuser"])
    with closing(server), translate_errors(address, "drilling on"):
        powers = _superuser_powers(server)
        if powers and not as_superuser:
            raise OptionError(
                f"{on.url} is {powers}, and a drill runs what whoever owned the database wrote: name a user with "
                "CREATEDB and no other right, or insist with -o superuser=on"
            )
        needs = needs_of(dump, read_dump=True)
        if needs.outside:
            raise NotProvable(
                f"the dump reaches out of its database ({', '.join(needs.outside[:_SHOWN])}), so it is not restored "
                "on a server that serves others; drill without --on"
            )
        major, server_version = version(server)
        if major < needs.major:
            raise NotProvable(
                f"the dump is of PostgreSQL {needs.major}, and {on.url} is {server_version}; name a newer server"
            )
        _refuse_missing(needs, server, roles=True)
        if not rows(server, "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user")[0][0]:
            raise SourceError(f"this user may not create databases on the server of {on.url}; grant it CREATEDB")
        _drop_abandoned(server)
        # Whoever holds it lives: so the databases of a killed drill are distinguished from those of one that goes on.
        rows(server, "SELECT pg_advisory_lock(hashtext(%s))", name)
        _try_locale(server, dump.evidence.properties)
        superuser = rows(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")[0][0]
        if superuser and major >= _HAS_SWITCH and "options" not in target.query:
            # An event trigger ON login would run in each of our sessions.
            query = {**target.query, "options": "-c event_triggers=off"}
            target = structs.replace(target, query=query)
        notes = (f"it is loaded on {on.url} as {powers or 'a user that is no superuser'}",)
        if not as_superuser:
            confinement = Confinement(str(on.username), listens=major != needs.major)
            target = DrillTarget(**structs.asdict(target), confinement=confinement)
        drop = f"DROP DATABASE IF EXISTS {identifier(name)}"
        unfinished = Unfinished(f"the drill's database {name} on the server of {on.url} ({drop})")
        try:
            comparison = None if major == needs.major else VersionComparison(dump)
            yield ScratchDatabase(target, notes=notes, comparison=comparison, bindir=str(options["bindir"]))
        finally:
            shorten_stall(server)
            with contextlib.suppress(psycopg2().Error):
                rows(server, "ROLLBACK")
            _drop(server, name)
            unfinished.settle()


def _superuser_powers(server: Connection) -> str:
    """Return what makes this user as good as a superuser, or "": what it runs can take on whatever it may take on."""
    if rows(server, "SELECT 1 FROM pg_roles WHERE rolsuper AND pg_has_role(session_user, oid, 'MEMBER') LIMIT 1"):
        return "a superuser"
    sql = """SELECT rolname FROM pg_roles WHERE rolname IN
               ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files', 'pg_signal_backend',
                'pg_create_subscription')
             AND pg_has_role(session_user, oid, 'MEMBER')"""
    if matches := rows(server, sql):
        return f"a member of {matches[0][0]}"
    sql = r"""SELECT datname FROM pg_database WHERE pg_has_role(session_user, datdba, 'MEMBER')
              AND datname !~ '^dumpty_drill_(locale_)?[0-9a-f]{8}' ORDER BY 1"""
    if matches := rows(server, sql):
        return f"the owner of the database {matches[0][0]}, whose settings and limits it may change"
    if rows(server, "SELECT 1 FROM pg_roles WHERE rolname = session_user AND rolreplication"):
        return "a user with REPLICATION, who may make replication slots"
    if version(server)[0] < _HAS_SAFE_CREATEROLE and rows(
        server, "SELECT 1 FROM pg_roles WHERE rolname = session_user AND rolcreaterole"
    ):
        return "a user with CREATEROLE, who may make itself a member of every role"
    return ""


def _refuse_missing(needs: Needs, server: Connection, *, roles: bool) -> None:
    extensions = set(needs.extensions) - {e for (e,) in rows(server, "SELECT name FROM pg_available_extensions")}
    lacking = []
    if extensions:
        lacking.append(f"the extensions {', '.join(sorted(extensions))} (install their packages)")
    if roles:
        existing = {r for (r,) in rows(server, "SELECT rolname FROM pg_roles")}
        if missing := sorted(set(needs.roles) - existing - {needs.superuser}):
            lacking.append(f"the roles {', '.join(missing)} (CREATE ROLE, or drill without --on)")
        existing = {t for (t,) in rows(server, "SELECT spcname FROM pg_tablespace")}
        if missing := sorted(set(needs.tablespaces) - existing):
            lacking.append(f"the tablespaces {', '.join(missing)}")
    if lacking:
        server_version = version(server)[1].split()[0]
        raise NotProvable(f"the PostgreSQL {server_version} to drill on lacks {' and '.join(lacking)}")


def _try_locale(server: Connection, properties: Mapping[str, Any]) -> None:
    """Make a database as the restore will, to tell early, and as what it is, that a locale is missing."""
    name = _PREFIX + "locale_" + secrets.token_hex(4)
    try:
        rows(server, f"CREATE DATABASE {identifier(name)} {creation_options(properties, version(server)[0])}")
    except psycopg2().Error as error:
        if error.pgcode not in _LOCALE_ERRORS:
            raise
        locale = properties.get("locale") or properties.get("collate")
        reason = error.diag.message_primary
        raise NotProvable(f"this machine's PostgreSQL lacks the locale {locale} of the database: {reason}") from error
    rows(server, f"DROP DATABASE {identifier(name)}")


def _drop(server: Connection, name: str) -> None:
    """Drop a drill's database and what a restore made beside it."""
    force = " WITH (FORCE)" if version(server)[0] >= _HAS_FORCE else ""
    databases = rows(server, "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", name)
    for (database,) in databases:
        with contextlib.suppress(psycopg2().errors.InsufficientPrivilege):
            rows(server, f"ALTER DATABASE {identifier(database)} IS_TEMPLATE false")
        rows(server, f"DROP DATABASE IF EXISTS {identifier(database)}{force}")


def _drop_abandoned(server: Connection) -> None:
    """Drop the databases of drills that were killed: nobody holds their locks."""
    sql = r"SELECT DISTINCT substring(datname, '^dumpty_drill_(?:locale_)?[0-9a-f]{8}') FROM pg_database"
    for (name,) in rows(server, sql):
        if name and rows(server, "SELECT pg_try_advisory_lock(hashtext(%s))", name)[0][0]:
            with contextlib.suppress(psycopg2().Error):
                _drop(server, name)
            rows(server, "SELECT pg_advisory_unlock(hashtext(%s))", name)
