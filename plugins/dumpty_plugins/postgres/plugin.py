"""PostgreSQL: pg_dump's own dumps with evidence, and restores that never touch the old before the new is proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import Addressing, Format, Option, PluginInfo, hookimpl
from dumpty_plugins.postgres.loading.optional_parts import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from dumpty import Dump, Evidence, Inspection, Options, Scratch, Sink, Source, TableRows

SOCKET_FOLDERS = ("/run/postgresql", "/var/run/postgresql")
"""Where packages have the socket. PostgreSQL's own default is a directory in which anybody can make one."""


@hookimpl
def describe() -> PluginInfo:
    """Say what this driver is."""
    return PluginInfo(
        kind="driver",
        summary="PostgreSQL, through pg_dump and psycopg2",
        schemes=("postgresql", "postgres"),
        formats=(
            Format(name="sql", suffix=".sql", help="portable text; psql loads it"),
            Format(name="native", suffix=".pgdump", help="uncompressed custom archive; restored in parallel"),
            Format(name="custom", suffix=".dump", help="custom archive, compressed by pg_dump itself"),
            Format(
                name="parallel",
                suffix=".pgdump",
                help="an archive, and beside it the rows of large tables, read and loaded by several sessions",
                parts=True,
            ),
            Format(name="tar", suffix=".tar", help="tar archive"),
            Format(name="directory", suffix=".dir", help="directory archive, written in parallel", directory=True),
            Format(
                name="accounts",
                suffix=".accounts.sql",
                help="the server's roles, with what is theirs, and tablespaces; psql loads it",
                server=True,
                sensitive="hashes",
            ),
        ),
        options=(
            Option(
                name="counts",
                default="on",
                help="count each table's rows in the dump's snapshot; auto: through psql where psycopg2 is missing",
                choices=("on", "auto", "off"),
            ),
            Option(
                name="fingerprint",
                default=False,
                help="fingerprint each table's rows, in the dump's snapshot: PostgreSQL reads and hashes every "
                "row once more, which takes about three times as long as pg_dump alone, beside it",
            ),
            Option(
                name="evidence",
                default="off",
                help="count the rows of each table, or take their fingerprints as well",
                verbs=("inspect",),
                choices=("off", "counts", "fingerprint"),
            ),
            Option(
                name="rights",
                default=False,
                help="look for rights that a backup needs and this user has not",
                verbs=("inspect",),
            ),
            Option(
                name="server",
                default=False,
                help="look at the server and its accounts, not at a database",
                verbs=("inspect",),
            ),
            Option(
                name="hashes",
                default="on",
                help="of accounts: the hashes of passwords; off: leave them out; plain: keep them in a backup that is "
                "not encrypted",
                choices=("on", "off", "plain"),
                verbs=("backup", "restore"),
            ),
            Option(
                name="jobs",
                default=0,
                help="parallel jobs of a parallel or directory dump, and of a restore; 0: one per processor, of a dump "
                "at most 8",
                verbs=("backup", "restore"),
            ),
            Option(
                name="part_size",
                default=0,
                help="bytes that a table has at least to come in parts of a parallel dump, and a part of a larger one; "
                "0: 8 MiB, and 2 MiB to 4 GiB, by the size of all and the jobs",
            ),
            Option(
                name="bindir",
                default="",
                help="directory of the client programs to use (and, for a drill, of the server's)",
                verbs=("backup", "restore", "restore_tables", "examine", "scratch", "inspect"),
            ),
            Option(
                name="server_version",
                default="",
                help="the major version of a drill's own server (18), which may be a newer one than the backup's: a "
                "rehearsal of an upgrade; default: the backup's, or the next newer one that is installed",
                verbs=("scratch",),
            ),
            Option(
                name="programs",
                default="here",
                help="where pg_dump and pg_restore run; there: on the machine or in the container that --via leads to",
                choices=("here", "there"),
                verbs=("backup", "restore", "restore_tables"),
            ),
            Option(
                name="lock_timeout",
                default=60,
                help="seconds to wait for the locks of all tables",
            ),
            *OPTIONS,
            Option(
                name="triggers",
                default=True,
                help="give single tables that are restored their triggers",
                verbs=("restore_tables",),
            ),
            Option(
                name="superuser",
                default=False,
                help="load as a superuser, on a drill's own server or on the one of --on: what the dump holds is then "
                "run with a superuser's rights",
                verbs=("scratch",),
            ),
            Option(
                name="stall_timeout",
                default=600,
                help="seconds that the server may send nothing while it is waited for, before the connection is given "
                "up as stalled; what a new connection finds at work is waited for; 0: wait for as long as it takes",
                verbs=("inspect", "databases", "backup", "restore", "restore_tables"),
            ),
            Option(
                name="scratch_dir",
                default="",
                help="where a drill's own server keeps its data; default: the directory for temporary files",
                verbs=("scratch",),
            ),
        ),
        addressing=Addressing(
            port=5432,
            sockets=("host",),
            socket_name=".s.PGSQL.{port}",
            default_sockets=tuple(f"{folder}/.s.PGSQL.{{port}}" for folder in SOCKET_FOLDERS),
            address="hostaddr",
            elsewhere=("service", "servicefile"),
        ),
        requires="dumpty[postgres]",
    )


@hookimpl
def inspect(source: Source, options: Options) -> Inspection:
    """Look at the database, or find that it does not exist."""
    from dumpty_plugins.postgres.inspection import inspect_database, inspect_server
    from dumpty_plugins.postgres.server.connection import Address, stall_seconds

    address = Address(source, stall=stall_seconds(options))
    if options.get("server"):
        return inspect_server(address, privileges=bool(options.get("rights")))
    return inspect_database(
        address.require_database(), str(options.get("evidence", "off")), privileges=bool(options.get("rights"))
    )


@hookimpl
def databases(source: Source, options: Options) -> list[Source]:
    """List the databases that somebody may connect to, templates left out."""
    from dumpty_plugins.postgres.databases import list_databases
    from dumpty_plugins.postgres.server.connection import Address, stall_seconds

    return list_databases(Address(source, stall=stall_seconds(options)))


@hookimpl
def backup(source: Source, sink: Sink, format: str, options: Options) -> Evidence:
    """Dump with pg_dump, and count beside it; read accounts out of the catalogs."""
    from dumpty_plugins.postgres.server.connection import Address, stall_seconds

    address = Address(source, stall=stall_seconds(options))
    if format == "accounts":
        from dumpty_plugins.postgres.accounts.backup import back_up_accounts

        return back_up_accounts(address, sink, options)
    from dumpty_plugins.postgres.backup import back_up

    return back_up(address.require_database(), sink, format, options)


@hookimpl
def restore(target: Source, dump: Dump, overwrite: bool, options: Options) -> Evidence:
    """Load beside, check, swap; or, without the right to create databases, in one transaction, as accounts are."""
    from dumpty_plugins.postgres.server.connection import Address, stall_seconds

    address = Address(target, stall=stall_seconds(options))
    if dump.format == "accounts":
        from dumpty_plugins.postgres.accounts.restore import restore_accounts

        return restore_accounts(address, dump, overwrite=overwrite, options=options)
    from dumpty_plugins.postgres.restore import restore_dump

    return restore_dump(address.require_database(), dump, overwrite=overwrite, options=options)


@hookimpl
def restore_tables(
    target: Source, dump: Dump, tables: Mapping[str, str], overwrite: bool, options: Options
) -> Evidence:
    """Load some tables of a dump in one transaction, beside what the database holds."""
    from dumpty_plugins.postgres.restore_tables import restore_tables as load
    from dumpty_plugins.postgres.server.connection import Address, stall_seconds

    address = Address(target, stall=stall_seconds(options)).require_database()
    return load(address, dump, tables, overwrite=overwrite, options=options)


@hookimpl
def read_rows(source: Source, table: str, options: Options) -> AbstractContextManager[TableRows]:
    """Read a table in one transaction."""
    from dumpty_plugins.postgres.rows import read_table
    from dumpty_plugins.postgres.server.connection import Address, stall_seconds

    address = Address(source, stall=stall_seconds(options)).require_database()
    return read_table(address, table, str(options.get("bindir", "")))


@hookimpl
def examine(dump: Dump, options: Options) -> Evidence:
    """Read a dump to its end: an archive through pg_restore, and what comes out of it as a plain dump."""
    if dump.format == "accounts":
        from dumpty_plugins.postgres.accounts.backup import examine_accounts

        return examine_accounts(dump)
    from dumpty_plugins.postgres.examine import examine_dump

    return examine_dump(dump, options)


@hookimpl
def scratch(dump: Dump, on: Source | None, options: Options) -> AbstractContextManager[Scratch]:
    """Start a private server, or take a database of its own on the server ``on``; accounts go to a server of theirs."""
    if dump.format == "accounts":
        from dumpty_plugins.postgres.accounts.scratch import accounts_on_private_server

        return accounts_on_private_server(dump, on, options)
    from dumpty_plugins.postgres.scratch import on_private_server, on_server

    return on_private_server(dump, options) if on is None else on_server(dump, on, options)
