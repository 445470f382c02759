"""``dumpty report``."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import Config, Json, Quiet, open_existing
from dumpty.cli.output import Line, Report, Table, count, moment, size
from dumpty.cli.status import UsageError
from dumpty.cli.urls import redacted, remember
from dumpty.errors import StoreError

if TYPE_CHECKING:
    from dumpty.jobs.protection import Protected, Protection
    from dumpty.jobs.run_log import LoggedRun

EXAMPLES = """
dumpty report
dumpty report --html protection.html
dumpty report --dir backups --markdown
"""

_Directory = Annotated[
    str | None,
    typer.Option(
        "--dir", "-d", metavar="REPO", help="Report on this repository, a directory or a URL, instead of on jobs."
    ),
]
_Html = Annotated[
    str | None,
    typer.Option("--html", metavar="FILE", help="Write it as one file that any browser shows; FILE is replaced."),
]
_Markdown = Annotated[bool, typer.Option("--markdown", help="Print it as Markdown.")]


def report(
    config: Config = None,
    directory: _Directory = None,
    html: _Html = None,
    markdown: _Markdown = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Say what is protected, since when, when and how far it was proven, and what is not; nothing is run or changed.

    Of each database of the jobs, or of a repository: its last good backup, its last proof, how long a restore took when
    it was measured, in how many repositories it is whole, the days on which a backup is missing, and what is wrong.

    --html writes a file for mail and audits, that loads nothing and runs nothing; it takes `pip install "dumpty[web]"`.
    Ends with 1 where a repository is not there, or cannot be looked at: the rest is reported all the same.
    """
    from dumpty.replies.jobs import protected_as_json
    from dumpty.replies.verbs import ReportReply

    if directory is not None and config is not None:
        raise UsageError("--dir reports on one repository, --config on the jobs of a configuration: say one")
    if html is not None and markdown:
        raise UsageError("--html and --markdown are two forms: say one")
    title, protection, runs, errors = _of_repository(directory) if directory is not None else _of_jobs(config)
    lines: list[Line] = [*_table(protection), _summary(protection)]
    if markdown:
        from dumpty.web.report import as_markdown

        lines = [*as_markdown(protection, runs, title).split("\n")[:-1]]
    if html is not None:
        _write(html, protection, runs, title)
        lines = [f"{html}: {_summary(protection)}"]
    return Report(
        reply=ReportReply(
            at=protection.at,
            repositories=list(protection.repositories),
            databases=[protected_as_json(database) for database in protection.databases],
            path=None if html is None else os.path.abspath(html),
        ),
        lines=lines,
        warnings=[*protection.unreadable, *errors[1:]],
        error=StoreError(errors[0]) if errors else None,
        json=json,
        quiet=quiet,
        only_prints=html is None,
    )


def _of_jobs(config: str | None) -> tuple[str, Protection, tuple[LoggedRun, ...], list[str]]:
    """Return of what it is, what is protected, the latest runs, and what could not be looked at."""
    from dumpty.jobs.fresh import LookAtJobs
    from dumpty.jobs.run_log import RunLog
    from dumpty.jobs.settings import load

    configuration = load(config)
    configuration.chosen(())
    errors: list[str] = []
    look = LookAtJobs(lambda: configuration, remember, errors.append, lambda: datetime.now(UTC))
    protection = look(0.0).protection
    runs = RunLog(lambda: [job.repository for job in configuration.jobs], remember, errors.append)()
    return configuration.file.path, protection, runs, list(map(redacted, errors))


def _of_repository(directory: str) -> tuple[str, Protection, tuple[LoggedRun, ...], list[str]]:
    from dumpty.jobs.fresh import LookAtRepository
    from dumpty.jobs.run_log import RunLog
    from dumpty.url import shown_address

    open_existing(directory)
    errors: list[str] = []
    protection = LookAtRepository(directory, lambda: datetime.now(UTC))(0.0)
    runs = RunLog(lambda: [directory], remember, errors.append)()
    return shown_address(directory), protection, runs, list(map(redacted, errors))


def _write(path: str, protection: Protection, runs: tuple[LoggedRun, ...], title: str) -> None:
    from dumpty.jobs.installing import replace_file
    from dumpty.web.report import as_html
    from dumpty.web.server import require_web

    require_web()
    os.umask(umask := os.umask(0o077))  # what it is can only be seen by setting it
    text = as_html(protection, runs, title)
    replace_file(path, text, beginning="<!doctype html>\n<!-- dumpty report -->", mode=0o666 & ~umask)


def _summary(protection: Protection) -> str:
    from dumpty.web.details import RANKS
    from dumpty.web.text import WORDS

    states = [database.status for database in protection.databases]
    counts = [f"{states.count(word)} {WORDS[word]}" for word in sorted(set(states), key=RANKS.__getitem__)]
    return f"{count(len(states), 'database')}{': ' + ', '.join(counts) if counts else ''}"


def _table(protection: Protection) -> list[Line]:
    rows = [_cells(database, protection.at) for database in protection.databases]
    columns = ("DATABASE", "STATE", "SINCE", "LAST GOOD BACKUP", "AGE", "LAST PROOF", "RESTORE", "WHOLE IN", "SIZE")
    return [Table(columns, rows, frozenset({4, 6, 7, 8}))] if rows else []


def _cells(database: Protected, now: datetime) -> tuple[str, ...]:
    from dumpty.jobs.values import rounded_text
    from dumpty.web import text

    good, last, restored = database.good, database.last_proof, database.last_restore
    word = text.WORDS[database.status]
    return (
        database.database,
        word if database.status == "ok" else word.upper(),
        f"{database.since:%Y-%m-%d}" if database.since else "never",
        moment(good.timestamp) if good else "none",
        rounded_text(now - good.timestamp) if good else "",
        f"{last.proof.level} {last.proof.at:%Y-%m-%d}" if last else "never",
        text.duration(restored.proof.seconds) if restored else "",
        f"{database.repositories} of {database.repositories_wanted}",
        size(good.size_bytes) if good else "",
    )
