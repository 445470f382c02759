"""``dumpty run``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import Config, JobNames, Json, Quiet  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.output import Line, Report, Table, count, moment, say, seconds, size
from dumpty.cli.running import collecting_garbage_often
from dumpty.cli.status import RunFailed, RunIncomplete, error_type
from dumpty.cli.urls import redacted, remember
from dumpty.errors import DumptyError, Locked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.cli.job_progress import Follower
    from dumpty.jobs.job_run import Listener
    from dumpty.jobs.outcomes import JobRun
    from dumpty.jobs.planning import Planned
    from dumpty.jobs.settings import Configuration
    from dumpty.jobs.watch import Watch
    from dumpty.replies import runs

EXAMPLES = """
dumpty run
dumpty run shop --config /etc/dumpty/dumpty.toml
dumpty run --due
dumpty run --dry-run
dumpty run --workers dask
dumpty run --workers tls://scheduler.example.org:8786
"""


def run(
    jobs: JobNames = None,
    config: Config = None,
    due: Annotated[
        bool, typer.Option("--due", help="Only jobs whose schedule has come since they were last run, anywhere.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be backed up; make, copy and remove nothing.")
    ] = False,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="dask|ADDRESS",
            help="Spread the work over workers of Dask: some started here, or those of a scheduler (tls://host:8786).",
        ),
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a run that ended early: only what it had not done.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Run the jobs of the configuration: back up, copy, prove, remove.

    Jobs go on side by side, and the failure of one stops no other. What may pass is tried again. Copies, proofs and
    removals are for the backups that succeeded. Every run is written down in the repository: `dumpty runs` shows them.

    Without --due the jobs are run now, whatever their schedules say. With --due each is run once for the last time that
    it was due, by whichever machine comes first; call that every few minutes.

    On a terminal a line for each job at work shows how far it has come, elsewhere each event is a line on standard
    error; with --quiet, or with --json where that is no terminal, only what went wrong is.

    --workers needs dumpty[fleet]: see `dumpty help fleets`. A run by hand that ends early says how to --resume it.

    Ends with 1 where a job failed, with 12 where all are done and somebody should look: a backup is suspicious, a copy
    is missing, a proof was not possible here, a database is gone.
    """
    from dumpty.cli.job_progress import job_progress
    from dumpty.jobs.planning import plan
    from dumpty.jobs.settings import load

    chosen = (configuration := load(config)).chosen(jobs or ())
    planned = plan(chosen, datetime.now(UTC), due_only=due, slot=resume)
    if dry_run:
        return _plan(planned, json=json, quiet=quiet)
    with job_progress(json=json, quiet=quiet) as follower:
        results, problems = _run(configuration, planned, follower, due=due, workers=workers)
    return _report(results, problems, json=json, quiet=quiet)


def _run(
    configuration: Configuration, planned: Sequence[Planned], follower: Follower, *, due: bool, workers: str | None
) -> tuple[list[JobRun], list[str]]:
    """Return what came of jobs, and of telling people how those are that were not run now."""
    from dumpty.jobs.job_run import Listener
    from dumpty.jobs.runner import Runner
    from dumpty.jobs.watch import Watch

    watch = Watch(remember, configuration.file.modified)
    listener = Listener(say, remember, follower.events, follower.estimates)
    with collecting_garbage_often():
        try:
            if workers is None:
                results = Runner(configuration.limits, listener, configuration.written, watch).run(planned)
            else:
                results = _run_on(workers, configuration, planned, listener, watch)
        except KeyboardInterrupt:
            if slots := [entry.slot for entry in planned if entry.due is None]:
                say(f"what is backed up stands; with --resume {slots[0]}, within a day, only what is missing is done")
            raise
    if not due:
        return results, []
    done = {run.job for run in results if run.outcome != "skipped"}
    others = [job for job in configuration.jobs if job.name not in done]
    return results, watch.look_at_times(others, datetime.now(UTC), configuration.file.path)


def _run_on(
    workers: str, configuration: Configuration, planned: Sequence[Planned], listener: Listener, watch: Watch
) -> list[JobRun]:
    """Return what came of jobs whose work is done by workers.

    Raises:
        WorkersLost: they are gone, or were never there; the text says how to go on.
    """
    from dumpty.jobs.fleet.dask import open_fleet
    from dumpty.jobs.runner import Runner
    from dumpty.jobs.work import WorkersLost

    limits = configuration.limits
    with open_fleet(workers, limits.parallel, configuration.written, listener.tell) as fleet:
        runner = Runner(limits.of(fleet.capacity), listener, configuration.written, watch, fleet)
        fleet.follow(lambda capacity: runner.change(limits.of(capacity), configuration.written))
        try:
            return runner.run(planned)
        except WorkersLost as error:
            by_hand = [entry.slot for entry in planned if entry.due is None]
            again = f"with --resume {by_hand[0]}, too" if by_hand else "again"
            raise WorkersLost(f"{error}; call the same {again}: what is backed up is not backed up once more") from None


def _report(results: Sequence[JobRun], problems: Sequence[str], *, json: bool, quiet: bool) -> Report:
    from dumpty.replies.jobs import run_as_json
    from dumpty.replies.verbs import RunReply

    warnings = [f"{run.job}: {text}" for run in results for text in run.warnings if run.outcome != "skipped"]
    warnings += problems
    return Report(
        reply=RunReply(jobs=[run_as_json(run) for run in results]),
        lines=[*_table(results), _summary(results)],
        warnings=warnings,
        error=_error(results) or (RunIncomplete(problems[0]) if problems else None),
        json=json,
        quiet=quiet,
    )


def _table(results: Sequence[JobRun]) -> list[Line]:
    rows = []
    for run in results:
        done = [database for database in run.databases if database.ok]
        rows.append(
            (
                run.job,
                run.outcome if run.outcome in {"ok", "skipped"} else run.outcome.upper(),
                f"{len(done)} of {len(run.databases)}",
                size(sum(database.size_bytes for database in done)),
                f"{sum(database.rows for database in done):,}",
                f"{sum(copy.ok for copy in run.copies)} of {len(run.copies)}" if run.copies else "",
                str(len(run.removed) or ""),
                seconds(run.duration_seconds),
            )
        )
    columns = ("JOB", "OUTCOME", "DATABASES", "SIZE", "ROWS", "COPIES", "REMOVED", "TIME")
    return [Table(columns, rows, frozenset({2, 3, 4, 5, 6, 7}))] if rows else []


def _summary(results: Sequence[JobRun]) -> str:
    if not results:
        return "nothing is due"
    made = sum(database.ok for run in results for database in run.databases)
    skipped = sum(run.outcome == "skipped" for run in results)
    parts = [f"{count(len(results) - skipped, 'job')} run, {count(made, 'backup')} made"]
    parts += [f"{skipped} skipped: done, or being done, elsewhere"] * bool(skipped)
    return ", ".join(parts)


def _error(results: Sequence[JobRun]) -> DumptyError | None:
    """Return what decides the exit status: a failure comes before what somebody should look at."""
    failed = [run for run in results if run.outcome == "failed"]
    if failed:
        text = f"{failed[0].job}: {failed[0].error}"
        if len(results) > 1:
            text = f"{len(failed)} of {count(len(results), 'job')} failed, the first: {text}"
        return Locked(text) if all(run.error_type == "Locked" for run in failed) else RunFailed(text)
    open_runs = [run for run in results if run.outcome == "attention"]
    if not open_runs:
        return None
    first = open_runs[0]
    missing = [copy.error for copy in first.copies if not copy.ok]
    unproved = [drill.error for drill in first.drills if drill.ok is None]
    reason = next(iter((*missing, *unproved, *first.warnings)), "")
    what = "a copy is missing: " if missing else "not proved: " if unproved else ""
    return RunIncomplete(f"all backups are made, and somebody should look: {first.job}: {what}{reason}")


# -- what would be run ---------------------------------------------------------------------------------------------


def _plan(planned: Sequence[Planned], *, json: bool, quiet: bool) -> Report:
    from dumpty.replies.verbs import RunPlanReply

    plans, errors = [], []
    for entry in planned:
        shown, error = _planned(entry)
        plans.append(shown)
        errors += [error] if error is not None else []
    return Report(
        reply=RunPlanReply(jobs=plans),
        lines=_plan_lines(plans),
        error=RunFailed(f"{count(len(errors), 'job')} would fail, the first: {errors[0]}") if errors else None,
        json=json,
        quiet=quiet,
        only_prints=True,
    )


def _planned(entry: Planned) -> tuple[runs.JobPlan, DumptyError | None]:
    """Return what a job would do, and why it would fail, if it would; a repository is opened only to read of runs."""
    from dumpty.jobs.finding import find_databases
    from dumpty.jobs.upkeep import read_address
    from dumpty.replies import runs
    from dumpty.url import parse_url, shown_address

    job, failure = entry.job, None
    databases: list[str] = []
    repository, done = shown_address(job.repository), False
    try:
        address = read_address(job.repository, remember)
        repository = shown_address(address)
        done = entry.due is not None and _is_done(address, entry)
        databases = [parse_url(database.url).url for database in find_databases(job, remember)]
    except DumptyError as error:
        failure = error
    plan = runs.JobPlan(
        job=job.name,
        repository=repository,
        due=entry.due,
        next=job.schedule.next(datetime.now(UTC)) if job.schedule else None,
        done=done,
        databases=databases,
        error=None if failure is None else redacted(str(failure)),
        error_type=None if failure is None else error_type(failure),
    )
    return plan, failure


def _is_done(address: str, entry: Planned) -> bool:
    """Return whether a repository that is there has a result of the run; one that is not is not made for that."""
    from dumpty.cli.arguments import open_existing
    from dumpty.cli.status import NoSuchStore

    try:
        return open_existing(address).run_result(entry.job.name, entry.slot) is not None
    except NoSuchStore:
        return False


def _plan_lines(plans: Sequence[runs.JobPlan]) -> list[Line]:
    rows: list[tuple[str, ...]] = []
    for plan in plans:
        when = "now" if plan.due is None else f"since {moment(plan.due)}" if not plan.done else "done"
        upcoming = moment(plan.next) if plan.next else ""
        databases = [] if plan.done else plan.databases
        rows += [(plan.job, when, database, plan.repository, upcoming) for database in databases]
        if plan.done or plan.error is not None:
            rows.append((plan.job, when, "" if plan.done else f"WOULD FAIL: {plan.error}", plan.repository, upcoming))
    return [Table(("JOB", "DUE", "DATABASE", "REPOSITORY", "NEXT"), rows)] if rows else ["nothing is due"]
