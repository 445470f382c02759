"""What a full run is meant to reach, as ratios between rows of the same run, and whether it does."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from jobs import Job
from measure import Figures

MEMORY = 150_000_000
"""Bytes that a process tree may take at its peak, the server apart."""

Results = Mapping[tuple[str, str], Figures]
"""Figures by verb and name of the job; the names of all engines differ."""


@dataclass(frozen=True)
class Target:
    """``ratio`` of two rows is to be at least, or at most, ``bound``."""

    description: str
    bound: float
    at_least: bool
    ratio: Callable[[Results], float]

    def verdict(self, results: Results) -> str:
        """Return one line of Markdown, or "" where the rows were not measured."""
        try:
            value = self.ratio(results)
        except KeyError:
            return ""
        met = value >= self.bound if self.at_least else value <= self.bound
        sign = "≥" if self.at_least else "≤"
        return f"| {self.description} | {sign} {self.bound:g} | {value:.2f} | {'met' if met else 'not met'} |"


def _times(verb: str, slower: str, faster: str) -> Callable[[Results], float]:
    return lambda results: results[verb, slower].median / results[verb, faster].median


def _sizes(larger: str, smaller: str) -> Callable[[Results], float]:
    return lambda results: results["backup", larger].stored_bytes / results["backup", smaller].stored_bytes


def _server(larger: str, smaller: str) -> Callable[[Results], float]:
    def ratio(results: Results) -> float:
        (above, below) = (statistics.median(results["backup", name].server or [0.0]) for name in (larger, smaller))
        return above / max(below, 0.01)

    return ratio


def _faster(verb: str, slower: str, faster: str, bound: float) -> Target:
    return Target(f"{verb}: `{slower}` over {faster}", bound, True, _times(verb, slower, faster))


def _within(verb: str, limit: str, job_name: str, bound: float) -> Target:
    shown = limit if limit.startswith("dumpty ") else f"`{limit}`"  # a job's name is no command
    return Target(f"{verb}: {job_name} over {shown}", bound, False, _times(verb, job_name, limit))


def _zstd(engine: str, form: str) -> Target:
    gzip, zstd = f"dumpty {engine} {form} gzip", f"dumpty {engine} {form} zstd"

    def better(results: Results) -> float:
        return min(_times("backup", zstd, gzip)(results), _sizes(zstd, gzip)(results))

    return Target(f"{zstd} over gzip, time or size", 1.0, False, better)


TARGETS = (
    _faster("backup", "sqlite3 .backup + gzip", "dumpty sqlite native gzip", 10),
    _within("backup", "the file through igzip, two threads", "dumpty sqlite native gzip", 2),
    Target(
        "size: dumpty sqlite native gzip over `gzip -6`",
        1.1,
        False,
        _sizes("dumpty sqlite native gzip", "sqlite3 .backup + gzip"),
    ),
    _faster("backup", "sqlite3 .dump | gzip", "dumpty sqlite sql gzip", 3),
    _faster("restore", "sqlite3 .backup + gzip", "dumpty sqlite native gzip", 2),
    _faster("restore", "sqlite3 .dump | gzip", "dumpty sqlite sql gzip", 1.3),
    _faster("backup", "pg_dump -Fc", "dumpty postgres native gzip", 4),
    _faster("backup", "pg_dump -Fc", "dumpty postgres sql gzip", 4),
    _within("backup", "pg_dump -Fc -Z0 > /dev/null", "dumpty postgres native gzip", 1.25),
    _within("restore", "pg_dump -Fd -j2", "dumpty postgres native gzip", 1.1),
    _within("backup", "pg_dump | zstd -1 -T0", "dumpty postgres parallel zstd", 0.95),
    _within("backup", "pg_dump -Fd -j2 -Z1", "dumpty postgres parallel zstd", 0.6),
    _within("restore", "dumpty postgres native zstd", "dumpty postgres parallel zstd", 1),
    _faster("restore", "four tables: pg_dump -Fd -j2", "dumpty postgres-four parallel zstd", 1.3),
    _within("restore", "dumpty postgres parallel zstd", "dumpty postgres parallel zstd, one table of 1 %", 0.05),
    _within("backup", "sqlite3 .backup + zstd -1 -T0", "dumpty sqlite native zstd", 1),
    _within("backup", "mariadb-dump | zstd -1 -T0", "dumpty mysql parallel zstd", 0.95),
    Target(
        "backup: server's processor time, dumpty mysql parallel zstd over `mariadb-dump | zstd -1 -T0`",
        2,
        False,
        _server("dumpty mysql parallel zstd", "mariadb-dump | zstd -1 -T0"),
    ),
    _within("restore", "dumpty mysql sql zstd", "dumpty mysql parallel zstd", 1),
    _faster("backup", "mariadb-dump | gzip", "dumpty mysql sql gzip", 3.5),
    _faster("backup", "mydumper -t2 -c", "dumpty mysql sql gzip", 1.8),
    Target(
        "size: dumpty mysql sql gzip over `mydumper -t2 -c`",
        1.0,
        False,
        _sizes("dumpty mysql sql gzip", "mydumper -t2 -c"),
    ),
    _faster("restore", "mariadb-dump | gzip", "dumpty mysql sql gzip", 1.5),
    _faster("restore", "mydumper -t2 -c", "dumpty mysql sql gzip", 1),
    _zstd("sqlite", "native"),
    _zstd("sqlite", "sql"),
    _zstd("postgres", "native"),
    _zstd("mysql", "sql"),
    *(
        Target(f"verify: `igzip -dc` over {name}, as speed", 0.8, True, _times("verify", f"igzip -dc of {name}", name))
        for name in ("dumpty sqlite native gzip", "dumpty postgres native gzip", "dumpty mysql sql gzip")
    ),
)


def reached(results: Mapping[Job, Figures]) -> Iterator[str]:
    """Yield Markdown: one line for each target whose rows were measured, and for the memory."""
    figures_by_name = {(job.verb, job.name): figures for job, figures in results.items()}
    lines = [line for target in TARGETS if (line := target.verdict(figures_by_name))]
    dumpty_peaks = [(f.peak_bytes, job.verb, job.name) for job, f in results.items() if not job.shell]
    if dumpty_peaks:
        peak, verb, name = max(dumpty_peaks)
        met = "met" if peak <= MEMORY else "not met"
        lines.append(
            f"| peak memory, the most of all: {verb}, {name} | ≤ {MEMORY / 1e6:.0f} MB | {peak / 1e6:.0f} MB | {met} |"
        )
    if lines:
        yield "\n| ratio | target | measured | |"
        yield "|---|---|---:|---|"
        yield from (line.replace(" | gzip`", " \\| gzip`").replace(" | zstd -1", " \\| zstd -1") for line in lines)
