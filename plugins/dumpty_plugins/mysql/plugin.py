"""MySQL and MariaDB: dumps in SQL over pymysql alone, consistent, checked, and restored beside before they replace.

Tested on MariaDB 10.11 and on MySQL 9.7, by the same tests. MySQL before 8.0 is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import Addressing, Format, Option, PluginInfo, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from dumpty import Dump, Evidence, Inspection, Options, Scratch, Sink, Source, TableRows


_MOST_JOBS = 4


@hookimpl
def describe() -> PluginInfo:
    """Describe the driver."""
    from dumpty.process import processors

    return PluginInfo(
        kind="driver",
        summary="MySQL and MariaDB, over pymysql alone",
        schemes=("mysql", "mariadb"),
        formats=(
            Format(name="sql", suffix=".sql", help="a script for the mariadb or mysql client"),
            Format(name="native", suffix=".sql", help="the same as sql"),
            Format(
                name="parallel",
                suffix=".sql",
                help="scripts for the client: the tables, their rows, large tables in parts of their own, and the rest",
                parts=True,
            ),
            Format(
                name="accounts",
                suffix=".accounts.sql",
                help="the server's users and roles, with what was granted to them; the server's client loads it",
                server=True,
                sensitive="hashes",
            ),
        ),
        options=(
            Option(
                name="formatting",
                default="server",
                choices=("server", "client"),
                help="who writes the rows: the server, in ranges of the key, or the client, one by one and slower",
            ),
            Option(
                name="jobs",
                default=processors(_MOST_JOBS),
                help="connections that read or load side by side (default: one per processor, at most 4); a backup "
                "over more than 1 needs MariaDB, its binary log or the right LOCK TABLES, and formatting=server",
                verbs=("backup", "restore", "restore_tables"),
            ),
            Option(
                name="part_size",
                default=0,
                help="bytes that a table has at least to come in parts of a parallel dump, and a part of a larger one; "
                "0: 8 MiB, and 2 MiB to 4 GiB, by the size of all and the jobs",
            ),
            Option(
                name="lock_timeout",
                default=10,
                help="seconds to wait for a lock before giving up",
                verbs=("backup", "restore", "restore_tables"),
            ),
            Option(
                name="stall_timeout",
                default=600,
                help="seconds that the server may send nothing while it is waited for, before the connection is given "
                "up as stalled; what a new connection finds at work is waited for; 0: wait for as long as it takes",
                verbs=("inspect", "databases", "backup", "restore", "restore_tables"),
            ),
            Option(name="views", default=True, help="include views (needs the right SHOW VIEW)"),
            Option(
                name="triggers",
                default=True,
                help="include triggers (needs the right TRIGGER)",
                verbs=("backup", "restore_tables"),
            ),
            Option(
                name="routines", default=True, help="include routines (needs SELECT on mysql.proc, or SHOW_ROUTINE)"
            ),
            Option(name="events", default=True, help="include events (needs the right EVENT)"),
            Option(
                name="definer",
                default="keep",
                choices=("keep", "current"),
                help="the definers of views, routines, triggers and events: those that the backup names (needs the "
                "right to name them), or the account that restores",
                verbs=("restore", "restore_tables"),
            ),
            Option(
                name="fingerprint",
                default=False,
                help="take a fingerprint of every table's rows, for drills to compare: reads each table once more and "
                "about doubles the time of a backup",
            ),
            Option(
                name="superuser",
                default=False,
                help="load a drill with an account's rights to the whole server, private or named with --on: what the "
                "dump holds is then run with them",
                verbs=("scratch",),
            ),
            Option(
                name="server_version",
                default="",
                help="the version of a drill's own server (9.7, 11.8, or only 11), which may be a newer one than the "
                "backup's: a rehearsal of an upgrade; default: any that is not older",
                verbs=("scratch",),
            ),
            Option(
                name="bindir",
                default="",
                help="directory of the server's programs to use for a drill; default: those on the PATH, and where "
                "systems have them",
                verbs=("scratch",),
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
                name="evidence",
                default="off",
                choices=("off", "counts", "fingerprint"),
                help="count the rows of every table, or take their fingerprints",
                verbs=("inspect",),
            ),
            Option(
                name="rights",
                default=False,
                help="look for rights that a backup needs and this account has not",
                verbs=("inspect",),
            ),
        ),
        addressing=Addressing(port=3306, sockets=("unix_socket", "socket"), address="hostaddr"),
        requires="dumpty[mysql]",
    )


@hookimpl
def inspect(source: Source, options: Options) -> Inspection:
    """Look at a database without changing it."""
    from dumpty_plugins.mysql.inspection import inspect_database, inspect_server
    from dumpty_plugins.mysql.server.connection import with_stall_timeout

    privileges = bool(options.get("rights"))
    if options.get("server"):
        return inspect_server(with_stall_timeout(source, options), privileges=privileges)
    return inspect_database(
        with_stall_timeout(source, options), evidence=str(options.get("evidence", "off")), privileges=privileges
    )


@hookimpl
def databases(source: Source, options: Options) -> list[Source]:
    """List the databases that the account sees, the server's own left out."""
    from dumpty_plugins.mysql.databases import list_databases

    return list_databases(source, options)


@hookimpl
def backup(source: Source, sink: Sink, format: str, options: Options) -> Evidence:
    """Write one consistent dump, of a database as one script or in parts, or of the server's accounts."""
    from dumpty_plugins.mysql.server.connection import with_stall_timeout

    if format == "accounts":
        from dumpty_plugins.mysql.accounts.backup import back_up_accounts

        return back_up_accounts(with_stall_timeout(source, options), sink, options)
    from dumpty_plugins.mysql.backup import dump

    return dump(with_stall_timeout(source, options), sink, options, in_parts=format == "parallel")


@hookimpl
def restore(target: Source, dump: Dump, overwrite: bool, options: Options) -> Evidence:
    """Load a dump, into a new or an empty database at once, over a full one beside it first."""
    from dumpty_plugins.mysql.server.connection import with_stall_timeout

    if dump.format == "accounts":
        from dumpty_plugins.mysql.accounts.restore import restore_accounts

        return restore_accounts(with_stall_timeout(target, options), dump, overwrite=overwrite, options=options)
    from dumpty_plugins.mysql.restore import restore as load

    return load(with_stall_timeout(target, options), dump, overwrite=overwrite, options=options)


@hookimpl
def restore_tables(
    target: Source, dump: Dump, tables: Mapping[str, str], overwrite: bool, options: Options
) -> Evidence:
    """Load some tables of a dump beside a database, and move them into it all at once."""
    from dumpty_plugins.mysql.restore_tables import restore_tables as load
    from dumpty_plugins.mysql.server.connection import with_stall_timeout

    return load(with_stall_timeout(target, options), dump, tables, overwrite=overwrite, options=options)


@hookimpl
def read_rows(source: Source, table: str, options: Options) -> AbstractContextManager[TableRows]:
    """Read a table in one snapshot."""
    from dumpty_plugins.mysql.rows import read_table
    from dumpty_plugins.mysql.server.connection import with_stall_timeout

    return read_table(with_stall_timeout(source, options), table)


@hookimpl
def examine(dump: Dump, options: Options) -> Evidence:  # noqa: ARG001 - it has none
    """Read a dump to its end, statement by statement, without a database."""
    if dump.format == "accounts":
        from dumpty_plugins.mysql.accounts.backup import examine_accounts

        return examine_accounts(dump)
    from dumpty_plugins.mysql.examine import examine as read

    return read(dump)


@hookimpl
def scratch(dump: Dump, on: Source | None, options: Options) -> AbstractContextManager[Scratch]:
    """Lend a database on a private server of this machine, or a new one on the server ``on``; for accounts a server."""
    if dump.format == "accounts":
        from dumpty_plugins.mysql.accounts.scratch import accounts_on_private_server

        return accounts_on_private_server(dump, on, options)
    from dumpty_plugins.mysql.scratch import scratch_on_private_server, scratch_on_server

    superuser = bool(options.get("superuser"))
    return (
        scratch_on_private_server(dump, options, superuser=superuser)
        if on is None
        else scratch_on_server(dump, on, options, superuser=superuser)
    )
