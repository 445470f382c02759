"""``dumpty restore``."""

from __future__ import annotations

from typing import Annotated

import typer

from dumpty.cli import description
from dumpty.cli.arguments import DIRECTORY, URL_HELP, Directory, Given, Id, Jobs, Json, Quiet, existing, parse_options
from dumpty.cli.output import Report, moment, seconds
from dumpty.cli.progress import progress_bar
from dumpty.cli.status import succeeded
from dumpty.cli.urls import read_url

EXAMPLES = """
dumpty restore latest --to sqlite:///restored.db
dumpty restore 1a2b3c4d --to postgresql://admin@db.example.org/shop --overwrite
"""


def restore(
    backup_id: Id,
    to: Annotated[str, typer.Option("--to", metavar="URL", help=f"The target. {URL_HELP}")],
    directory: Directory = DIRECTORY,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what the target holds, once the new content is complete.")
    ] = False,
    create: Annotated[bool, typer.Option("--create", help="Refuse a target that exists, even an empty one.")] = False,
    jobs: Jobs = None,
    option: Given = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Restore a backup into a database.

    The stored file is checked against its digest first. A target that does not exist is created, an empty one used,
    and one that holds anything refused, unless you insist with --overwrite. A restore that fails leaves its target
    as it was.
    """
    database_url, target = read_url(to)
    given = parse_options(option, jobs)
    manager = existing(directory)
    found = manager.find(backup_id)
    with progress_bar(f"restore into {target.url}", quiet=quiet) as progress:
        result = manager.restore(
            found.id,
            database_url,
            overwrite=overwrite,
            create=create,
            progress=progress,
            **given,
        )
    made = succeeded(result)
    took = seconds(result.duration_seconds)
    return Report(
        fields={
            "backup": description.fields(made),
            "target_url": target.url,
            "duration_seconds": result.duration_seconds,
        },
        lines=(
            f"backup {made.id} of {made.database_name}, taken {moment(made.timestamp)}, is restored in {took}",
            f"  holds {description.contents(made)}",
            f"  in {target.url}",
        ),
        warnings=description.warnings(made),
        json=json,
        quiet=quiet,
    )
