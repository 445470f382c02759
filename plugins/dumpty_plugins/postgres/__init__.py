"""PostgreSQL: pg_dump's own dumps with evidence, and restores that never touch the old before the new is proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import Format, Option, PluginInfo, hookimpl

if TYPE_CHECKING:
    from dumpty import Dump, Evidence, Inspection, Options, Sink, Source


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
            Format(name="tar", suffix=".tar", help="tar archive"),
            Format(name="directory", suffix=".dir", help="directory archive, written in parallel", directory=True),
        ),
        options=(
            Option(
                name="counts",
                default="on",
                help="count the rows of each table in the dump's snapshot; auto: where psycopg2 can",
                choices=("on", "auto", "off"),
            ),
            Option(
                name="jobs",
                default=0,
                help="parallel jobs of a directory dump and of pg_restore; 0: one per processor",
                verbs=("backup", "restore"),
            ),
            Option(
                name="bindir",
                default="",
                help="directory of the client programs to use",
                verbs=("backup", "restore"),
            ),
            Option(
                name="lock_timeout",
                default=60,
                help="seconds to wait for the locks of all tables",
            ),
        ),
        requires="dumpty[postgres]",
    )


@hookimpl
def inspect(source: Source, options: Options) -> Inspection:
    """Look at the database, or find that it does not exist."""
    from dumpty_plugins.postgres.connection import Address
    from dumpty_plugins.postgres.target import look

    del options  # there are none for this verb
    return look(Address(source))


@hookimpl
def backup(source: Source, sink: Sink, format: str, options: Options) -> Evidence:
    """Dump with pg_dump, and count beside it."""
    from dumpty_plugins.postgres.connection import Address
    from dumpty_plugins.postgres.dump import back_up

    return back_up(Address(source), sink, format, options)


@hookimpl
def restore(target: Source, dump: Dump, overwrite: bool, options: Options) -> Evidence:
    """Load beside, check, swap; or, without the right to create databases, in one transaction."""
    from dumpty_plugins.postgres.connection import Address
    from dumpty_plugins.postgres.restoring import put_back

    return put_back(Address(target), dump, overwrite=overwrite, options=options)
