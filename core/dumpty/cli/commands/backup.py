"""``dumpty backup``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli import description
from dumpty.cli.arguments import DIRECTORY, URL_HELP, Directory, Given, Jobs, Json, Quiet, parse_options, parse_rate
from dumpty.cli.output import Report, seconds, size
from dumpty.cli.progress import progress_bar
from dumpty.cli.status import succeeded
from dumpty.cli.urls import read_url

if TYPE_CHECKING:
    from dumpty.registry.plugin import Plugin

EXAMPLES = """
dumpty backup sqlite:///shop.db
dumpty backup postgresql://backup@db.example.org/shop --dir /srv/backups
dumpty backup mysql://backup@localhost/shop --jobs 4 --rate-limit 20MB
dumpty backup env:SHOP_URL --format sql --compressor zstd -o zstd.level=9
"""


def backup(
    url: Annotated[str, typer.Argument(metavar="URL", help=URL_HELP)],
    directory: Directory = DIRECTORY,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The form of the dump [default: native where the driver has it, else its first]."
        ),
    ] = None,
    compressor: Annotated[
        str, typer.Option(metavar="NAME", help="gzip, zstd, another plugin's name, or none.")
    ] = "gzip",
    verifier: Annotated[
        str, typer.Option(metavar="NAME", help="A digest to keep beside SHA-256, of which there always is one.")
    ] = "sha256",
    jobs: Jobs = None,
    rate_limit: Annotated[
        str | None,
        typer.Option(
            "--rate-limit",
            metavar="SIZE",
            help="Take no more dump a second from the database: 20MB. (SQLite's native copy is made at once.)",
        ),
    ] = None,
    option: Given = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Back up a database.

    Writes one complete, consistent dump of the database into the backup directory, compressed and with its digests.
    A backup that is reported as done is whole; one that fails leaves nothing behind, and every earlier one as it was.
    """
    from dumpty.backup_manager import BackupManager
    from dumpty.registry.host import default_host

    database_url, source = read_url(url)
    given, rate = parse_options(option, jobs), parse_rate(rate_limit)
    chosen = _preferred(default_host().driver(source.scheme), format)
    manager = BackupManager(directory, compressor=compressor, verifier=verifier)
    with progress_bar(f"backup of {source.url}", quiet=quiet) as progress:
        result = manager.create_backup(database_url, format=chosen, progress=progress, rate_limit=rate, **given)
    made = succeeded(result)
    saved = f", {size(made.plain_size_bytes)} before {'+'.join(made.stages)}" if made.stages else ""
    took = seconds(result.duration_seconds)
    return Report(
        fields={"backup": description.fields(made), "duration_seconds": result.duration_seconds},
        lines=(
            f"backup {made.id} of {made.database_name} is done: {size(made.size_bytes)}{saved}, in {took}",
            f"  holds {description.contents(made)}, as {description.form(made)}",
            f"  in {made.file_path}",
        ),
        warnings=description.warnings(made),
        json=json,
        quiet=quiet,
    )


def _preferred(driver: Plugin, wanted: str | None) -> str:
    """Return the format to write: the one asked for, or ``native`` where it is declared and is a stream."""
    if wanted is not None:
        return driver.format(wanted).name
    streams = [f.name for f in driver.described.formats if not f.directory]
    return "native" if "native" in streams else driver.format(streams[0] if streams else None).name
