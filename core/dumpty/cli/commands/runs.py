"""``dumpty runs``."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import Config, JobNames, Json, Quiet, open_existing
from dumpty.cli.output import Line, Report, Table, seconds, size
from dumpty.cli.status import NoSuchStore
from dumpty.cli.urls import remember
from dumpty.errors import DumptyError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dumpty.jobs.outcomes import JobRun
    from dumpty.types import StoredRun

EXAMPLES = """
dumpty runs
dumpty runs shop --last 100
dumpty runs --json
"""


def runs(
    jobs: JobNames = None,
    config: Config = None,
    last: Annotated[int, typer.Option("--last", metavar="N", min=1, help="The newest N of each job.")] = 10,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Show what came of the runs of jobs, the latest first: also of those that failed, and that other machines did.

    One that was killed has no result: what was due then is run by the next `dumpty run --due`.

    Ends with 0 whatever they say: `dumpty run` says how its own run ended.
    """
    from dumpty.jobs.settings import load
    from dumpty.replies.jobs import stored_run_as_json
    from dumpty.replies.verbs import RunsReply

    configuration = load(config)
    chosen = configuration.chosen(jobs or ())
    warnings: list[str] = []
    shown: list[tuple[str, StoredRun, JobRun | None]] = []
    failures: list[DumptyError] = []
    for written in dict.fromkeys(job.repository for job in chosen):
        names = [job.name for job in chosen if job.repository == written]
        try:
            shown += _stored(written, names, last, warnings)
        except DumptyError as error:  # what others know is told all the same
            failures.append(error)
    shown.sort(key=lambda entry: entry[1].slot, reverse=True)
    return Report(
        reply=RunsReply(runs=[stored_run_as_json(*entry) for entry in shown]),
        lines=_table(shown),
        warnings=warnings,
        error=failures[0] if failures else None,
        json=json,
        quiet=quiet,
        only_prints=True,
    )


def _stored(
    written: str, names: Sequence[str], last: int, warnings: list[str]
) -> Iterator[tuple[str, StoredRun, JobRun | None]]:
    """Yield the runs of jobs that a repository knows of, and what came of each."""
    from dumpty.jobs.outcomes import decode
    from dumpty.jobs.upkeep import read_address
    from dumpty.url import shown_address

    address = read_address(written, remember)
    try:
        manager = open_existing(address)
    except NoSuchStore:
        return
    for name in names:
        for stored in itertools.islice(manager.runs(name), last):
            result = None
            try:
                content = manager.run_result(name, stored.slot) if stored.done else None
                result = None if content is None else decode(content, f"run {stored.slot} of the job {name}")
            except ManifestError as error:
                warnings.append(str(error))
            yield shown_address(address), stored, result


def _table(shown: Sequence[tuple[str, StoredRun, JobRun | None]]) -> list[Line]:
    rows = []
    for _, stored, result in shown:
        if result is None:
            outcome = f"running on {stored.host}" if stored.running else "UNREADABLE" if stored.done else "no result"
            rows.append((stored.job, stored.slot, outcome, "", "", "", ""))
            continue
        done = [database for database in result.databases if database.ok]
        rows.append(
            (
                stored.job,
                stored.slot,
                result.outcome if result.outcome == "ok" else result.outcome.upper(),
                f"{len(done)} of {len(result.databases)}",
                size(sum(database.size_bytes for database in done)),
                seconds(result.duration_seconds),
                result.error or next(iter(result.warnings), ""),
            )
        )
    columns = ("JOB", "RUN", "OUTCOME", "DATABASES", "SIZE", "TIME", "WHY")
    return [Table(columns, rows, frozenset({3, 4, 5}))] if rows else ["no runs are known"]
