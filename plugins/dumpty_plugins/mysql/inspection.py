"""What stands at a URL, without changing it."""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import Evidence, Inspection, ObjectEvidence
from dumpty_plugins.mysql.accounts.catalog import may_read, read_grant
from dumpty_plugins.mysql.accounts.facts import SYSTEM
from dumpty_plugins.mysql.schema.catalog import MERGED, TRANSACTIONAL, listing
from dumpty_plugins.mysql.schema.catalog_reader import CatalogReader
from dumpty_plugins.mysql.schema.fingerprint import fingerprint
from dumpty_plugins.mysql.schema.recovery import exists
from dumpty_plugins.mysql.server.connection import connect, database_of
from dumpty_plugins.mysql.server.privileges import MissingPrivilege, account, held_privileges, missing_privileges
from dumpty_plugins.mysql.server.session import socket_of, versions
from dumpty_plugins.mysql.server.sql import identifier, literal

if TYPE_CHECKING:
    from dumpty import Source
    from dumpty_plugins.mysql.server.session import Session

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", ""})
_PORT = 3306
_SYSTEM = ", ".join(f"({literal(user)}, {literal(host)})" for user, host in sorted(SYSTEM))
_OTHER_ACCOUNTS = f"""
    SELECT COUNT(*) FROM mysql.user
    WHERE (User, Host) NOT IN ({_SYSTEM}) AND User <> 'root'
      AND CONCAT(User, '@', Host) <> CURRENT_USER()"""


def identity(session: Session, source: Source, database: str) -> str:
    """Return one name of the database, whichever way the server was reached."""
    host, port_reached = (source.host or "").lower(), str(source.port or 3306)
    if host in _LOCAL or socket_of(source):
        # Over TCP or a socket, it is the same server: what it says of itself decides.
        port, socket_path = ((value or b"").decode() for value in session.rows("SELECT @@port, @@socket")[0])
        if socket_of(source) or port == port_reached:
            return f"mysql://localhost:{port}{socket_path}/{database}"
        # A port that is not the server's own leads into a container, or to another machine, where every server says
        # the same of itself.
        host = "localhost"
    return f"mysql://{host}:{port_reached}/{database}"


def inspect_database(source: Source, *, evidence: str = "off", privileges: bool = False) -> Inspection:
    """Look at the database behind ``source``; ``evidence`` (off, counts, fingerprint) says how closely.

    With ``privileges``, look for those that a backup would miss, too.

    Raises:
        SourceError: the server cannot be reached or refuses the account.
    """
    database = database_of(source)
    session = connect(source, None)
    try:
        if not exists(session, database):
            return Inspection(
                exists=False,
                empty=True,
                identity=identity(session, source, database),
                name=database,
                versions=versions(session),
            )
        size = session.number(
            f"SELECT SUM(DATA_LENGTH) FROM information_schema.TABLES WHERE TABLE_SCHEMA={literal(database)}"
        )
        return Inspection(
            exists=True,
            empty=not listing(session, database),
            estimated_bytes=size,
            identity=identity(session, source, database),
            name=database,
            versions=versions(session),
            evidence=None
            if evidence == "off"
            else evidence_of(source, database, fingerprinted=evidence == "fingerprint"),
            lacks=missing_for_backup(session, database) if privileges else (),
        )
    finally:
        session.close()


def inspect_server(source: Source, *, privileges: bool = False) -> Inspection:
    """Look at the server of ``source`` and its accounts; with ``privileges``, for those that a backup would miss, too.

    Raises:
        SourceError: the server cannot be reached or refuses the account.
    """
    session = connect(source, None)
    try:
        host, port = (source.host or "").lower(), str(source.port or _PORT)
        if socket_of(source):
            port = session.text("SELECT @@port")
        name = "localhost" if host in _LOCAL or socket_of(source) else host
        readable = may_read(session)
        return Inspection(
            exists=True,
            empty=readable and not session.number(_OTHER_ACCOUNTS),
            identity=identity(session, source, ""),
            name=name if port == str(_PORT) else f"{name}:{port}",
            versions=versions(session),
            lacks=() if readable or not privileges else (f"the right to read accounts: {read_grant(session)}",),
        )
    finally:
        session.close()


def missing_for_backup(session: Session, database: str) -> tuple[str, ...]:
    """Return which privileges a backup of ``database`` would miss, each with the statement that grants it."""
    missing = list(missing_privileges(session, database))
    privileges = held_privileges(session, database)
    in_database = f"TABLE_SCHEMA={literal(database)}"
    snapshot_engines = ", ".join(map(literal, sorted({*TRANSACTIONAL, MERGED})))
    needs_lock = f"TABLE_TYPE IN ('BASE TABLE','SYSTEM VERSIONED') AND ENGINE NOT IN ({snapshot_engines})"
    for privilege, option, needed_by in (
        ("SHOW VIEW", "views=off", f"SELECT COUNT(*) FROM information_schema.VIEWS WHERE {in_database}"),
        ("LOCK TABLES", "", f"SELECT COUNT(*) FROM information_schema.TABLES WHERE {in_database} AND {needs_lock}"),
    ):
        if not privileges.has(privilege) and session.number(needed_by):
            missing.append(
                MissingPrivilege(
                    privilege, f"GRANT {privilege} ON {identifier(database)}.* TO {account(session)}", option
                )
            )
    return tuple(item.text for item in missing)


def evidence_of(source: Source, database: str, *, fingerprinted: bool) -> Evidence:
    """Count every table of a live database in one snapshot, and take its fingerprint if asked to."""
    session = connect(source, database)
    try:
        session.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        objects = []
        tables = CatalogReader(session, database, listing(session, database), ()).tables()
        for table in tables:
            if table.merged:
                objects.append(ObjectEvidence(path=table.name))
            elif fingerprinted:
                rows, digest = fingerprint(session, table)
                objects.append(ObjectEvidence(path=table.name, rows=rows, fingerprint=digest))
            else:
                rows = session.number(f"SELECT COUNT(*) FROM {table.rows_from}")
                objects.append(ObjectEvidence(path=table.name, rows=rows))
        all_frozen = all(t.transactional or t.merged for t in tables)
        return Evidence(
            objects=tuple(sorted(objects, key=lambda o: o.path)), consistent=all_frozen, versions=versions(session)
        )
    finally:
        session.close()
