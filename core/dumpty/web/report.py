"""What is protected, written down: as a file that a browser shows by itself, or as Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dumpty.redaction import plain
from dumpty.web import details, text
from dumpty.web.days import days_of, gaps_in
from dumpty.web.rendering import asset, render

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dumpty.jobs.protection import Measured, Protected, Protection
    from dumpty.jobs.run_log import LoggedRun

__all__ = ["as_html", "as_markdown"]

_MOST_DETAILED = 300
"""Of so many databases each has a section of its own; of more a browser would show the file slowly."""
_DAYS = 365
_MARKUP = re.compile(r"([\\`*_\[\]()#!|<>~&$]|(?<=:)//|(?<=www)\.)")


def as_html(protection: Protection, runs: Iterable[LoggedRun], title: str) -> str:
    """Return the report as one page of HTML, that loads nothing and runs nothing.

    Args:
        protection: what is protected.
        runs: the latest runs, which say on which days something failed.
        title: the configuration or the repository that it is of.
    """
    failed = details.failures(runs)
    databases = sorted(protection.databases, key=lambda database: details.RANKS[database.status])
    sections = [
        (
            database,
            days_of(database, details.failures_of(database, failed), protection.at, _DAYS),
            details.charts(database),
        )
        for database in databases[:_MOST_DETAILED]
    ]
    return render(
        "report.html",
        title=title,
        style=asset("page.css").decode(),
        protection=protection,
        databases=databases,
        counts=_counts(protection),
        problems=list(details.problems_of(protection)),
        sections=sections,
        now=protection.at,
    )


def _counts(protection: Protection) -> dict[str, int]:
    counts = {word: sum(d.status == word for d in protection.databases) for word in details.RANKS}
    return {word: number for word, number in counts.items() if number}


def as_markdown(protection: Protection, runs: Iterable[LoggedRun], title: str) -> str:
    """Return the report as Markdown, in GitHub's form (https://github.github.com/gfm/); as ``as_html`` else."""
    failed = details.failures(runs)
    databases = sorted(protection.databases, key=lambda database: details.RANKS[database.status])
    counts = ", ".join(f"{number:,} {text.WORDS[word]}" for word, number in _counts(protection).items())
    counts = f" ({counts})" if counts else ""
    places = ", ".join(map(_escaped, protection.repositories)) or "no repository"
    lines = [
        f"# How databases are protected: {_escaped(title)}",
        "",
        f"As of {text.moment(protection.at)}: {text.count(len(databases), 'database')}{counts}, in {places}.",
        "",
        "## What somebody should look at",
        "",
        *(_problems(protection) or ["Nothing."]),
        "",
        "## What is protected",
        "",
        *_table(_COLUMNS, [_cells(d, failed, protection) for d in databases]),
    ]
    return "\n".join(lines) + "\n"


_COLUMNS = (
    "Database", "State", "Protected since", "Last good backup", "Last proof", "Time to restore", "Whole in",
    "Rows", "Size", "Missing days in a year",
)  # fmt: skip


def _cells(database: Protected, failed: details.Failures, protection: Protection) -> tuple[str, ...]:
    now, good, restored = protection.at, database.good, database.last_restore
    gaps = gaps_in(days_of(database, details.failures_of(database, failed), now, _DAYS))
    return (
        database.database,
        text.WORDS[database.status],
        text.moment(database.since) if database.since else "not yet",
        f"{text.moment(good.timestamp)}, {text.ago(good.timestamp, now)}" if good else "none",
        _proof(database.last_proof),
        text.duration(restored.proof.seconds) if restored else "never measured",
        f"{database.repositories} of {database.repositories_wanted}",
        text.count(good.rows) if good and good.tables else "",
        text.size(good.size_bytes) if good else "",
        ", ".join(gaps[-3:]) + (f" and {len(gaps) - 3} times before" if len(gaps) > 3 else ""),  # noqa: PLR2004 - a line
    )


def _proof(measured: Measured | None) -> str:
    return "never" if measured is None else f"{measured.proof.level}, {text.moment(measured.proof.at)}"


def _problems(protection: Protection) -> list[str]:
    lines = [
        f"- **{text.WORDS[problem.condition.kind]}** {_escaped(problem.name)}: {_escaped(problem.condition.text)}"
        for problem in details.problems_of(protection)
    ]
    return lines + [f"- **unreadable** {_escaped(line)}" for line in protection.unreadable]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(map(_escaped, row))} |"


def _escaped(value: str) -> str:
    """Return a text in which nothing is markup: names are a stranger's."""
    return _MARKUP.sub(r"\\\1", plain(value))
