"""``dumpty config init``, ``config check`` and ``config show``."""

from __future__ import annotations

import json as json_module
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import DIRECTORY, Config, Directory, JobNames, Json, Quiet
from dumpty.cli.output import Line, Report, count, moment
from dumpty.cli.urls import remember
from dumpty.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.jobs.settings import Configuration
    from dumpty.replies import runs

EXAMPLES = """
dumpty config init postgresql://backup@localhost/shop --dir /srv/backups
dumpty config check
dumpty config show shop
dumpty config show --schema > dumpty.schema.json
"""


def config() -> None:
    """Begin a configuration, check it, and see what it comes to."""


def init(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[URL]...", help="Databases to make jobs of: URLs, or env:NAME, file:PATH, cmd:PROGRAM…"
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="The file to write; it must not exist [default: dumpty.toml]."),
    ] = None,
    directory: Directory = DIRECTORY,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Write a configuration to begin with, for its owner alone to read.

    It has comments that say what else there is; `dumpty help configuration` has all of it.
    """
    from dumpty.jobs.configuration import FILE_NAME
    from dumpty.jobs.writing import first_configuration, write_new
    from dumpty.replies.verbs import ConfigInitReply
    from dumpty.url import secrets_in

    path = config or FILE_NAME
    remember(secret for source in (*(sources or ()), directory) for secret in secrets_in(source))
    repository = directory if "://" in directory else os.path.abspath(directory)
    write_new(path, first_configuration(repository, sources or ()))
    beginning = "now add jobs to it" if not sources else f"with {count(len(sources), 'job')}"
    return Report(
        reply=ConfigInitReply(path=os.path.abspath(path)),
        lines=[f"{path} is written, {beginning}; then: dumpty config check, dumpty run"],
        json=json,
        quiet=quiet,
    )


def check(config: Config = None, json: Json = False, quiet: Quiet = False) -> Report:
    """Check a configuration: each key and value, and what it refers to; nobody is connected to.

    Secrets are read, plugins looked for. Ends with 2 where anything is wrong, after telling all of it.
    `dumpty run --dry-run` asks the databases, too.
    """
    from dumpty.jobs.checking import check as check_configuration
    from dumpty.jobs.checking import warnings_of
    from dumpty.jobs.settings import load
    from dumpty.replies.verbs import ConfigReply

    try:
        configuration = load(config)
        configuration.chosen(())
        problems = check_configuration(configuration, remember)
    except ConfigurationError as error:
        problems = list(error.problems)
        configuration = None
    jobs = [] if configuration is None else _jobs(configuration, ())
    path = configuration.file.path if configuration is not None else ""
    lines: list[Line] = [*problems]
    if not problems and configuration is not None:
        upcoming = (f"  {job.job}: next {moment(job.next) if job.next else 'by hand'}" for job in jobs)
        lines = [f"{path} is right: {count(len(jobs), 'job')}", *upcoming]
    return Report(
        reply=ConfigReply(path=path, jobs=jobs, problems=problems),
        lines=lines,
        warnings=() if configuration is None else warnings_of(configuration),
        error=_error(problems),
        json=json,
        quiet=quiet,
        only_prints=True,
    )


def _error(problems: Sequence[str]) -> ConfigurationError | None:
    if not problems:
        return None
    return ConfigurationError(
        problems[0] if len(problems) == 1 else f"{len(problems)} mistakes; the first: {problems[0]}"
    )


def show(
    jobs: JobNames = None,
    config: Config = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of the file instead, for editors.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Show what each job comes to, over the defaults, with secrets masked.

    What is read from elsewhere (env:, file:, cmd:) is shown as it is written, and not read.
    """
    from dumpty.jobs.document import json_schema
    from dumpty.jobs.settings import load
    from dumpty.replies.verbs import ConfigReply, ConfigSchemaReply

    if schema:
        described = json_schema()
        lines: list[Line] = list(json_module.dumps(described, indent=2, ensure_ascii=False).splitlines())
        reply = ConfigSchemaReply(config_schema=described)
        return Report(reply=reply, lines=lines, json=json, quiet=quiet, only_prints=True)
    import tomli_w

    configuration = load(config)
    shown = _jobs(configuration, jobs or ())
    text = tomli_w.dumps({"jobs": {job.job: job.settings for job in shown}})
    return Report(
        reply=ConfigReply(path=configuration.file.path, jobs=shown, problems=[]),
        lines=[f"# {configuration.file.path}", *text.splitlines()],
        json=json,
        quiet=quiet,
        only_prints=True,
    )


def _jobs(configuration: Configuration, names: Sequence[str]) -> list[runs.JobSettings]:
    from dumpty.jobs.writing import shown_settings
    from dumpty.replies import runs

    now = datetime.now(UTC)
    return [
        runs.JobSettings(
            job=job.name,
            settings=shown_settings(configuration.written[job.name]),
            next=job.schedule.next(now) if job.schedule is not None else None,
        )
        for job in configuration.chosen(names)
    ]
