"""``dumpty check``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import Config, JobNames, Json, Quiet  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.output import Line, Report, Table, count, moment
from dumpty.cli.status import NagiosCritical, NagiosUnknown, NagiosWarning, NeedsAttention, UsageError
from dumpty.cli.urls import redacted, remember
from dumpty.errors import DumptyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from dumpty.jobs.conditions import Condition
    from dumpty.jobs.health import JobHealth
    from dumpty.jobs.settings import Configuration, JobSettings
    from dumpty.replies.verbs import CheckReply

EXAMPLES = """
dumpty check
dumpty check shop --max-age 26h
dumpty check --nagios
dumpty check --notify --quiet
"""

_MINOR = {"warning", "not-proved"}


def check(
    jobs: JobNames = None,
    config: Config = None,
    max_age: Annotated[
        str | None,
        typer.Option("--max-age", metavar="AGE", help="What is older is overdue, whatever the jobs say: 26h, 8d."),
    ] = None,
    notify: Annotated[
        bool, typer.Option("--notify", help="Tell those whom the jobs name what is new to them, too.")
    ] = False,
    nagios: Annotated[
        bool,
        typer.Option("--nagios", help="Print and end as a plugin of Nagios, Icinga or Checkmk does: 0, 1, 2 or 3."),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Look whether all is well with the jobs, by what their repositories hold; nothing is run or changed.

    Something is wrong where a job's last run failed, the last good backup of a database is older than max_age (or the
    job missed two times that it was due), a backup is suspicious, lost or damaged, the newest good one lacks a copy, a
    proof was not possible.

    Ends with 12 where anything is, and with 1 where a repository cannot be looked at. With --nagios 2 is critical, 1 a
    warning, 3 that nothing can be said.
    """
    from dumpty.jobs.settings import load

    try:
        configuration = load(config)
        chosen = _with_age(configuration.chosen(jobs or ()), max_age, notify=notify)
    except DumptyError as error:
        if nagios and not json:
            return _unknown(error)
        raise
    now = datetime.now(UTC)
    found, errors, warnings = _look(chosen, now)
    warnings += _told(configuration, chosen, now) if notify else []
    lines, failure = (_nagios if nagios else _told_people)(found, errors, now)
    return Report(
        reply=_reply(found, chosen, errors, now),
        lines=lines,
        warnings=warnings,
        error=failure,
        json=json,
        quiet=quiet and not nagios,
        only_prints=True,
        shows_error=nagios,
    )


def _with_age(jobs: Sequence[JobSettings], max_age: str | None, *, notify: bool) -> list[JobSettings]:
    from msgspec.structs import replace

    from dumpty.jobs.values import parse_interval

    if max_age is None:
        return list(jobs)
    if notify:
        raise UsageError("--notify goes by the ages that the jobs have, as all who tell do: leave --max-age out")
    try:
        age = parse_interval(max_age)
    except ValueError as error:
        raise UsageError(f"--max-age: {error}") from None
    return [replace(job, max_age=age) for job in jobs]


def _look(jobs: Sequence[JobSettings], now: datetime) -> tuple[list[JobHealth], dict[str, DumptyError], list[str]]:
    """Return how jobs are, why it cannot be said of others, by job, and what cannot be read."""
    from dumpty.jobs.conditions import Condition
    from dumpty.jobs.health import JobHealth
    from dumpty.jobs.overview import Looks
    from dumpty.jobs.views import NoRepository

    overview = Looks(remember).overview(jobs, now)
    found = {health.job.name: health for health in overview.found}
    for job in jobs:
        if isinstance(error := overview.errors.get(job.name), NoRepository):
            missing = (Condition("overdue", "", str(error)),)
            found[job.name] = JobHealth(job, (), running=False, databases=(), conditions=missing, undecided=frozenset())
    errors = {name: error for name, error in overview.errors.items() if name not in found}
    return [found[job.name] for job in jobs if job.name in found], errors, list(overview.unreadable)


def _told(configuration: Configuration, jobs: Sequence[JobSettings], now: datetime) -> list[str]:
    from dumpty.jobs.watch import Watch

    return Watch(remember, configuration.file.modified).look(jobs, now)


def _told_people(
    found: Sequence[JobHealth], errors: dict[str, DumptyError], now: datetime
) -> tuple[list[Line], DumptyError | None]:
    """Return what is printed, and what decides the status."""
    texts = _texts(found, errors)
    error: DumptyError | None = None
    if errors:
        error = StoreError(next(iter(_unknown_lines(errors))))
    elif texts:
        error = NeedsAttention(f"somebody should look: {count(len(texts), 'thing')} to see, the first: {texts[0]}")
    return [*_table(found, now), *texts], error


def _texts(found: Sequence[JobHealth], errors: dict[str, DumptyError]) -> list[str]:
    """Return what is wrong, a line each, what cannot be said at all first."""
    wrong = (_line(health.job.name, condition) for health in found for condition in health.conditions)
    return [*_unknown_lines(errors), *wrong]


def _unknown_lines(errors: dict[str, DumptyError]) -> list[str]:
    return [f"{job}: it cannot be said how it is: {error}" for job, error in errors.items()]


def _line(job: str, condition: Condition) -> str:
    subject = f" ({condition.subject})" if condition.subject else ""
    return f"{job}: {condition.kind.upper()}{subject}: {condition.text}"


def _table(found: Sequence[JobHealth], now: datetime) -> list[Line]:
    from dumpty.jobs.values import rounded_text

    rows = []
    for health in found:
        wrong = {condition.kind for condition in health.conditions}
        last = "never run" if health.last is None else health.last.outcome
        for database in health.databases:
            made = database.good.timestamp if database.good is not None else None
            age = "" if made is None else rounded_text(now - made)
            state = "OVERDUE" if database.overdue else "ok" if made else "NONE"
            rows.append((health.job.name, database.source, moment(made) if made else "none", age, state, last))
        if not health.databases:
            rows.append((health.job.name, "", "none", "", "OVERDUE" if "overdue" in wrong else "", last))
    columns = ("JOB", "DATABASE", "LAST GOOD BACKUP", "AGE", "STATE", "LAST RUN")
    return [Table(columns, rows, frozenset({3}))] if rows else []


def _reply(
    found: Sequence[JobHealth], jobs: Sequence[JobSettings], errors: dict[str, DumptyError], now: datetime
) -> CheckReply:
    from dumpty.replies.jobs import health_as_json
    from dumpty.replies.verbs import CheckReply

    by_name = {health.job.name: health for health in found}
    return CheckReply(
        jobs=[health_as_json(job, by_name.get(job.name), errors.get(job.name), now, redacted) for job in jobs]
    )


def _seconds(age: timedelta) -> float:
    return max(0.0, round(age.total_seconds(), 3))


# -- Nagios --------------------------------------------------------------------------------------------------------


def _nagios(
    found: Sequence[JobHealth], errors: dict[str, DumptyError], now: datetime
) -> tuple[list[Line], DumptyError | None]:
    """Return the lines and the end of a plugin (https://nagios-plugins.org/doc/guidelines.html)."""
    kinds = {condition.kind for health in found for condition in health.conditions}
    # Behind a bar it looks for numbers, in any line.
    texts = [text.replace("|", "/") for text in _texts(found, errors)]
    more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
    text = f"{texts[0]}{more}" if texts else f"all is well with {count(len(found), 'job')}"
    state = "OK"
    error: DumptyError | None = None
    if errors or kinds - _MINOR:
        state, error = "CRITICAL", NagiosCritical(text)
    elif kinds:
        state, error = "WARNING", NagiosWarning(text)
    data = " ".join(_performance(health, now) for health in found)
    return [f"DUMPTY {state} - {text}{f' | {data}' if data else ''}", *texts], error


def _performance(health: JobHealth, now: datetime) -> str:
    """Return the age of a job's oldest last good backup, in seconds, and how many problems it has."""
    made = [database.good.timestamp for database in health.databases if database.good is not None]
    allowed = [database.oldest_allowed for database in health.databases if database.oldest_allowed is not None]
    limit = f"{_seconds(now - min(allowed)):.0f}" if allowed else ""
    name = health.job.name
    # Where one has none, the age of the others would look well.
    whole = made and len(made) == len(health.databases)
    age = f"'{name} age'={_seconds(now - min(made)):.0f}s;;{limit};0 " if whole else ""
    return f"{age}'{name} problems'={len(health.conditions)};;;0"


def _unknown(error: DumptyError) -> Report:
    from dumpty.replies.verbs import CheckReply

    text = " ".join(redacted(str(error)).split()).replace("|", "/")
    line = f"DUMPTY UNKNOWN - {text}"
    return Report(
        reply=CheckReply(jobs=[]), lines=[line], error=NagiosUnknown(text), only_prints=True, shows_error=True
    )
