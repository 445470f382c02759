"""DuckDB driver for dumpty: whole databases, as a tar of Parquet files or as the database file itself.

Both formats are of one moment: ``parquet`` is written inside one transaction, ``native`` under the lock that keeps
every writer out. Both are proved before the backup counts: the dump is loaded into a scratch database (``parquet``)
or opened (``native``), and every table's rows and fingerprint are taken there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import (
    Evidence,
    Format,
    Inspection,
    Option,
    PluginInfo,
    Replacement,
    database_file,
    database_files,
    hookimpl,
    require_file,
)

if TYPE_CHECKING:
    from dumpty import Dump, Options, Sink, Source


@hookimpl
def describe() -> PluginInfo:
    """Declare scheme, formats and options."""
    return PluginInfo(
        kind="driver",
        summary="DuckDB database files",
        schemes=("duckdb",),
        formats=(
            Format(name="parquet", suffix=".tar", help="Parquet files and their schema, for IMPORT DATABASE"),
            Format(name="native", suffix=".duckdb", help="the database file itself, write-ahead log merged in"),
        ),
        options=(
            Option(
                name="prove",
                default=True,
                help="load a parquet dump into a scratch database and compare it before the backup counts",
            ),
        ),
        requires="dumpty-duckdb",
        files=True,
    )


@hookimpl
def inspect(source: Source) -> Inspection:
    """Look at the database file without creating or changing it."""
    from dumpty_duckdb import target

    return target.inspect(source)


@hookimpl
def databases(source: Source) -> list[Source]:
    """Find the files that a URL with wildcards means, and open none."""
    return database_files(source=source, siblings=(".wal",))


@hookimpl
def backup(source: Source, sink: Sink, format: str, options: Options) -> Evidence:
    """Write one dump of one moment."""
    from dumpty_duckdb import image, parquet

    path = database_file(source=source)
    require_file(path=path)
    if format == "native":
        return image.write_image(path, sink)
    return parquet.write_parquet(path, sink, prove=bool(options["prove"]))


@hookimpl
def restore(target: Source, dump: Dump, overwrite: bool) -> Evidence:
    """Build the database beside the target, compare it with the dump's evidence, and put it in place in one step."""
    from dumpty_duckdb import image, parquet
    from dumpty_duckdb.target import Target

    destination = Target(target, overwrite=overwrite)
    with Replacement(target=destination.path) as replacement:
        load = image.load_image if dump.format == "native" else parquet.load_parquet
        evidence = load(dump, replacement.path)
        destination.swap(replacement)
    return evidence
